//! The live view at a terminal: a line for each target, and the round trips of the selected one. `q` stops.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context;
use ratatui::Frame;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Paragraph, Row, Sparkline, Table, TableState};

use super::config::Config;
use super::event::{Event, Snapshot, Stop};
use super::report::nanos;

/// How often the view is drawn anew.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// How long a key waits at most until it is looked at.
const KEYS_WAIT: Duration = Duration::from_millis(50);
/// Round trips that the sparkline shows at most.
const DEPTH: usize = 240;
/// Notices that stay in sight.
const NOTICES: usize = 3;

/// What is shown. Knows no terminal.
struct View<'a> {
    config: &'a Config,
    snapshots: Vec<Snapshot>,
    /// Packets received at the snapshot before, for the rate.
    received_before: Vec<u64>,
    /// The last round trips of each target.
    history: Vec<VecDeque<u64>>,
    notices: VecDeque<String>,
    selected: usize,
    is_stopping: bool,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    Next,
    Previous,
}

/// Shows a measurement until the engine is done. Leaves the terminal as it was, whatever happens.
pub fn follow(events: &Receiver<Event>, config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal; try --plain")?;
    let mut view = View::new(config);
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
                    Some(Wish::Stop) => {
                        view.is_stopping = true;
                        stop.request();
                    }
                    Some(Wish::Next) => view.select(1),
                    Some(Wish::Previous) => view.select(-1),
                    None => {}
                }
            }
            if has_changed {
                terminal.draw(|frame| view.draw(frame))?;
            }
        }
    })();
    ratatui::restore();
    result
}

fn wish(event: &event::Event) -> Option<Wish> {
    let event::Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Stop),
        // In raw mode the terminal makes no signal of it.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Stop),
        KeyCode::Down | KeyCode::Char('j') => Some(Wish::Next),
        KeyCode::Up | KeyCode::Char('k') => Some(Wish::Previous),
        _ => None,
    }
}

impl<'a> View<'a> {
    fn new(config: &'a Config) -> Self {
        let count = config.targets.len();
        Self {
            config,
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

    fn take(&mut self, event: Event) {
        match event {
            Event::Record(_) | Event::Tally { .. } => {}
            Event::Notice { target, text } => {
                let name = target.map_or("", |target| &self.config.targets[target].name);
                self.notices.push_back(format!("{name} {text}").trim().to_owned());
                while self.notices.len() > NOTICES {
                    self.notices.pop_front();
                }
            }
            Event::Snapshot(snapshots) => {
                for (place, snapshot) in self.snapshots.iter().enumerate() {
                    self.received_before[place] = snapshot.counts.received;
                }
                for (history, snapshot) in self.history.iter_mut().zip(&snapshots) {
                    if let Some(last) = snapshot.last_round_trip_ns {
                        history.push_back(last.max(0) as u64);
                        while history.len() > DEPTH {
                            history.pop_front();
                        }
                    }
                }
                self.snapshots = snapshots.into_vec();
            }
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = self.snapshots.len() as u16 + 3;
        let [table, history, histogram, foot] = Layout::vertical([
            Constraint::Max(rows.max(4)),
            Constraint::Length(6),
            Constraint::Min(4),
            Constraint::Length(NOTICES as u16 + 1),
        ])
        .areas(frame.area());
        // So that the selected target is in sight, however many there are.
        let mut scroll = TableState::default().with_selected(self.selected);
        frame.render_stateful_widget(self.table(), table, &mut scroll);
        if let Some(snapshot) = self.snapshots.get(self.selected) {
            let name = &self.config.targets[self.selected].name;
            let values: Vec<u64> = self.history[self.selected].iter().copied().collect();
            let shown = values[values.len().saturating_sub(usize::from(history.width.saturating_sub(2)))..].to_vec();
            let top = shown.iter().max().map_or_else(String::new, |top| format!(", top {}", nanos(*top as i64)));
            let title = Line::from(format!(" round trip of {name}{top} "));
            frame.render_widget(Sparkline::default().data(shown).block(Block::bordered().title(title)), history);
            frame.render_widget(bars(snapshot, histogram.width), histogram);
        }
        let mut lines: Vec<Line<'_>> = self.notices.iter().map(|notice| Line::from(notice.as_str())).collect();
        let keys = if self.is_stopping {
            "waiting for the last replies; q once more stops"
        } else {
            "q stops, ↑ ↓ select"
        };
        lines.push(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)));
        frame.render_widget(Paragraph::new(lines), foot);
    }

    fn table(&self) -> Table<'_> {
        let header = ["target", "sent", "lost", "there", "back", "replies/s", "p50", "p99", "max"];
        let rows = self.snapshots.iter().enumerate().map(|(place, snapshot)| {
            let counts = snapshot.counts;
            let known = |value: Option<u64>| value.map_or("?".into(), |value| value.to_string());
            let rate = (counts.received - self.received_before[place]) as f64 / INTERVAL.as_secs_f64();
            let delay = |field: fn(&super::histogram::Figures) -> i64| {
                snapshot.round_trip.as_ref().map_or("-".into(), |figures| nanos(field(figures)))
            };
            let style =
                if place == self.selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            Row::new([
                self.config.targets[place].name.clone(),
                counts.sent.to_string(),
                counts.lost.to_string(),
                known(snapshot.split.far_end),
                known(snapshot.split.near_end),
                format!("{rate:.0}"),
                delay(|figures| figures.p50),
                delay(|figures| figures.p99),
                delay(|figures| figures.max),
            ])
            .style(style)
        });
        let widths = [Constraint::Min(16)].into_iter().chain([Constraint::Length(10); 8]);
        Table::new(rows, widths)
            .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
            .block(Block::bordered().title(" teaparty "))
    }
}

/// The distribution of round trips so far, in as many bars as fit.
fn bars(snapshot: &Snapshot, width: u16) -> BarChart<'_> {
    let bars = snapshot
        .histogram
        .iter()
        .map(|(value, count)| Bar::default().value(*count).label(Line::from(nanos(*value))).text_value(String::new()));
    let bars: Vec<Bar<'_>> = bars.collect();
    let bar_width = (width.saturating_sub(2) / (bars.len() as u16).max(1)).saturating_sub(1).max(1);
    BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(bar_width)
        .bar_gap(1)
        .block(Block::bordered().title(" distribution "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::exchange::{Counts, Split};
    use super::super::histogram::Distribution;
    use super::super::target::Target;
    use super::*;

    fn snapshot(received: u64) -> Snapshot {
        let mut round_trip = Distribution::default();
        (0..received).for_each(|n| round_trip.record(1_000_000 + n as i64 * 1_000));
        Snapshot {
            counts: Counts { sent: 30, received, lost: 3, ..Counts::default() },
            split: Split { is_stateful: true, far_end: Some(2), near_end: None, unattributed: 1 },
            round_trip: round_trip.figures(),
            last_round_trip_ns: Some(1_020_000),
            histogram: round_trip.histogram(12),
        }
    }

    fn screen(view: &View<'_>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(110).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn config() -> Config {
        let target = |name: &str| Target { name: name.into(), address: "127.0.0.1:862".parse().unwrap() };
        Config::new(vec![target("alpha"), target("beta")])
    }

    #[test]
    fn each_target_has_a_line_and_the_selected_one_its_curves() {
        let config = config();
        let mut view = View::new(&config);
        view.take(Event::Snapshot(vec![snapshot(10), snapshot(20)].into()));
        view.take(Event::Snapshot(vec![snapshot(20), snapshot(27)].into()));
        view.take(Event::Notice { target: Some(1), text: "has started anew".into() });
        view.select(1);
        let screen = screen(&view);
        for part in
            ["alpha", "beta", "round trip of beta", "top 1.020 ms", "beta has started anew", "q stops", "1.026 ms"]
        {
            assert!(screen.contains(part), "{part} is missing in\n{screen}");
        }
        // Ten replies in a quarter of a second; near-end loss is not known.
        let alpha = screen.lines().find(|line| line.contains("alpha")).unwrap();
        assert!(alpha.contains(" 40 ") && alpha.contains(" ? "), "{alpha}");
    }

    #[test]
    fn selection_stays_within_the_targets_and_an_empty_view_draws() {
        let config = config();
        let mut view = View::new(&config);
        (0..5).for_each(|_| view.select(1));
        assert_eq!(view.selected, 1);
        (0..5).for_each(|_| view.select(-1));
        assert_eq!(view.selected, 0);
        screen(&view);
    }

    #[test]
    fn the_selected_one_of_many_targets_is_in_sight() {
        let target = |n| Target { name: format!("host-{n:03}"), address: "127.0.0.1:862".parse().unwrap() };
        let config = Config::new((0..200).map(target).collect());
        let mut view = View::new(&config);
        view.take(Event::Snapshot(vec![snapshot(10); 200].into()));
        assert!(screen(&view).contains("host-000 ") && !screen(&view).contains("host-150 "));
        view.select(150);
        let screen = screen(&view);
        assert!(screen.contains("host-150 ") && screen.contains("round trip of host-150"), "{screen}");
    }

    #[test]
    fn keys_mean_what_the_last_line_says() {
        let key = |code| event::Event::Key(event::KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(wish(&key(KeyCode::Char('q'))), Some(Wish::Stop));
        assert_eq!(wish(&key(KeyCode::Down)), Some(Wish::Next));
        assert_eq!(wish(&key(KeyCode::Char('c'))), None);
        let interrupt = event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(wish(&event::Event::Key(interrupt)), Some(Wish::Stop));
    }
}
