//! Where lines go: to standard output, or to a file until that takes no more.
//!
//! A full disk must cost nothing that was measured: the file then ends with its last whole line, and all that follows
//! is written to standard output. A closed pipe there is no failure.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::sys::stdio::{self, OutputError, StdoutReader};

/// Octets that are gathered at most before they are written.
const GATHERED: usize = 64 << 10;

/// Lines on their way to a file or to standard output.
pub(crate) struct LineWriter {
    sink: Sink,
    /// Whole lines that wait to be written.
    waiting: Vec<u8>,
    /// The failure of the file.
    failure: Option<String>,
}

enum Sink {
    Stdout,
    File(File, PathBuf),
    /// Standard output without a reader.
    Nobody,
}

impl LineWriter {
    /// Opens the file, `-` for standard output. What was in it is gone.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let sink = match path.as_os_str() == "-" {
            true => Sink::Stdout,
            false => Sink::File(create(path)?, path.to_owned()),
        };
        Ok(Self { sink, waiting: Vec::new(), failure: None })
    }

    /// Adds a line; `line` is without its newline.
    ///
    /// Fails if standard output takes no more.
    pub(crate) fn push(&mut self, line: &str) -> Result<(), OutputError> {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
        if self.waiting.len() < GATHERED { Ok(()) } else { self.flush() }
    }

    /// Writes what waits. Fails like [`Self::push`].
    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        let Sink::File(file, path) = &mut self.sink else { return self.print() };
        let (written, result) = write_some(file, &self.waiting);
        let Err(error) = result else {
            self.waiting.clear();
            return Ok(());
        };
        let whole = self.waiting[..written].iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        cut(file, (written - whole) as u64);
        self.failure =
            Some(format!("cannot write to {}: {error}; what it does not hold is on standard output", path.display()));
        self.waiting.drain(..whole);
        self.sink = Sink::Stdout;
        self.print()
    }

    /// Writes what waits to standard output, as long as somebody reads it.
    fn print(&mut self) -> Result<(), OutputError> {
        if !matches!(self.sink, Sink::Nobody) && stdio::print(&self.waiting)? == StdoutReader::Gone {
            self.sink = Sink::Nobody;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Returns who reads what is written.
    pub(crate) fn reader(&self) -> StdoutReader {
        if matches!(self.sink, Sink::Nobody) { StdoutReader::Gone } else { StdoutReader::Present }
    }

    /// Why the file takes no more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// Creates a file, or says which one can't be.
pub(crate) fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write to {}", path.display()))
}

/// Writes as much as goes; says how much that was.
fn write_some(to: &mut impl Write, octets: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < octets.len() {
        match to.write(&octets[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, to.flush())
}

/// Takes the last octets away again. What is no file on a disk keeps them, and its reader has them already.
fn cut(file: &mut File, octets: u64) {
    if octets > 0
        && let Ok(length) = file.stream_position()
    {
        let _ = file.set_len(length.saturating_sub(octets));
    }
}
