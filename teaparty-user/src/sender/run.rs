//! A measurement from start to exit status: the engine on a thread of its own, and this one that writes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

use super::config::SenderConfig;
use super::engine;
use super::engine::event::{SenderEvent, Subscription};
use super::engine::stop::Stop;
use super::output::line_writer::{LineWriter, create};
use super::output::report::packet_line::packet_line;
use super::output::report::{ReportFormat, hdr, human, json, stream};
use super::output::tui;
use super::session::measurement::FinishedMeasurement;
use super::thresholds::{self, Thresholds};
use crate::exit_code::Exit;
use crate::layout::{DEFAULT_COLUMNS, columns, fold};
use crate::sys::clock::{ClockSource as _, SystemClock};
use crate::sys::stdio::{self, StdoutReader};

/// Records that may wait to be written. When this many wait, the engine does: a stream with holes would be worth less
/// than one that says (by the pacing error) that it was too slow.
const BACKLOG: usize = 1 << 16;

/// The output of a run, and its checks.
#[derive(Debug)]
pub(crate) struct Output {
    /// Form of it.
    pub format: ReportFormat,
    /// File for it, `-` for standard output.
    pub path: PathBuf,
    /// True if to show the live view, where there is a terminal that can: for what is seen, and for keys.
    pub is_live: bool,
    /// True if people are to see the summary alone.
    pub is_quiet: bool,
    /// File for distributions in HdrHistogram's log format.
    pub hdr_log: Option<PathBuf>,
    /// The thresholds that make the measurement a failed check.
    pub thresholds: Thresholds,
}

/// Measures, writes, and says how to exit.
pub(crate) fn run(config: SenderConfig, output: Output) -> anyhow::Result<Exit> {
    // Outputs are opened before the first packet is sent: a mistyped path must not cost a day of measuring.
    let mut writer = Writer::open(&output, &config)?;
    let hdr_log = output.hdr_log.as_ref().map(|path| create(path)).transpose()?;
    let stop = Arc::new(Stop::new().context("cannot make a bell to stop by")?);
    let signals = block_signals()?;
    stop_on_signals(signals, Arc::clone(&stop))?;
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    let is_live = output.is_live && !is_dumb && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let snapshots = is_live.then_some(tui::INTERVAL);
    let subscription =
        Subscription { records: !is_live && writer.wants_records(), snapshots, ..Subscription::default() };
    let (sink, events) = sync_channel(BACKLOG);
    let outcome = std::thread::scope(|scope| {
        let engine = std::thread::Builder::new()
            .name("sender".into())
            .spawn_scoped(scope, || measure(&config, &stop, subscription, &sink_of(sink)))
            .context("cannot start a thread")?;
        let written = if is_live {
            tui::follow(&events, &config, &output.thresholds, &stop)
        } else {
            writer.follow(&events, &config, &stop)
        };
        if written.is_err() {
            // Whoever reads us has gone: there is no point in sending on.
            stop.request();
            stop.request();
        }
        // Drained so that the engine never waits for a reader that is gone.
        events.iter().for_each(drop);
        let outcome = engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok((written, outcome))
    });
    let (written, outcome) = outcome?;
    if let Err(error) = written.and_then(|()| writer.finish(&config, &outcome)) {
        // The last place where somebody may look.
        stdio::complain(human::summary(&config, &outcome, columns()).trim());
        return Err(error);
    }
    if let Some(file) = hdr_log {
        hdr::write(file, &outcome).context("cannot write the HdrHistogram log")?;
    }
    if let Some(failure) = writer.lines.failure() {
        anyhow::bail!("{failure}");
    }
    if writer.is_cut_short {
        // The reader had seen enough, and replies under way were not awaited: there is nothing to judge.
        return Ok(Exit::Success);
    }
    let (exit, reason) = thresholds::verdict(&config, &output.thresholds, &outcome);
    if let Some(reason) = reason {
        stdio::complain(to_read(&format!("teaparty: {reason}")));
    }
    Ok(exit)
}

/// Folds what is said at the end to the terminal that it is for; other readers of standard error get one line.
fn to_read(text: &str) -> String {
    if std::io::stderr().is_terminal() { fold(text, columns(), 2) } else { text.to_owned() }
}

/// A sink that gives up when nobody listens any more.
fn sink_of(sender: SyncSender<SenderEvent>) -> impl Fn(SenderEvent) {
    move |event| {
        let _ = sender.send(event);
    }
}

fn measure(
    config: &SenderConfig,
    stop: &Stop,
    subscription: Subscription,
    sink: &dyn Fn(SenderEvent),
) -> anyhow::Result<FinishedMeasurement> {
    let _span = tracing::info_span!("measure", targets = config.targets.len()).entered();
    engine::run::run(config, &SystemClock, stop, subscription, &mut |event| sink(event))
}

/// Signals that end a measurement, held back from all threads but the one that waits for them.
fn block_signals() -> anyhow::Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("cannot block signals")?;
    Ok(signals)
}

fn stop_on_signals(signals: SigSet, stop: Arc<Stop>) -> anyhow::Result<()> {
    let wait = move || {
        while signals.wait().is_ok() {
            stop.request();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

struct Writer {
    format: ReportFormat,
    lines: LineWriter,
    /// A line for each packet, for people who watch.
    is_watched: bool,
    /// Of text for people.
    columns: usize,
    /// Start of the run, in nanoseconds since 1970.
    start_ns: u64,
    /// True if nothing else comes of the run: no other file and no check.
    has_only_lines: bool,
    /// True if the run ended when its reader did.
    is_cut_short: bool,
}

impl Writer {
    fn open(output: &Output, config: &SenderConfig) -> anyhow::Result<Self> {
        // More lines a second than anybody reads would only slow the sending down.
        let is_readable = config.plan.interval_ps / config.targets.len() as u64 >= 10_000_000_000;
        let is_watched = output.format == ReportFormat::Human && is_readable && !output.is_quiet;
        let columns = if output.path.as_os_str() == "-" { columns() } else { DEFAULT_COLUMNS };
        let mut writer = Self {
            format: output.format,
            lines: LineWriter::open(&output.path)?,
            is_watched,
            columns,
            start_ns: SystemClock.realtime_ns(),
            has_only_lines: output.hdr_log.is_none() && output.thresholds.is_empty(),
            is_cut_short: false,
        };
        if output.format == ReportFormat::Csv {
            writer.line(&stream::csv_header())?;
        }
        Ok(writer)
    }

    fn wants_records(&self) -> bool {
        self.is_watched || matches!(self.format, ReportFormat::Jsonl | ReportFormat::Csv)
    }

    /// Writes what comes until the engine is done. Has it stop when the file takes no more, or when the reader has gone
    /// and nothing else was asked for.
    fn follow(&mut self, events: &Receiver<SenderEvent>, config: &SenderConfig, stop: &Stop) -> anyhow::Result<()> {
        while let Ok(event) = events.recv() {
            self.event(event, config)?;
            // While more is waiting, one write for many lines; when nothing is, readers get what there is.
            while let Ok(event) = events.try_recv() {
                self.event(event, config)?;
            }
            self.flush()?;
            if self.lines.failure().is_some() && !stop.is_requested() {
                stop.request();
            }
            if self.lines.reader() == StdoutReader::Gone && self.has_only_lines {
                // Without waiting for replies under way: nobody would see them.
                stop.request();
                stop.request();
                self.is_cut_short = true;
                return Ok(());
            }
        }
        Ok(())
    }

    fn event(&mut self, event: SenderEvent, config: &SenderConfig) -> anyhow::Result<()> {
        let name = |target: usize| config.targets[target].name.as_str();
        match event {
            SenderEvent::Record(record) => {
                let name = name(record.target);
                let line = match self.format {
                    ReportFormat::Jsonl => stream::jsonl(&record, name, self.start_ns),
                    ReportFormat::Csv => stream::csv(&record, name, self.start_ns),
                    ReportFormat::Human | ReportFormat::Json => {
                        packet_line(&record, (config.targets.len() > 1).then_some(name), self.columns)
                    }
                };
                self.line(&line)
            }
            SenderEvent::Notice { target, text } => {
                match target {
                    Some(target) => tracing::warn!(target = name(target), "{text}"),
                    None => tracing::warn!("{text}"),
                }
                Ok(())
            }
            SenderEvent::Snapshot(_) | SenderEvent::Counters { .. } => Ok(()),
        }
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.lines.push(line)?)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.lines.flush()?)
    }

    fn finish(&mut self, config: &SenderConfig, outcome: &FinishedMeasurement) -> anyhow::Result<()> {
        match self.format {
            ReportFormat::Human => self.line(human::summary(config, outcome, self.columns).trim())?,
            ReportFormat::Json => self.line(&format!("{:#}", json::summary(config, outcome)))?,
            ReportFormat::Jsonl => {
                let summary = serde_json::json!({ "summary": json::summary(config, outcome) });
                self.line(&summary.to_string())?;
            }
            ReportFormat::Csv => {}
        }
        self.flush()
    }
}
