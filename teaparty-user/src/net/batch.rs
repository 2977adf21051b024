//! Datagrams by the batch: what `recvmmsg` brought and what `sendmmsg` is to take.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::c_int;

use super::cmsg::read_into;
use super::received::msg_len;

mod send;

pub use super::received::{ErrorQueueReport, HostTimestamp, Received, StampSource};
pub use send::{Outgoing, SendBatch};

/// Most datagrams that one system call moves.
pub const MAX_BATCH: usize = 64;

/// Octets kept for the control messages of one received datagram: all that [`super::socket`] asks for, and IPv6
/// extension headers of up to 256 octets each.
const CONTROL_LEN: usize = 1024;

/// Room for received datagrams, used again for each batch. The default has none.
#[derive(Default)]
pub struct ReceiveBatch {
    octets: usize,
    payload: Vec<u8>,
    control: Vec<usize>,
    names: Vec<libc::sockaddr_storage>,
    filled: Vec<Filled>,
    renumbered: Vec<Option<u32>>,
}

#[derive(Clone, Copy)]
struct Filled {
    payload_len: usize,
    control_len: usize,
    name_len: usize,
    flags: c_int,
}

impl ReceiveBatch {
    /// Room for `slots` datagrams (1 to [`MAX_BATCH`]; more is cut to it) of `octets` each; longer ones come truncated.
    pub fn new(slots: usize, octets: usize) -> Self {
        let slots = slots.clamp(1, MAX_BATCH);
        // SAFETY: all-zero is a valid `sockaddr_storage`.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            octets,
            payload: vec![0; slots * octets],
            control: vec![0; slots * CONTROL_LEN / size_of::<usize>()],
            names: vec![name; slots],
            filled: Vec::with_capacity(slots),
            renumbered: Vec::new(),
        }
    }

    /// Slots that are taken: datagrams in it, unless some are joined.
    pub fn len(&self) -> usize {
        self.filled.len()
    }

    /// Returns true if the last receive brought nothing.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Returns true if every slot is taken, so that more may be waiting.
    pub fn is_full(&self) -> bool {
        self.filled.len() == self.names.len()
    }

    /// The datagrams in order of arrival. Those that the kernel has joined come one by one, with one timestamp.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.filled.len()).flat_map(|index| self.received(index).parts())
    }

    fn received(&self, index: usize) -> Received<'_> {
        let filled = self.filled[index];
        let start = index * self.octets;
        let mut received = Received {
            payload: &self.payload[start..start + filled.payload_len.min(self.octets)],
            is_truncated: filled.flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
            peer: socket_address(&self.names[index], filled.name_len),
            ..Received::empty()
        };
        let words = CONTROL_LEN / size_of::<usize>();
        let control = &self.control[index * words..(index + 1) * words];
        // SAFETY: a slice of words is readable as octets, and the kernel wrote at most CONTROL_LEN of them.
        let control =
            unsafe { std::slice::from_raw_parts(control.as_ptr().cast(), filled.control_len.min(CONTROL_LEN)) };
        read_into(&mut received, control);
        if let (Some(error), Some(Some(id))) = (&mut received.error, self.renumbered.get(index)) {
            error.data = *id;
        }
        received
    }

    /// Replaces the numbers of transmit timestamps, for kernels that number them themselves.
    pub(super) fn map_stamp_ids(&mut self, map: impl Fn(u32) -> u32) {
        self.renumbered =
            (0..self.filled.len()).map(|index| self.received(index).error.map(|error| map(error.data))).collect();
    }

    /// Fills the batch from `fd` without waiting.
    pub(super) fn fill(&mut self, fd: c_int, flags: c_int) -> io::Result<usize> {
        self.filled.clear();
        self.renumbered.clear();
        let slots = self.names.len();
        // SAFETY: all-zero is a valid `mmsghdr` and a valid `iovec`.
        let (mut headers, mut parts) = unsafe {
            (std::mem::zeroed::<[libc::mmsghdr; MAX_BATCH]>(), std::mem::zeroed::<[libc::iovec; MAX_BATCH]>())
        };
        let payload = self.payload.as_mut_ptr();
        let control = self.control.as_mut_ptr();
        for (index, (header, part)) in headers.iter_mut().zip(&mut parts).take(slots).enumerate() {
            // SAFETY: `index < slots`, and both vectors were made for `slots` times what is skipped here.
            unsafe {
                part.iov_base = payload.add(index * self.octets).cast();
                header.msg_hdr.msg_control = control.add(index * CONTROL_LEN / size_of::<usize>()).cast();
            }
            part.iov_len = self.octets;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
        }
        // SAFETY: the first `slots` headers point at memory of the lengths they state, which lives in `self` and `parts`.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                slots as _,
                (flags | libc::MSG_DONTWAIT) as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.filled.extend(headers[..count].iter().map(|header| Filled {
            payload_len: header.msg_len as usize,
            control_len: msg_len(header.msg_hdr.msg_controllen),
            name_len: header.msg_hdr.msg_namelen as usize,
            flags: header.msg_hdr.msg_flags,
        }));
        Ok(count)
    }
}

fn socket_address(name: &libc::sockaddr_storage, len: usize) -> Option<SocketAddr> {
    let at: *const libc::sockaddr_storage = name;
    match i32::from(name.ss_family) {
        libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: `sockaddr_storage` is large and aligned enough for every address; the family says which one it is.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
