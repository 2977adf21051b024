//! An XDP program that is attached: watched, attached again, and taken off.

use aya::Ebpf;
use teaparty_common::maps::program;

use super::capture::KernelCapture;
use super::link::{attach_in, id_of, replace};
use super::load_error::LoadError;
use super::object::xdp;
use super::pins::folder::Folder;
use super::pins::{self, PinError};
use crate::net::interface::{Interface, xdp_state};
use crate::net::xdp_link::BpfLink;
use crate::reflector::config::XdpMode;

/// An attached program. Dropping this leaves it attached: [`Attachment::detach`] takes it away.
pub(crate) struct Attachment {
    /// For when another program takes ours off.
    pub(super) object: Ebpf,
    pub(super) folder: Folder,
    /// Open for the end, when nobody may have to be asked for it.
    pub(super) link: Option<BpfLink>,
    /// Native or skb.
    pub mode: XdpMode,
    /// Why it is not the mode that was to be expected, where it is not.
    pub reason: Option<String>,
    /// The program's number in the kernel.
    pub program_id: u32,
    /// True if maps and link of an earlier controller were taken over.
    pub is_adopted: bool,
    /// Why the program is not on the interface any more, where another program has taken it off.
    pub lost: Option<String>,
    /// The programs with capture, while they are in the place of the others.
    pub(super) capture: Option<KernelCapture>,
}

impl Attachment {
    /// Takes the program from the interface and removes all pins. The error says what is left.
    pub(crate) fn detach(self) -> Result<(), PinError> {
        self.take_off();
        self.folder.remove()
    }

    /// Looks whether the program is still on the interface, and attaches it again where another program has detached it.
    ///
    /// [`Attachment::lost`] says how it is afterwards. While the program is not there, sockets answer.
    pub(crate) fn follow(&mut self, interface: &Interface) {
        // A gone interface is reported elsewhere.
        let Ok(state) = xdp_state(interface.index) else { return };
        let lost = match state {
            Some(state) if state.program_id == self.program_id => None,
            Some(state) => Some(format!("another XDP program (id {}) has taken its place", state.program_id)),
            None => match self.attach_again(interface) {
                Ok(()) => {
                    let name = &interface.name;
                    tracing::warn!(interface = %name, "another program has detached the XDP program; it is attached again");
                    self.lost = None;
                    return;
                }
                Err(error) => Some(format!("another program has detached it: {error}")),
            },
        };
        if lost == self.lost {
            return;
        }
        match &lost {
            Some(reason) => {
                tracing::warn!(interface = interface.name, error = %reason, "the XDP program is off the interface, sockets answer");
            }
            None => tracing::info!(interface = interface.name, "the XDP program is back on the interface"),
        }
        self.lost = lost;
    }

    fn attach_again(&mut self, interface: &Interface) -> Result<(), LoadError> {
        let path = self.folder.fd_path().join(pins::LINK);
        let program = match &mut self.capture {
            Some(capture) => capture.program()?,
            None => xdp(&mut self.object, program::REFLECT)?,
        };
        let link = attach_in(program, interface, self.mode)?;
        // The pin of the link that was detached.
        let _ = self.folder.forget(pins::LINK);
        link.pin(&path).map_err(|error| PinError::pin(&self.folder.path().join(pins::LINK), &error))?;
        self.link = BpfLink::open(&path).ok();
        Ok(())
    }

    /// Puts the programs with capture in the place of the others, in one step.
    pub(crate) fn begin_capture(&mut self, mut capture: KernelCapture) -> Result<(), LoadError> {
        let path = self.folder.fd_path().join(pins::LINK);
        let begun = capture.pin().and_then(|()| {
            let program = capture.program()?;
            replace(program, &path).map_err(|error| LoadError::Load(error.to_string()))?;
            Ok(id_of(program))
        });
        match begun {
            Ok(program_id) => {
                self.program_id = program_id;
                self.capture = Some(capture);
                Ok(())
            }
            Err(error) => {
                capture.retire();
                Err(error)
            }
        }
    }

    /// The programs with capture, if they are attached.
    pub(crate) fn capture(&mut self) -> Option<&mut KernelCapture> {
        self.capture.as_mut()
    }

    /// Puts the programs without capture back, in one step. Packets may still be under way through those that this returns.
    pub(crate) fn end_capture(&mut self) -> Option<KernelCapture> {
        let capture = self.capture.take()?;
        let path = self.folder.fd_path().join(pins::LINK);
        let replaced = xdp(&mut self.object, program::REFLECT).and_then(|program| {
            replace(program, &path).map_err(|error| LoadError::Load(error.to_string()))?;
            Ok(id_of(program))
        });
        match replaced {
            Ok(program_id) => self.program_id = program_id,
            Err(error) => tracing::debug!(%error, "the program with capture is off the interface already"),
        }
        Some(capture)
    }

    /// Takes the program off an interface that is gone from here: what another namespace may have of it. The maps stay for
    /// when it comes back, in the folder.
    pub(crate) fn part(self) -> Folder {
        self.take_off();
        if let Err(error) = self.folder.unlink() {
            tracing::debug!(file = %self.folder.path().display(), %error);
        }
        self.folder
    }

    fn take_off(&self) {
        // One that is off already can't be taken off.
        if let Some(Err(error)) = self.link.as_ref().map(BpfLink::detach) {
            tracing::debug!(file = %self.folder.path().display(), %error, "cannot end its program");
        }
    }

    /// The folder of what is pinned.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }
}
