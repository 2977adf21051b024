//! Standard output and standard error: the one way to both for every command.
//!
//! Nothing here panics when a reader goes away, and no output is lost in silence: `print` fails when the octets could not
//! be written, and says when nobody reads any more.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

/// Standard output took not all that was written: its disk is full, for instance.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(crate) struct OutputError(io::Error);

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// The reader of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum StdoutReader {
    /// Somebody, as far as the system knows.
    Present,
    /// Nobody: the reader closed the pipe, as `head -1` does once it has seen enough.
    Gone,
}

impl StdoutReader {
    /// Ignores that the reader may be gone: for a command that ends anyway.
    pub(crate) fn any(self) {}
}

/// Completes when the reader of standard output has gone, at once and not at the next write; never where that is a file.
pub(crate) async fn reader_gone() {
    let (sender, gone) = oneshot::channel();
    // A thread of its own: the runtime's would have to end before the process does.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        // No event is asked for: an error, which a pipe without a reader has, is told always.
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while matches!(poll(&mut watched, PollTimeout::NONE), Ok(0) | Err(Errno::EINTR)) {}
        // Nobody waits any more where this fails.
        let _ = sender.send(());
    });
    // The thread sends before it ends.
    let _ = gone.await;
}

/// Writes text to standard output, and all that was written before it.
///
/// A closed pipe is no failure: its reader chose to read no more. Every other error is one.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<StdoutReader, OutputError> {
    let mut stdout = io::stdout().lock();
    outcome(stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()))
}

/// Sorts the result of a write to standard output.
pub(crate) fn outcome(written: io::Result<()>) -> Result<StdoutReader, OutputError> {
    match written {
        Ok(()) => Ok(StdoutReader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(StdoutReader::Gone),
        Err(error) => Err(OutputError(error)),
    }
}

/// Writes text to standard output for a process that goes on without readers. A failure becomes a warning in the log.
pub(crate) fn announce(text: &str) {
    let failure = match print(text) {
        Ok(StdoutReader::Present) => return,
        Ok(StdoutReader::Gone) => "the reader closed the pipe".to_owned(),
        Err(OutputError(error)) => error.to_string(),
    };
    tracing::warn!(error = failure, "cannot write to standard output; teaparty goes on without it");
}

/// Writes a line to standard error. If that is closed too, there is no place left to say so.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(outcome(Ok(())).unwrap(), StdoutReader::Present);
        assert_eq!(outcome(Err(io::ErrorKind::BrokenPipe.into())).unwrap(), StdoutReader::Gone);
        let full = outcome(Err(io::Error::from_raw_os_error(libc::ENOSPC))).unwrap_err();
        assert_eq!(full.to_string(), "cannot write to standard output: No space left on device (os error 28)");
    }
}
