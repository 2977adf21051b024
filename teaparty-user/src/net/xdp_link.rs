//! The BPF link that holds an XDP program on an interface: where it is, and how it is taken off.
//!
//! aya tells neither the interface of a link nor detaches one that is pinned; hence three commands of bpf(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_LINK_TYPE_XDP: u32 = 6;

/// An open link.
#[derive(Debug)]
pub struct BpfLink(OwnedFd);

/// The kernel's state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfLinkState {
    /// The program's number.
    pub program_id: u32,
    /// Number of the interface, in its own network namespace; 0 where the interface has gone or the link was detached.
    pub index: u32,
}

/// `struct bpf_link_info`, as far as XDP links fill it.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    index: u32,
    rest: [u32; 11],
}

impl BpfLink {
    /// Opens the link that is pinned at `path`. What is pinned there and is no XDP link is an error of
    /// [`io::ErrorKind::InvalidData`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut attributes = [path.as_ptr() as u64, 0];
        // SAFETY: the attributes name a string that ends with zero and outlives the call.
        let fd = unsafe { bpf(BPF_OBJ_GET, &mut attributes) }?;
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        let link = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        link.info().map(|_| link)
    }

    /// Asks the kernel about the link.
    pub fn info(&self) -> io::Result<BpfLinkState> {
        let mut info = Info::default();
        let lengths = [self.0.as_raw_fd() as u32, size_of::<Info>() as u32];
        let mut attributes = [pair(lengths), &raw mut info as u64];
        // SAFETY: the kernel writes no more of the structure than the length says, and it outlives the call.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
        if info.kind != BPF_LINK_TYPE_XDP {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not the link of an XDP program"));
        }
        Ok(BpfLinkState { program_id: info.program_id, index: info.index })
    }

    /// Takes the program off its interface, wherever the link is pinned. It is gone when this returns.
    pub fn detach(&self) -> io::Result<()> {
        let mut attributes = [pair([self.0.as_raw_fd() as u32, 0]), 0];
        // SAFETY: the command reads one descriptor.
        unsafe { bpf(BPF_LINK_DETACH, &mut attributes) }.map(drop)
    }
}

/// Two words as they lie in memory.
fn pair(words: [u32; 2]) -> u64 {
    // SAFETY: both types have the same size and no invalid values.
    unsafe { std::mem::transmute::<[u32; 2], u64>(words) }
}

/// # Safety
///
/// Addresses in `attributes` are what the command takes, and are valid during the call.
unsafe fn bpf(command: libc::c_int, attributes: &mut [u64; 2]) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are as long as stated; the caller answers for what they name.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
