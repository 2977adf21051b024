//! Prefixes of log lines for systemd's journal: the priority in angle brackets (sd-daemon(3)), and no time of their own.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::Level;
use tracing_subscriber::fmt::format::Writer;

/// Names device and inode of the stream that systemd connects to the journal.
const VARIABLE: &str = "JOURNAL_STREAM";

/// Returns true if standard error is the journal, and was not redirected since.
pub(super) fn is_stderr() -> bool {
    let Ok(named) = std::env::var(VARIABLE) else { return false };
    let about = || std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned()?).metadata();
    about().is_ok_and(|about| named == format!("{}:{}", about.dev(), about.ino()))
}

/// Writes what stands in front of a line: its priority.
pub(super) fn prefix(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    write!(writer, "<{}>", priority(level))
}

/// Returns a level as syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
