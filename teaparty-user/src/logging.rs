//! What the program says while it runs: `tracing` to standard error. Results go to standard output, never here.
//!
//! Events have fields (`interface`, `target`, `peer`, `session`, `reason`, `count`, `error`). `sentence` makes lines of
//! them, `journal` the prefixes that systemd wants; `limit` keeps repeated lines back.

mod journal;
mod limit;
mod sentence;

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; for the journal where systemd has connected standard error to it.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The environment variable that takes precedence over the level, in the syntax of `tracing_subscriber::EnvFilter`.
pub(crate) const FILTER_VARIABLE: &str = "TEAPARTY_LOG";

/// Starts logging. `verbosity` 0 is information, 1 debugging, 2 and more tracing; negative means warnings, then errors.
///
/// Calls after the first one have no effect.
pub(crate) fn start(verbosity: i8, format: LogFormat) {
    // The libraries' own debugging would drown ours.
    let level = match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "info,teaparty=debug,teaparty_user=debug",
        2.. => "info,teaparty=trace,teaparty_user=trace",
    };
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let lines: Box<dyn Layer<_> + Send + Sync> = lines(format, verbosity > 0);
    // A subscriber that is there already belongs to a test.
    let _ = Registry::default().with(lines).with(limit::Limit).with(filter).try_init();
    let waiting = EARLY.lock().unwrap_or_else(PoisonError::into_inner).take();
    waiting.into_iter().flatten().for_each(|text| tracing::warn!("{text}"));
}

/// Writes lines in their form.
fn lines<S>(format: LogFormat, has_target: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(has_target);
    // It would be said on standard error, with a panic where that is what failed.
    let layer = layer.log_internal_errors(false);
    match format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text => {
            let is_journal = journal::is_stderr();
            let prefix = if is_journal { journal::prefix } else { sentence::prefix };
            let layer = layer.with_ansi(!is_journal && std::io::stderr().is_terminal());
            layer.fmt_fields(sentence::Sentences).event_format(sentence::LineFormat::new(prefix, has_target)).boxed()
        }
    }
}

/// Warnings from before logging was started, when a configuration file may still say how to log.
static EARLY: Mutex<Option<Vec<String>>> = Mutex::new(Some(Vec::new()));

/// Logs a warning; one from before [`start`] waits for it.
pub(crate) fn warn_early(text: String) {
    match &mut *EARLY.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(waiting) => waiting.push(text),
        None => tracing::warn!("{text}"),
    }
}

/// Says how many lines were kept back because there were too many like them. To be called every now and then.
pub(crate) fn tell_suppressed() {
    tell(limit::take_suppressed(Some(Instant::now())));
}

/// Says so of all of them, at the end.
pub(crate) fn finish() {
    tell(limit::take_suppressed(None));
}

fn tell(suppressed: Vec<limit::Suppressed>) {
    for limit::Suppressed { lines, excerpt, level } in suppressed {
        // The level is part of a place in the program.
        match LevelFilter::from_level(level) {
            LevelFilter::ERROR => {
                tracing::error!(count = lines, "{lines} more lines like this one were left out: {excerpt}");
            }
            LevelFilter::WARN => {
                tracing::warn!(count = lines, "{lines} more lines like this one were left out: {excerpt}");
            }
            LevelFilter::INFO => {
                tracing::info!(count = lines, "{lines} more lines like this one were left out: {excerpt}");
            }
            _ => tracing::debug!(count = lines, "{lines} more lines like this one were left out: {excerpt}"),
        }
    }
}
