//! Captures of a running reflector, and the programs that they need.

use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teaparty_common::maps::capture::MAX_CAPTURES;

use super::{ReflectorHandle, ReflectorState};
use crate::reflector::capture::request::CaptureRequest;
use crate::reflector::capture::stream::CaptureStream;
use crate::reflector::interface_reflector::CaptureStep;
use crate::reflector::kernel::capture::KernelCapture;
use crate::reflector::kernel::load_error::LoadError;
use crate::sync::locked;

/// The time after which no packet is under way through a program that was replaced.
const GRACE: Duration = Duration::from_millis(50);

/// A capture that can't be.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The reflector does not answer there.
    #[error("the reflector does not answer on {0}")]
    Interface(String),
    /// There are as many as there may be.
    #[error("{MAX_CAPTURES} captures run, and no more can")]
    Full,
    /// The kernel does not take the programs with capture.
    #[error("cannot capture on {interface}: {source}")]
    Load {
        /// The interface.
        interface: String,
        /// Why.
        source: LoadError,
    },
}

impl ReflectorHandle {
    /// Begins a capture, which lasts until the result is dropped. Waits for the kernel to verify the programs that it needs, some
    /// seconds. To be called within a tokio runtime.
    pub fn capture(&self, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        let wanted = request.interface.clone();
        let (captures, interfaces) = {
            let state = locked(&self.state);
            let all = state.slots.iter().filter(|(name, _)| request.is_of(name));
            let present =
                all.filter_map(|(name, slot)| Some((slot.as_ref()?.context.snapshot().interface.index, name.clone())));
            (state.captures.clone(), present.collect::<Vec<_>>())
        };
        if let (Some(name), true) = (wanted, interfaces.is_empty()) {
            return Err(CaptureError::Interface(name));
        }
        let begun = captures.begin(request).ok_or(CaptureError::Full)?;
        let (state, runtime) = (self.state.clone(), tokio::runtime::Handle::current());
        let ended = move || {
            // Loading is not for the thread of a client that has gone.
            runtime.spawn_blocking(move || follow_or_warn(&state));
        };
        let mut stream = CaptureStream::new(captures, begun, Box::new(ended));
        follow(&self.state)?;
        stream.begin(&interfaces);
        Ok(stream)
    }

    /// Asks a capture to end; returns true if there is one with this number.
    pub fn end_capture(&self, number: usize) -> bool {
        locked(&self.state).captures.clone().ask_to_end(number)
    }
}

/// [`follow`], whose failure is a warning.
pub(in crate::reflector) fn follow_or_warn(state: &Mutex<ReflectorState>) {
    if let Err(error) = follow(state) {
        tracing::warn!(%error, "captures miss what the kernel answers");
    }
}

/// Brings the programs of all interfaces in line with the captures: those with capture where one needs them, and the others
/// where none does. Whoever calls it last decides.
fn follow(state: &Mutex<ReflectorState>) -> Result<(), CaptureError> {
    let captures = locked(state).captures.clone();
    let _turn = locked(&captures.turn);
    let indices: Vec<usize> = (0..locked(state).slots.len()).collect();
    indices.into_iter().try_for_each(|index| follow_one(state, index))
}

fn follow_one(state: &Mutex<ReflectorState>, index: usize) -> Result<(), CaptureError> {
    let (interface, config, folder) = {
        let mut state = locked(state);
        let captures: Arc<_> = state.captures.clone();
        let Some((name, Some(instance))) = state.slots.get_mut(index) else { return Ok(()) };
        let config = captures.kernel_config(name);
        match instance.capture_step(config.as_ref()) {
            Ok(CaptureStep::Done) => return Ok(()),
            Ok(CaptureStep::Ended(ended)) => {
                drop(state);
                std::thread::sleep(GRACE);
                ended.finish();
                return Ok(());
            }
            Ok(CaptureStep::Load(folder)) => (name.clone(), config.unwrap_or_default(), folder),
            Err(source) => return Err(CaptureError::Load { interface: name.clone(), source }),
        }
    };
    // Without the lock: packets need it not, and everybody else would wait.
    begin(state, index, &interface, folder, &config).map_err(|source| CaptureError::Load { interface, source })
}

fn begin(
    state: &Mutex<ReflectorState>,
    index: usize,
    interface: &str,
    folder: File,
    config: &teaparty_common::maps::capture::CaptureConfig,
) -> Result<(), LoadError> {
    let (capture, output) = KernelCapture::load(folder, interface, config)?;
    let mut state = locked(state);
    match state.slots.get_mut(index) {
        Some((name, Some(instance))) if name == interface => instance.begin_capture(capture, output),
        _ => {
            capture.retire();
            Ok(())
        }
    }
}
