//! The link that holds the XDP program on its interface: replaced in one step, or attached again by the best mode.

use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode as AyaMode};
use teaparty_common::maps::program;

use super::load_error::{LoadError, busy, cause, os_error};
use super::object::xdp;
use super::pins::folder::Folder;
use super::pins::{self, PinError};
use crate::net::interface::{Interface, xdp_state};
use crate::reflector::config::XdpMode;

/// A program on an interface.
pub(super) struct Linked {
    pub(super) mode: XdpMode,
    pub(super) program_id: u32,
    /// Why it is not the mode that was to be expected, where it is not.
    pub(super) reason: Option<String>,
}

/// Replaces the program in the link that is there, or attaches it again.
pub(super) fn link(
    ebpf: &mut Ebpf,
    folder: &Folder,
    interface: &Interface,
    mode: XdpMode,
) -> Result<Linked, LoadError> {
    let path = folder.fd_path().join(pins::LINK);
    let program = xdp(ebpf, program::REFLECT)?;
    if path.exists() {
        match replace(program, &path) {
            Ok(()) => return Ok(replaced(program, interface, mode)),
            Err(reason) => {
                // The link of an interface that has gone since.
                tracing::debug!(interface = interface.name, error = %reason, "the pinned link is dead");
                folder
                    .forget(pins::LINK)
                    .map_err(|source| PinError::Folder { path: folder.path().join(pins::LINK), source })?;
            }
        }
    }
    let (link, linked) = attach_by(program, interface, mode)?;
    link.pin(&path).map_err(|error| PinError::pin(&folder.path().join(pins::LINK), &error))?;
    Ok(linked)
}

/// Returns how a program is on the interface that took the place of one of an earlier start. Warns if that is not the mode
/// that is wanted.
fn replaced(program: &Xdp, interface: &Interface, mode: XdpMode) -> Linked {
    let state = xdp_state(interface.index).ok().flatten();
    let is_native = state.is_none_or(|state| state.is_native);
    let obtained = if is_native { XdpMode::Native } else { XdpMode::Skb };
    if mode != XdpMode::Auto && mode != obtained {
        tracing::warn!(
            interface = interface.name,
            mode = obtained.name(),
            "the program of the earlier start is kept in mode {}; `teaparty detach --iface {}` and a new \
             start change it to {}",
            obtained.name(),
            interface.name,
            mode.name()
        );
    }
    Linked { mode: obtained, program_id: id_of(program), reason: None }
}

/// Attaches the program by the wanted mode; with [`XdpMode::Auto`], natively or else generically.
fn attach_by(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<(FdLink, Linked), LoadError> {
    let is_veth = mode == XdpMode::Auto && interface.is_veth();
    let modes: &[XdpMode] = match mode {
        XdpMode::Skb => &[XdpMode::Skb],
        XdpMode::Native => &[XdpMode::Native],
        XdpMode::Auto | XdpMode::Off if is_veth => &[XdpMode::Skb],
        XdpMode::Auto | XdpMode::Off => &[XdpMode::Native, XdpMode::Skb],
    };
    let mut refusal = None;
    let mut reason = None;
    if is_veth {
        // Nothing tells us whether there is one: the far end may be in another namespace.
        tracing::info!(
            interface = interface.name,
            "generic mode (skb), because native replies leave a veth only if its far end runs an XDP program; if it \
             does: --xdp-mode native"
        );
        reason = Some("a veth; if its far end runs an XDP program: --xdp-mode native".to_owned());
    }
    for mode in modes {
        match attach_in(program, interface, *mode) {
            Ok(link) => {
                if let Some(LoadError::Attach { reason: refused, .. }) = refusal {
                    tracing::warn!(
                        interface = interface.name,
                        reason = refused,
                        "no native XDP, {refused}; the program runs in generic mode (skb), slower"
                    );
                    reason = Some(refused);
                }
                return Ok((link, Linked { mode: *mode, program_id: id_of(program), reason }));
            }
            Err(error @ LoadError::Attach { .. }) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.expect("at least one mode was tried"))
}

pub(super) fn id_of(program: &Xdp) -> u32 {
    program.info().map_or(0, |info| info.id())
}

/// A pinned link that does not take our program.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    #[error(transparent)]
    Pin(#[from] LinkError),
    #[error("{}", cause(.0))]
    Attach(ProgramError),
    #[error(transparent)]
    Link(ProgramError),
}

/// Puts our program into a pinned link, in one step.
pub(super) fn replace(program: &mut Xdp, path: &Path) -> Result<(), ReplaceError> {
    let link: XdpLink = FdLink::from(PinnedLink::from_pin(path)?).try_into()?;
    let id = program.attach_to_link(link).map_err(ReplaceError::Attach)?;
    // The pin holds the link, whatever becomes of our descriptor.
    program.take_link(id).map(|_| ()).map_err(ReplaceError::Link)
}

/// Attaches the program in one mode.
pub(super) fn attach_in(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<FdLink, LoadError> {
    let refused = |reason| LoadError::Attach { interface: interface.name.clone(), mode: mode.name(), reason };
    let flag = if mode == XdpMode::Skb { AyaMode::Skb } else { AyaMode::Driver };
    let id = match program.attach_to_if_index(interface.index, flag) {
        Ok(id) => id,
        Err(error) => {
            let is_busy = os_error(&error).is_some_and(|code| code == libc::EBUSY || code == libc::EEXIST);
            if is_busy && let Ok(Some(state)) = xdp_state(interface.index) {
                return Err(busy(&interface.name, state.program_id));
            }
            return Err(match os_error(&error) {
                Some(libc::EPERM) => LoadError::NoPermission,
                Some(libc::EOPNOTSUPP) => refused("its driver has no XDP".into()),
                _ => refused(cause(&error)),
            });
        }
    };
    let link = program.take_link(id).map_err(|error| refused(error.to_string()))?;
    link.try_into().map_err(|_| refused("this kernel has no BPF links for XDP".into()))
}
