//! Why the XDP program is not loaded or not attached.

use std::io;
use std::path::PathBuf;

use aya::programs::loaded_programs;
use rustix::thread::CapabilitySet;
use teaparty_common::maps::ABI_VERSION;

use super::kernel_session_store::SessionStoreError;
use super::pinned_map::MapsError;
use super::pins::PinError;
use crate::sys::capabilities;

/// First kernel with `bpf_ktime_get_tai_ns`.
pub(crate) const OLDEST_KERNEL: (u8, u8) = (6, 1);
/// The environment variable that names an object to be used in place of the embedded one.
pub(super) const VARIABLE: &str = "TEAPARTY_EBPF_OBJECT";

/// The program cannot be had or not be attached.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This `teaparty` was built without it.
    #[error(
        "this teaparty was built without the XDP program; build it with `cargo xtask build-ebpf`, \
         or name an object file in {VARIABLE}"
    )]
    NoObject,
    /// The object file that the environment names.
    #[error("cannot read the object file {} named by {VARIABLE}: {source}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No privileges.
    #[error(
        "loading an XDP program needs root, or CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON, and a folder \
             /sys/fs/bpf/teaparty of ours; try sudo"
    )]
    NoPermission,
    /// Too old a kernel.
    #[error("the XDP program needs Linux {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    OldKernel,
    /// Pins.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The interface is taken.
    #[error(
        "interface {interface} already runs the XDP program {program} (id {id}), which is not ours to replace; \
         `bpftool net` and `ip link show dev {interface}` show it"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// The program's number.
        id: u32,
        /// Its name.
        program: String,
    },
    /// Pins of another version.
    #[error(
        "interface {interface} still runs the reflector of another version of teaparty (map layout {found}, ours is \
         {ABI_VERSION}); remove it with `teaparty detach --iface {interface}`"
    )]
    OtherVersion {
        /// The interface.
        interface: String,
        /// The version that is there.
        found: u32,
    },
    /// A program of an earlier start, while none is wanted.
    #[error(
        "interface {interface} still runs the XDP program of an earlier start; `teaparty detach --iface {interface}` removes \
         it, and without --xdp-mode off the new start goes on with it"
    )]
    Left {
        /// The interface.
        interface: String,
    },
    /// The interface's frames are none that the program knows.
    #[error(
        "the XDP program can't see what comes by {interface}, whose frames have no Ethernet header (tun, WireGuard, PPP); \
         leave --xdp-mode out and sockets answer"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The kernel refuses the object.
    #[error("the kernel does not load the XDP program: {0}")]
    Load(String),
    /// The interface refuses the program.
    #[error("cannot attach the XDP program to {interface} in mode {mode}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode tried.
        mode: &'static str,
        /// Why.
        reason: String,
    },
    /// A map.
    #[error(transparent)]
    Maps(#[from] MapsError),
}

impl From<SessionStoreError> for LoadError {
    fn from(error: SessionStoreError) -> Self {
        match error {
            SessionStoreError::Program(_) => Self::Load(error.to_string()),
            SessionStoreError::Map(error) => Self::Maps(error),
        }
    }
}

impl LoadError {
    /// Returns true if `--xdp-mode auto` goes on without the program. Not where that would leave two reflectors on an interface.
    pub fn is_optional(&self) -> bool {
        !matches!(self, Self::Busy { .. } | Self::OtherVersion { .. } | Self::Pins(PinError::Running { .. }))
    }
}

/// Returns the error for an interface that runs a program of others.
pub(super) fn busy(interface: &str, id: u32) -> LoadError {
    LoadError::Busy { interface: interface.into(), id, program: program_name(id) }
}

fn program_name(id: u32) -> String {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    found.and_then(|program| program.name_as_str().map(str::to_owned)).unwrap_or_else(|| "of unknown name".into())
}

/// The error with its causes in one line; of a verifier's log the end, where it says what it minded.
pub(super) fn load_error(error: &(dyn std::error::Error + 'static)) -> LoadError {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.raw_os_error() == Some(libc::EPERM)
        {
            return LoadError::NoPermission;
        }
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    // Without it the verifier refuses arithmetic on pointers, in words that don't say so.
    if !capabilities::has(CapabilitySet::PERFMON) {
        return LoadError::NoPermission;
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    LoadError::Load(lines[lines.len().saturating_sub(4)..].join(" | "))
}

/// Returns the system's error number, if there is one among the causes.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

/// Returns the innermost cause.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
