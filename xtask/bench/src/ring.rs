//! Rings of packet sockets (packet(7), version 2): frames that the kernel writes or reads without a system call for each.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;

use anyhow::{Context, Result, bail, ensure};

/// A packet socket with its ring.
pub(super) struct Ring {
    fd: OwnedFd,
    base: *mut u8,
    frames: usize,
    frame: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring of `frames` slots of `frame` octets, headers included, both powers of two, for what an interface receives
    /// or sends (`PACKET_RX_RING`, `PACKET_TX_RING`) of one protocol; 0 for none.
    pub(super) fn open(interface: u32, protocol: u16, kind: libc::c_int, frames: usize, frame: usize) -> Result<Self> {
        let ring = Self::unbound(kind, frames, frame)?;
        ring.bind(interface, protocol)?;
        Ok(ring)
    }

    /// Opens one on no interface yet.
    pub(super) fn unbound(kind: libc::c_int, frames: usize, frame: usize) -> Result<Self> {
        // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(fd >= 0, "cannot open a packet socket: {}", io::Error::last_os_error());
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        let block = (1 << 16).max(frame);
        let request = libc::tpacket_req {
            tp_block_size: block as u32,
            tp_block_nr: (frames * frame / block) as u32,
            tp_frame_size: frame as u32,
            tp_frame_nr: frames as u32,
        };
        set(&fd, libc::SOL_PACKET, kind, &request)?;
        // SAFETY: a new mapping of the ring, of its size.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                frames * frame,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            bail!("cannot map the ring: {}", io::Error::last_os_error());
        }
        Ok(Self { fd, base: base.cast(), frames, frame })
    }

    /// Binds it to an interface and the frames of one protocol.
    pub(super) fn bind(&self, interface: u32, protocol: u16) -> Result<()> {
        // SAFETY: all-zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = interface as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address outlives the call and is `len` octets long.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) };
        ensure!(result == 0, "cannot bind a packet socket: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The slot with this number, which begins with a `tpacket2_hdr`. Whose it is says its status.
    pub(super) fn slot(&self, index: usize) -> *mut u8 {
        assert!(index < self.frames, "the ring has {} slots", self.frames);
        // SAFETY: the ring has as many slots, as was just compared.
        unsafe { self.base.add(index * self.frame) }
    }

    /// Whose a slot is; read before, and written after everything else in it.
    ///
    /// # Safety
    ///
    /// A slot of a ring that lives.
    pub(super) unsafe fn status<'a>(slot: *mut u8) -> &'a AtomicU32 {
        // SAFETY: the caller's; `tp_status` is the first field, four octets, aligned.
        unsafe { &*slot.cast() }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and of this length; nothing refers to it any more.
        unsafe { libc::munmap(self.base.cast(), self.frames * self.frame) };
    }
}

/// Sets a socket option.
pub(super) fn set<T>(fd: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value outlives the call and is `len` octets long.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context(format!("socket option {option}")) }
}
