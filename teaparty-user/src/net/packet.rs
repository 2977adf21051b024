//! Whole Ethernet frames, sent from one interface and received on it, by the batch (packet(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::batch::{MAX_BATCH, ReceiveBatch};
use super::cbpf;
use super::mmsg::sendmmsg;
use super::poll::wait_writable;
use super::sockopt::enable_timestamps;

/// Octets of the send queue.
static QUEUE: libc::c_int = 4 << 20;

/// A socket that frames leave by. It receives nothing.
pub struct PacketSocket(OwnedFd);

/// Frames that wait to be sent together.
#[derive(Default)]
pub struct FrameBatch {
    octets: Vec<u8>,
    frames: Vec<(usize, usize)>,
}

impl FrameBatch {
    /// Frames in it.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns true if there is none in it.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets all frames and keeps the memory.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.frames.clear();
    }

    /// Appends the frame that `write` puts behind what it is given; where it gives `None`, nothing is appended.
    pub fn push<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> Option<T> {
        let start = self.octets.len();
        let written = write(&mut self.octets);
        match written {
            Some(_) => self.frames.push((start, self.octets.len() - start)),
            None => self.octets.truncate(start),
        }
        written
    }

    /// The frame at `index`, to write what must be written last.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        let (start, len) = self.frames[index];
        &mut self.octets[start..start + len]
    }
}

impl PacketSocket {
    /// Opens it for the interface with this index. Takes CAP_NET_RAW.
    pub fn open(interface: u32) -> io::Result<Self> {
        let fd = open()?;
        // Protocol 0: nothing is received.
        bind(&fd, interface, 0)?;
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the value is an int that outlives the call. A smaller queue than wished is no failure.
        unsafe {
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, (&raw const QUEUE).cast(), len);
        }
        Ok(Self(fd))
    }

    /// Hands the frames to the kernel in order and waits up to `patience` while its queue is full. Calls `is_sent` for
    /// each frame with whether it was taken.
    pub fn send(&self, batch: &mut FrameBatch, patience: Duration, mut is_sent: impl FnMut(usize, bool)) {
        let mut next = 0;
        while next < batch.len() {
            match self.send_some(batch, next) {
                Ok(count) => {
                    (next..next + count).for_each(|index| is_sent(index, true));
                    next += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait_writable(self, Some(patience)).unwrap_or(false) {
                        (next..batch.len()).for_each(|index| is_sent(index, false));
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot send a frame");
                    is_sent(next, false);
                    next += 1;
                }
            }
        }
    }

    fn send_some(&self, batch: &FrameBatch, first: usize) -> io::Result<usize> {
        // SAFETY: all-zero is a valid `mmsghdr` and a valid `iovec`.
        let (mut headers, mut parts) = unsafe {
            (std::mem::zeroed::<[libc::mmsghdr; MAX_BATCH]>(), std::mem::zeroed::<[libc::iovec; MAX_BATCH]>())
        };
        let pending = &batch.frames[first..];
        let count = pending.len().min(MAX_BATCH);
        for ((header, part), (start, len)) in headers.iter_mut().zip(&mut parts).zip(pending) {
            part.iov_base = batch.octets[*start..start + len].as_ptr().cast_mut().cast();
            part.iov_len = *len;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `count` headers point at frames of the lengths they state.
        unsafe { sendmmsg(self.0.as_raw_fd(), &mut headers[..count]) }
    }
}

/// A socket that copies of the frames come by which are sent to this host and may hold a datagram to one of its ports.
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    /// Opens it for the interface with this index. Takes CAP_NET_RAW. `queue` is octets of its queue.
    pub fn open(interface: u32, ports: &[u16], queue: usize) -> io::Result<Self> {
        // Nothing is received before the filter is there: neither here, without a protocol, nor between the two.
        let fd = open()?;
        cbpf::datagrams_to(ports).attach(&fd)?;
        let stamping = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        enable_timestamps(fd.as_fd(), stamping)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        // The VLAN tag, which the kernel takes out of the frame.
        set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        // A smaller queue than wished is no failure.
        let _ = set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, queue as libc::c_int);
        bind(&fd, interface, (libc::ETH_P_ALL as u16).to_be())?;
        match hardware_type(&fd)? {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(Self(fd)),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "its frames are not Ethernet's")),
        }
    }

    /// Fills the batch with what has come, without waiting; how many frames.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        match batch.fill(self.0.as_raw_fd(), 0) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
    let fd = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    // SAFETY: as above.
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// Binds the socket to an interface, and to a protocol in network order.
fn bind(fd: &OwnedFd, interface: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all-zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = interface as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address outlives the call and is `len` octets long.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kind of link (`ARPHRD_…`) of the interface that the socket is bound to.
fn hardware_type(fd: &OwnedFd) -> io::Result<u16> {
    // SAFETY: all-zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address outlives the call and has room for `len` octets.
    if unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(address.sll_hatype)
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int that outlives the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
