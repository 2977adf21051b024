//! The live view at a terminal: a line for each target, and the round trips of the selected one. `q` stops.
//!
//! `draw` lays it out for screens from 40 columns by 12 rows on; larger ones show more.

mod draw;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};

use crate::sender::config::SenderConfig;
use crate::sender::engine::event::SenderEvent;
use crate::sender::engine::stop::Stop;
use crate::sender::session::record::TargetSnapshot;
use crate::sender::thresholds::Thresholds;

/// Interval of the view's updates.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);
/// Most time for a key to wait.
const KEYS_WAIT: Duration = Duration::from_millis(50);
/// Round trips that the sparkline shows at most.
const DEPTH: usize = 240;
/// Notices that stay in sight.
const NOTICES: usize = 3;

/// The view. Independent of a terminal.
struct TuiView<'a> {
    config: &'a SenderConfig,
    /// The limits that decide what is bad.
    thresholds: &'a Thresholds,
    snapshots: Vec<TargetSnapshot>,
    /// Packets received at the snapshot before, for the rate.
    received_before: Vec<u64>,
    /// The last moments of each target.
    history: Vec<VecDeque<IntervalSample>>,
    notices: VecDeque<String>,
    selected: usize,
    is_stopping: bool,
}

/// The events of one interval of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct IntervalSample {
    /// The last round trip in nanoseconds, if a packet was answered.
    round_trip_ns: Option<u64>,
    /// True if packets were lost.
    has_loss: bool,
}

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyAction {
    Stop,
    Next,
    Previous,
}

/// Shows a measurement until the engine is done. Leaves the terminal as it was, whatever happens.
pub(crate) fn follow(
    events: &Receiver<SenderEvent>,
    config: &SenderConfig,
    thresholds: &Thresholds,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal; try --plain")?;
    let mut view = TuiView::new(config, thresholds);
    let started = Instant::now();
    let result = (|| {
        loop {
            let mut has_changed = match events.recv_timeout(KEYS_WAIT) {
                Ok(event) => {
                    view.take(event);
                    true
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            while event::poll(Duration::ZERO)? {
                has_changed = true;
                match wish(&event::read()?) {
                    Some(KeyAction::Stop) => {
                        view.is_stopping = true;
                        stop.request();
                    }
                    Some(KeyAction::Next) => view.select(1),
                    Some(KeyAction::Previous) => view.select(-1),
                    None => {}
                }
            }
            if has_changed {
                terminal.draw(|frame| view.draw(frame, started.elapsed()))?;
            }
        }
    })();
    ratatui::restore();
    result
}

fn wish(event: &event::Event) -> Option<KeyAction> {
    let event::Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(KeyAction::Stop),
        // In raw mode the terminal makes no signal of it.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Stop),
        KeyCode::Down | KeyCode::Char('j') => Some(KeyAction::Next),
        KeyCode::Up | KeyCode::Char('k') => Some(KeyAction::Previous),
        _ => None,
    }
}

impl<'a> TuiView<'a> {
    fn new(config: &'a SenderConfig, thresholds: &'a Thresholds) -> Self {
        let count = config.targets.len();
        Self {
            config,
            thresholds,
            snapshots: Vec::new(),
            received_before: vec![0; count],
            history: vec![VecDeque::new(); count],
            notices: VecDeque::new(),
            selected: 0,
            is_stopping: false,
        }
    }

    fn select(&mut self, step: isize) {
        self.selected = self.selected.saturating_add_signed(step).min(self.config.targets.len() - 1);
    }

    fn take(&mut self, event: SenderEvent) {
        match event {
            SenderEvent::Record(_) | SenderEvent::Counters { .. } => {}
            SenderEvent::Notice { target, text } => {
                let name = target.map_or("", |target| &self.config.targets[target].name);
                self.notices.push_back(format!("{name} {text}").trim().to_owned());
                while self.notices.len() > NOTICES {
                    self.notices.pop_front();
                }
            }
            SenderEvent::Snapshot(snapshots) => {
                for (place, snapshot) in snapshots.iter().enumerate() {
                    let before = self.snapshots.get(place).map(|before| before.counts).unwrap_or_default();
                    self.received_before[place] = before.received;
                    let is_answered = snapshot.counts.received > before.received;
                    let round_trip = snapshot.last_round_trip_ns.filter(|_| is_answered);
                    let moment = IntervalSample {
                        round_trip_ns: round_trip.map(|ns| ns.max(0) as u64),
                        has_loss: snapshot.counts.lost > before.lost,
                    };
                    let history = &mut self.history[place];
                    if moment != IntervalSample::default() {
                        history.push_back(moment);
                        while history.len() > DEPTH {
                            history.pop_front();
                        }
                    }
                }
                self.snapshots = snapshots.into_vec();
            }
        }
    }
}

#[cfg(test)]
mod tests;
