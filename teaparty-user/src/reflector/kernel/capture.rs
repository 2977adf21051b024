//! The programs with capture: loaded while somebody captures, and in the place of the others in one step.
//!
//! They are of a second object, which shares all maps but those of one packet's way: working memory, and the programs to jump to.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::Xdp;
use teaparty_common::maps::capture::{CaptureConfig, CaptureCounts};
use teaparty_common::maps::{TailCall, name, program};

use super::kernel_log::{Follower, KernelLog};
use super::load_error::{LoadError, load_error};
use super::maps;
use super::object::{object, open_capture, take_map, xdp};
use super::pinned_map::MapsError;
use super::pins::{self, PinError};

/// The programs with capture of one interface.
pub(crate) struct KernelCapture {
    object: Ebpf,
    /// The interface's folder of pins.
    folder: File,
    /// The pin of the programs to jump to: it keeps them for a program that answers without a controller.
    pin: Option<PathBuf>,
    config: Array<MapData, CaptureConfig>,
    _log: Option<Follower>,
}

/// What the programs give: packets, and how many they have not mirrored.
pub(crate) struct CaptureOutput {
    /// Mirrored packets.
    pub(crate) packets: RingBuf<MapData>,
    /// Those that were not.
    pub(crate) counts: PerCpuArray<MapData, CaptureCounts>,
}

impl KernelCapture {
    /// Has the kernel load and verify the programs, which takes a second or two. `folder` has the maps of the running ones. To be
    /// called within a tokio runtime.
    pub(crate) fn load(
        folder: File,
        interface: &str,
        config: &CaptureConfig,
    ) -> Result<(Self, CaptureOutput), LoadError> {
        let mut object = open_capture(&object()?, &path_of(&folder))?;
        for name in [program::CAPTURE].into_iter().chain(TailCall::ALL.map(TailCall::capture_program)) {
            xdp(&mut object, name)?.load().map_err(|error| load_error(&error))?;
        }
        maps::connect(&mut object, TailCall::capture_program).map_err(|error| load_error(&error))?;
        let log = KernelLog::new(&mut object, interface).map(KernelLog::follow);
        let output = CaptureOutput {
            packets: take_map(&mut object, name::CAPTURED)?,
            counts: take_map(&mut object, name::CAPTURE_COUNTS)?,
        };
        let filters = take_map(&mut object, name::CAPTURE_CONFIG)?;
        let mut capture = Self { object, folder, pin: None, config: filters, _log: log };
        capture.set(config)?;
        Ok((capture, output))
    }

    /// Puts other filters in force.
    pub(crate) fn set(&mut self, config: &CaptureConfig) -> Result<(), MapsError> {
        self.config.set(0, config, 0).map_err(|source| MapsError { name: name::CAPTURE_CONFIG, source })
    }

    /// Pins what the program needs if no controller runs any more.
    pub(super) fn pin(&mut self) -> Result<(), LoadError> {
        let path = pins::free_name(&path_of(&self.folder), name::TAIL_CALLS);
        let map = self.object.map(name::TAIL_CALLS);
        let map = map.ok_or_else(|| LoadError::Load("the object has no programs to jump to".into()))?;
        map.pin(&path).map_err(|error| PinError::pin(&path, &error))?;
        self.pin = Some(path);
        Ok(())
    }

    /// The program to be attached.
    pub(super) fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        xdp(&mut self.object, program::CAPTURE)
    }

    /// Forgets the programs, through which no packet goes any more.
    pub(crate) fn retire(self) {
        if let Some(Err(error)) = self.pin.as_deref().map(std::fs::remove_file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "the pin of the programs with capture is still there");
        }
    }
}

/// A path that reaches an open folder under any name.
fn path_of(folder: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string())
}
