//! What the program says while it runs: `tracing` to standard error. Results go to standard output, never here.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The environment variable that takes precedence over the level, in the syntax of `tracing_subscriber::EnvFilter`.
pub const FILTER_VARIABLE: &str = "TEAPARTY_LOG";

/// Starts logging. `verbosity` 0 is information, 1 debugging, 2 and more tracing; negative means warnings, then errors.
///
/// Calls after the first one have no effect.
pub fn start(verbosity: i8, format: LogFormat) {
    // The libraries' own debugging would drown ours.
    let level = match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "info,teaparty=debug,teaparty_user=debug",
        2.. => "info,teaparty=trace,teaparty_user=trace",
    };
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_span_events(FmtSpan::NONE)
        .with_target(verbosity > 0);
    // A subscriber that is there already belongs to a test.
    let _ = match format {
        LogFormat::Text => builder.without_time().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
