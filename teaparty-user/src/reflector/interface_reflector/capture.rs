//! The programs with capture on an interface: put in the place of the others, and taken back.

use std::fs::File;
use std::io::PipeWriter;
use std::thread::JoinHandle;

use teaparty_common::maps::capture::CaptureConfig;

use super::{InterfaceKernel, InterfaceReflector, Program};
use crate::reflector::engine::capture_ring;
use crate::reflector::kernel::attachment::Attachment;
use crate::reflector::kernel::capture::{CaptureOutput, KernelCapture};
use crate::reflector::kernel::load_error::LoadError;
use crate::reflector::kernel::pins::PinError;

/// What is to be done for an interface's programs to be those that captures need.
pub(crate) enum CaptureStep {
    /// Nothing more.
    Done,
    /// To load the programs with capture, by this folder of pins.
    Load(File),
    /// To wait until no packet is under way through programs that were replaced.
    Ended(Box<EndedCapture>),
}

/// The thread that takes what is mirrored.
pub(super) struct CaptureThread {
    thread: JoinHandle<()>,
    waker: PipeWriter,
}

/// Programs with capture that were replaced, and their thread.
pub(crate) struct EndedCapture {
    capture: KernelCapture,
    thread: Option<CaptureThread>,
}

impl EndedCapture {
    /// Forgets them.
    pub(crate) fn finish(self) {
        if let Some(CaptureThread { thread, waker }) = self.thread {
            drop(waker);
            // One that has panicked has told so.
            let _ = thread.join();
        }
        self.capture.retire();
    }
}

impl InterfaceReflector {
    /// Has the programs mirror what `wanted` says, as far as that can be done at once; says what remains to be done.
    pub(crate) fn capture_step(&mut self, wanted: Option<&CaptureConfig>) -> Result<CaptureStep, LoadError> {
        let Some(config) = wanted else {
            return Ok(self.end_capture().map_or(CaptureStep::Done, |ended| CaptureStep::Ended(Box::new(ended))));
        };
        let Some(attachment) = self.attachment_mut() else { return Ok(CaptureStep::Done) };
        if let Some(capture) = attachment.capture() {
            capture.set(config)?;
            return Ok(CaptureStep::Done);
        }
        if attachment.lost.is_some() {
            // Sockets answer.
            return Ok(CaptureStep::Done);
        }
        let folder = attachment.folder();
        let open = File::open(folder.fd_path()).map_err(|source| PinError::Folder { path: folder.path(), source });
        Ok(CaptureStep::Load(open?))
    }

    /// Puts the programs with capture, which are loaded, in the place of the others.
    pub(crate) fn begin_capture(&mut self, capture: KernelCapture, output: CaptureOutput) -> Result<(), LoadError> {
        let (context, name) = (self.context.clone(), self.name());
        let Some(attachment) = self.attachment_mut() else {
            capture.retire();
            return Ok(());
        };
        attachment.begin_capture(capture)?;
        let failed = |error| LoadError::Load(format!("no thread for what is captured: {error}"));
        let thread = std::io::pipe().and_then(|(wake, waker)| {
            let run = move || capture_ring::run(&context, output, &wake);
            let thread = std::thread::Builder::new().name(format!("capture-{name}")).spawn(run)?;
            Ok(CaptureThread { thread, waker })
        });
        match (thread, &mut self.kernel) {
            (Ok(thread), Some(kernel)) => kernel.capture = Some(thread),
            (Ok(_), None) => {}
            (Err(error), _) => {
                if let Some(ended) = self.end_capture() {
                    ended.finish();
                }
                return Err(failed(error));
            }
        }
        Ok(())
    }

    /// Puts the programs without capture back.
    pub(super) fn end_capture(&mut self) -> Option<EndedCapture> {
        let capture = self.attachment_mut()?.end_capture()?;
        let thread = self.kernel.as_mut().and_then(|kernel| kernel.capture.take());
        Some(EndedCapture { capture, thread })
    }

    fn attachment_mut(&mut self) -> Option<&mut Attachment> {
        match &mut self.kernel {
            Some(InterfaceKernel { program: Program::Attached(attachment, _), .. }) => Some(attachment),
            _ => None,
        }
    }
}
