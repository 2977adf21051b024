//! Datagrams by the batch: what `recvmmsg` brought and what `sendmmsg` is to take.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::c_int;
use teaparty_common::wire::TrafficClass;

use super::control::{ControlBuffer, ExtendedError, read_into};

/// Most datagrams that one system call moves.
pub const MAX_BATCH: usize = 64;

/// Octets kept for the control messages of one received datagram: all that [`super::socket`] asks for, and IPv6
/// extension headers of up to 256 octets each.
const CONTROL_LEN: usize = 1024;

/// A moment that the kernel or this process took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970 on CLOCK_REALTIME (UTC).
    pub nanos: u64,
    /// Who took it.
    pub source: StampSource,
}

/// Who took a timestamp, from the more to the less exact. Network cards' own clocks are not used: they differ from
/// CLOCK_REALTIME by an offset that only the daemon that steers them knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StampSource {
    /// The kernel, next to the driver.
    Kernel,
    /// This process, before a send or after a receive.
    User,
}

/// One received datagram and what the kernel says about it. Everything but the payload may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// UDP payload, cut to the slot's size when [`Received::is_truncated`].
    pub payload: &'a [u8],
    /// Whether the payload or the control messages did not fit.
    pub is_truncated: bool,
    /// Destination address in the IP header.
    pub destination: Option<IpAddr>,
    /// The unicast address of ours to answer from. Differs from the destination for multicast and broadcast.
    pub local: Option<IpAddr>,
    /// Index of the interface it came in by; 0 if unknown.
    pub interface: u32,
    /// TTL or Hop Limit as received.
    pub ttl: Option<u8>,
    /// TOS or Traffic Class octet as received.
    pub traffic_class: Option<TrafficClass>,
    /// When it arrived. May be missing for the first datagrams after the host's first socket asked for timestamps: the
    /// kernel switches them on in the background. Take the time yourself then, and say so ([`StampSource::User`]).
    pub stamp: Option<Stamp>,
    /// Datagrams that this socket lost so far because its receive queue was full; modulo 2^32.
    pub queue_drops: Option<u32>,
    /// The IPv6 hop-by-hop options header, whole, where [`super::socket::Options::extension_headers`] asked for it.
    pub hop_by_hop: Option<&'a [u8]>,
    /// The IPv6 destination options header, likewise.
    pub destination_options: Option<&'a [u8]>,
    /// The outermost VLAN tag of a frame, where the kernel has taken it out: EtherType and tag control information.
    pub vlan: Option<[u8; 4]>,
    /// On the error queue: what this is about.
    pub error: Option<ExtendedError>,
    peer: Option<SocketAddr>,
}

/// What the error queue has to tell about a datagram sent earlier.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// It left, at this moment; `id` is what [`Outgoing::stamp_id`] said.
    Transmitted {
        /// The datagram's [`Outgoing::stamp_id`].
        id: u32,
        /// When.
        stamp: Stamp,
    },
    /// The network (or this host) refused it.
    Refused {
        /// Where it was to go.
        peer: Option<SocketAddr>,
        /// Why, as an `errno` such as `ECONNREFUSED`.
        errno: i32,
        /// Its UDP payload, as far as the ICMP message quoted it.
        payload: &'a [u8],
    },
}

impl<'a> Received<'a> {
    pub(super) const fn empty() -> Self {
        Self {
            payload: &[],
            is_truncated: false,
            destination: None,
            local: None,
            interface: 0,
            ttl: None,
            traffic_class: None,
            stamp: None,
            queue_drops: None,
            hop_by_hop: None,
            destination_options: None,
            vlan: None,
            error: None,
            peer: None,
        }
    }

    /// A datagram of which nothing else is known.
    pub const fn new(payload: &'a [u8], peer: SocketAddr) -> Self {
        Self { payload, peer: Some(peer), ..Self::empty() }
    }

    /// Source address and port; on the error queue, where the datagram was to go.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What an entry of the error queue says; `None` for ordinary datagrams and for kinds that nobody asked for.
    pub fn report(&self) -> Option<Report<'a>> {
        let error = self.error?;
        match error.origin {
            libc::SO_EE_ORIGIN_TIMESTAMPING => {
                // `ee_info` 0 is SCM_TSTAMP_SND: it was handed to the network card.
                let stamp = self.stamp.filter(|_| error.info == 0)?;
                Some(Report::Transmitted { id: error.data, stamp })
            }
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 | libc::SO_EE_ORIGIN_LOCAL => {
                Some(Report::Refused { peer: self.peer, errno: error.errno as i32, payload: self.payload })
            }
            _ => None,
        }
    }
}

/// Room for received datagrams, used again for each batch.
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

    /// Datagrams in it.
    pub fn len(&self) -> usize {
        self.filled.len()
    }

    /// Whether the last receive brought nothing.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Whether every slot is taken, so that more may be waiting.
    pub fn is_full(&self) -> bool {
        self.filled.len() == self.names.len()
    }

    /// The datagrams in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.filled.len()).map(|index| self.received(index))
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

/// A length of the kernel's, which is `size_t` in one C library and `socklen_t` in another.
pub(super) fn msg_len<T: TryInto<usize>>(len: T) -> usize {
    len.try_into().unwrap_or(0)
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

/// Where a datagram is to go, and what its IP header is to say. `None` leaves a field to the socket's setting.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Destination; of the socket's address family.
    pub to: SocketAddr,
    /// Source address, which must be ours.
    pub source: Option<IpAddr>,
    /// Index of the interface to leave by; 0 leaves it to routing.
    pub interface: u32,
    /// TOS or Traffic Class octet.
    pub traffic_class: Option<TrafficClass>,
    /// TTL or Hop Limit.
    pub ttl: Option<u8>,
    /// An IPv6 hop-by-hop options header, whole, or nothing. Takes CAP_NET_RAW.
    pub hop_by_hop: &'a [u8],
    /// An IPv6 destination options header, likewise.
    pub destination_options: &'a [u8],
    /// Asks for a [`Report::Transmitted`] with this number, on a socket opened for transmit timestamps.
    pub stamp_id: Option<u32>,
}

impl Outgoing<'_> {
    /// A datagram to `to` with the socket's settings.
    pub const fn to(to: SocketAddr) -> Self {
        Self {
            to,
            source: None,
            interface: 0,
            traffic_class: None,
            ttl: None,
            hop_by_hop: &[],
            destination_options: &[],
            stamp_id: None,
        }
    }
}

/// Datagrams that wait to be sent together.
#[derive(Default)]
pub struct SendBatch {
    payload: Vec<u8>,
    control: ControlBuffer,
    items: Vec<Item>,
    next: usize,
    failed: Vec<(usize, io::Error)>,
}

struct Item {
    to: socket2::SockAddr,
    payload: (usize, usize),
    control: (usize, usize),
    stamp_id: Option<u32>,
}

impl SendBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Datagrams in it, sent or not.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all datagrams and failures and keeps the memory.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.control.clear();
        self.items.clear();
        self.failed.clear();
        self.next = 0;
    }

    /// Appends a datagram; returns its place in the batch. Any number fits, a system call takes [`MAX_BATCH`].
    pub fn push(&mut self, outgoing: &Outgoing<'_>, payload: &[u8]) -> usize {
        let payload_start = self.payload.len();
        self.payload.extend_from_slice(payload);
        let control_start = self.control.len();
        self.push_control(outgoing);
        self.items.push(Item {
            to: outgoing.to.into(),
            payload: (payload_start, payload.len()),
            control: (control_start, self.control.len() - control_start),
            stamp_id: outgoing.stamp_id,
        });
        self.items.len() - 1
    }

    fn push_control(&mut self, outgoing: &Outgoing<'_>) {
        let is_v6 = outgoing.to.is_ipv6();
        let control = &mut self.control;
        if outgoing.source.is_some() || outgoing.interface != 0 {
            control.push_packet_info(outgoing.source, outgoing.interface, is_v6);
        }
        let (level, class, ttl) = if is_v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS, libc::IP_TTL)
        };
        if let Some(octet) = outgoing.traffic_class {
            control.push_int(level, class, octet.0.into());
        }
        if let Some(limit) = outgoing.ttl {
            control.push_int(level, ttl, limit.into());
        }
        if is_v6 && !outgoing.hop_by_hop.is_empty() {
            control.push(level, libc::IPV6_HOPOPTS, outgoing.hop_by_hop);
        }
        if is_v6 && !outgoing.destination_options.is_empty() {
            control.push(level, libc::IPV6_DSTOPTS, outgoing.destination_options);
        }
        if let Some(id) = outgoing.stamp_id {
            control.push(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes());
            if super::socket::kernel_takes_stamp_ids() {
                control.push(libc::SOL_SOCKET, super::socket::SCM_TS_OPT_ID, &id.to_ne_bytes());
            }
        }
    }

    /// The payload of the datagram at `index`, to write what must be written last.
    pub fn payload_mut(&mut self, index: usize) -> &mut [u8] {
        let (start, len) = self.items[index].payload;
        &mut self.payload[start..start + len]
    }

    /// The datagrams that could not be sent, by their place in the batch.
    pub fn failed(&self) -> &[(usize, io::Error)] {
        &self.failed
    }

    /// Whether every datagram was handed over or has failed.
    pub fn is_done(&self) -> bool {
        self.next == self.items.len()
    }

    /// Datagrams that the kernel has taken.
    pub fn sent(&self) -> usize {
        self.next - self.failed.len()
    }

    pub(super) fn fail_next(&mut self, error: io::Error) {
        self.failed.push((self.next, error));
        self.next += 1;
    }

    /// Numbers that the coming system call asks transmit timestamps for, in order.
    pub(super) fn pending_stamp_ids(&self) -> impl Iterator<Item = Option<u32>> {
        self.items[self.next..].iter().map(|item| item.stamp_id)
    }

    /// Hands up to [`MAX_BATCH`] datagrams to the kernel without waiting; returns how many it took.
    pub(super) fn flush(&mut self, fd: c_int) -> io::Result<usize> {
        // SAFETY: all-zero is a valid `mmsghdr` and a valid `iovec`.
        let (mut headers, mut parts) = unsafe {
            (std::mem::zeroed::<[libc::mmsghdr; MAX_BATCH]>(), std::mem::zeroed::<[libc::iovec; MAX_BATCH]>())
        };
        let pending = &self.items[self.next..];
        let count = pending.len().min(MAX_BATCH);
        for ((header, part), item) in headers.iter_mut().zip(&mut parts).zip(pending) {
            let (start, len) = item.payload;
            part.iov_base = self.payload[start..start + len].as_ptr().cast_mut().cast();
            part.iov_len = len;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = item.to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = item.to.len();
            let (start, len) = item.control;
            if len > 0 {
                header.msg_hdr.msg_control = self.control.as_ptr(start).cast_mut().cast();
                header.msg_hdr.msg_controllen = len as _;
            }
        }
        // SAFETY: the first `count` headers point at memory of the lengths they state, in `self` and `parts`; the kernel
        // writes to the headers only.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count as _, libc::MSG_DONTWAIT as _) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        self.next += sent;
        Ok(sent)
    }
}
