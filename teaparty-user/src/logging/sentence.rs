//! Log lines for people: the fields of an event as one sentence.
//!
//! `warn!(interface = "eth0", error = %error, "no XDP")` reads `eth0: no XDP: …`. Machines get the fields themselves
//! (`--log-format json`).

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields that say what an event is about; they stand in front.
const SUBJECTS: [&str; 8] = ["reflector", "interface", "target", "peer", "source", "file", "folder", "setting"];
/// The field that says why; it follows the message.
const CAUSE: &str = "error";

/// A sentence with some fields.
#[derive(Default)]
struct Sentence {
    subjects: String,
    message: String,
    cause: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format!("{value:?}"));
    }
}

impl Sentence {
    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            CAUSE => self.cause = value,
            name if SUBJECTS.contains(&name) => {
                let _ = write!(self.subjects, "{value}: ");
            }
            name => self.others.push((name, value)),
        }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subjects)?;
        f.write_str(&self.message)?;
        if !self.cause.is_empty() {
            write!(f, "{}{}", if self.message.is_empty() { "" } else { ": " }, self.cause)?;
        }
        // What the message says anyway is not repeated.
        let others = self.others.iter().filter(|(_, value)| !self.message.contains(&**value));
        let others: Vec<String> = others.map(|(name, value)| format!("{name} {value}")).collect();
        if others.is_empty() { Ok(()) } else { write!(f, " ({})", others.join(", ")) }
    }
}

/// Returns what an event says.
pub(super) fn of(event: &Event<'_>) -> String {
    let mut sentence = Sentence::default();
    event.record(&mut sentence);
    sentence.to_string()
}

/// Fields as sentences.
pub(super) struct Sentences;

impl<'w> FormatFields<'w> for Sentences {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut sentence = Sentence::default();
        fields.record(&mut sentence);
        write!(writer, "{sentence}")
    }
}

/// Writes what stands in front of a line of this level.
type LevelPrefix = fn(&mut Writer<'_>, Level) -> fmt::Result;

/// Lines with a prefix for their level, each a sentence.
pub(super) struct LineFormat {
    prefix: LevelPrefix,
    /// True if the part of the program that speaks is named.
    has_target: bool,
}

impl LineFormat {
    /// With this prefix, with or without the part of the program that speaks.
    pub(super) fn new(prefix: LevelPrefix, has_target: bool) -> Self {
        Self { prefix, has_target }
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        (self.prefix)(&mut writer, *event.metadata().level())?;
        if self.has_target {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        writeln!(writer, "{}", of(event))
    }
}

/// Writes the level as a word, in its colour where the reader shows colours.
pub(super) fn prefix(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    if writer.has_ansi_escapes() {
        write!(writer, "\x1b[{}m{level:>5}\x1b[0m ", color(level))
    } else {
        write!(writer, "{level:>5} ")
    }
}

/// Returns the colour of a level, as a number of ECMA-48.
fn color(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    struct Keep(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(of(event));
        }
    }

    #[test]
    fn fields_make_one_sentence() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let error = std::io::Error::from_raw_os_error(libc::ENODEV);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Keep(said.clone())), || {
            tracing::warn!(interface = "eth0", error = %error, "no XDP, sockets answer instead, slower");
            tracing::info!(count = 3, "sessions are over");
            tracing::info!(mode = "native", interface = "eth0", "the interface is back, XDP mode native");
            tracing::error!(interface = "eth0", error = %error);
            tracing::info!("all is well");
        });
        let expected = [
            "eth0: no XDP, sockets answer instead, slower: No such device (os error 19)",
            "sessions are over (count 3)",
            "eth0: the interface is back, XDP mode native",
            "eth0: No such device (os error 19)",
            "all is well",
        ];
        assert_eq!(*said.lock().unwrap(), expected);
    }
}
