//! Log lines for systemd's journal: each begins with its priority in angle brackets (sd-daemon(3)), and has no time of its own.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Names device and inode of the stream that systemd connects to the journal.
const VARIABLE: &str = "JOURNAL_STREAM";

/// Returns true if standard error goes to the journal, and not to where somebody has sent it since.
pub(super) fn is_stderr() -> bool {
    let Ok(named) = std::env::var(VARIABLE) else { return false };
    let about = || std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned()?).metadata();
    about().is_ok_and(|about| named == format!("{}:{}", about.dev(), about.ino()))
}

/// The format.
pub(super) struct Lines {
    has_target: bool,
}

impl Lines {
    /// With or without the part of the program that speaks.
    pub(super) fn new(has_target: bool) -> Self {
        Self { has_target }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        if self.has_target {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        writeln!(writer, "{}", super::sentence::of(event))
    }
}

/// A level as syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
