//! What the live view looks like, for a screen of any size.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Bar, BarChart, BarGroup, Block, Cell, Paragraph, Row, Sparkline, SparklineBar, Table, TableState,
};

use super::{INTERVAL, IntervalSample, TuiView};
use crate::layout::nanos;
use crate::layout::{clip, count};
use crate::sender::session::histogram::DistributionFigures;
use crate::sender::session::record::TargetSnapshot;
use crate::sla::Grade;

/// Columns of the name of a target at least.
const NAME: usize = 13;
/// Rows that the distribution takes at least, and the round trips over time: frame, curve and axis.
const DISTRIBUTION_ROWS: u16 = 6;

/// A column of the table beside the name: its title and width, and what it says of a target.
struct TuiColumn {
    title: &'static str,
    width: usize,
    /// Place among the columns by importance, from 0.
    rank: u8,
    cell: fn(&TuiView<'_>, usize, &TargetSnapshot) -> (String, Grade),
}

/// The columns from left to right.
const COLUMNS: [TuiColumn; 9] = [
    TuiColumn { title: "sent", width: 7, rank: 2, cell: |_, _, s| plain(s.counts.sent.to_string()) },
    TuiColumn { title: "loss", width: 9, rank: 0, cell: |view, _, s| loss(view, s) },
    TuiColumn { title: "far end", width: 8, rank: 4, cell: |_, _, s| plain(known(s.split.far_end)) },
    TuiColumn { title: "near end", width: 8, rank: 5, cell: |_, _, s| plain(known(s.split.near_end)) },
    TuiColumn { title: "replies/s", width: 9, rank: 7, cell: |view, place, s| plain(rate(view, place, s)) },
    TuiColumn { title: "p50", width: 9, rank: 3, cell: |_, _, s| plain(delay(s, |figures| figures.p50)) },
    TuiColumn { title: "p90", width: 9, rank: 8, cell: |_, _, s| plain(delay(s, |figures| figures.p90)) },
    TuiColumn { title: "p99", width: 9, rank: 1, cell: |view, _, s| round_trip(view, s) },
    TuiColumn { title: "max", width: 9, rank: 6, cell: |_, _, s| plain(delay(s, |figures| figures.max)) },
];

fn plain(text: String) -> (String, Grade) {
    (text, Grade::Unknown)
}

fn loss(view: &TuiView<'_>, snapshot: &TargetSnapshot) -> (String, Grade) {
    let decided = snapshot.counts.received + snapshot.counts.lost;
    if decided == 0 {
        return plain("-".into());
    }
    let loss = snapshot.counts.lost as f64 / decided as f64;
    (format!("{:.2} %", loss * 100.0), view.thresholds.grade_loss(loss))
}

fn round_trip(view: &TuiView<'_>, snapshot: &TargetSnapshot) -> (String, Grade) {
    let grade =
        snapshot.round_trip.as_ref().map_or(Grade::Unknown, |figures| view.thresholds.grade_round_trip(figures));
    (delay(snapshot, |figures| figures.p99), grade)
}

fn known(value: Option<u64>) -> String {
    value.map_or("?".into(), |value| value.to_string())
}

fn rate(view: &TuiView<'_>, place: usize, snapshot: &TargetSnapshot) -> String {
    let replies = snapshot.counts.received.saturating_sub(view.received_before[place]);
    format!("{:.0}", replies as f64 / INTERVAL.as_secs_f64())
}

fn delay(snapshot: &TargetSnapshot, figure: fn(&DistributionFigures) -> i64) -> String {
    snapshot.round_trip.as_ref().map_or("-".into(), |figures| nanos(figure(figures)))
}

const fn color(grade: Grade) -> Option<Color> {
    match grade {
        Grade::Unknown => None,
        Grade::Good => Some(Color::Green),
        Grade::Acceptable => Some(Color::Yellow),
        Grade::Bad => Some(Color::Red),
    }
}

/// The columns that a table of this width has room for, and the width of the name.
fn fitting(width: usize) -> (Vec<&'static TuiColumn>, usize) {
    let mut room = width.saturating_sub(NAME);
    let mut ranks = 0;
    let mut by_rank: Vec<&TuiColumn> = COLUMNS.iter().collect();
    by_rank.sort_by_key(|column| column.rank);
    for column in by_rank {
        let Some(rest) = room.checked_sub(column.width + 1) else { break };
        (room, ranks) = (rest, ranks + 1);
    }
    (COLUMNS.iter().filter(|column| column.rank < ranks).collect(), NAME + room)
}

/// Rows of the parts from top to bottom: table, round trips over time, distribution, foot. What has no room has none.
fn rows(height: u16, targets: u16, notices: u16) -> [u16; 4] {
    let foot = (notices + 1).min(height);
    let mut rest = height - foot;
    let history = if rest >= 4 + 5 { 6.min(rest - 4) } else { 0 };
    rest -= history;
    // Frame and titles.
    let rows = targets.saturating_add(3).max(4);
    let distribution = if rest >= 4 + DISTRIBUTION_ROWS { DISTRIBUTION_ROWS.max(rest.saturating_sub(rows)) } else { 0 };
    [rest - distribution, history, distribution, foot]
}

impl TuiView<'_> {
    /// Draws all of it; `elapsed` is since the start.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, elapsed: Duration) {
        let area = frame.area();
        let lengths = rows(area.height, self.snapshots.len() as u16, self.notices.len() as u16);
        let areas: [Rect; 4] = Layout::vertical(lengths.map(Constraint::Length)).areas(area);
        let [table, history, distribution, foot] = areas;
        // So that the selected target is in sight, however many there are.
        let mut scroll = TableState::default().with_selected(self.selected);
        frame.render_stateful_widget(self.table(table.width.saturating_sub(2).into(), elapsed), table, &mut scroll);
        if let Some(snapshot) = self.snapshots.get(self.selected) {
            if history.height > 0 {
                self.draw_history(frame, history);
            }
            if distribution.height > 0 {
                draw_distribution(frame, distribution, snapshot);
            }
        }
        let width = usize::from(foot.width);
        let mut lines: Vec<Line<'_>> = self.notices.iter().map(|notice| Line::from(clip(notice, width))).collect();
        let keys = match (self.is_stopping, self.config.targets.len()) {
            (true, _) => "waiting for the last replies; q once more stops",
            (false, 1) => "q stops",
            (false, _) => "q stops, ↑ ↓ select",
        };
        lines.push(Line::from(clip(keys, width)).style(Style::new().add_modifier(Modifier::DIM)));
        frame.render_widget(Paragraph::new(lines), foot);
    }

    fn table(&self, width: usize, elapsed: Duration) -> Table<'_> {
        let (columns, name) = fitting(width);
        let number = |text: String| Cell::from(Line::from(text).right_aligned());
        let rows = self.snapshots.iter().enumerate().map(|(place, snapshot)| {
            let cells = columns.iter().map(|column| {
                let (text, grade) = (column.cell)(self, place, snapshot);
                let style = color(grade).map_or_else(Style::new, |color| Style::new().fg(color));
                number(text).style(style)
            });
            let is_selected = place == self.selected;
            let style = if is_selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            let target = Cell::from(clip(&self.config.targets[place].name, name));
            Row::new([target].into_iter().chain(cells)).style(style)
        });
        let titles = columns.iter().map(|column| number(column.title.into()));
        let header = Row::new([Cell::from("target")].into_iter().chain(titles));
        let widths = [name].into_iter().chain(columns.iter().map(|column| column.width));
        let targets = count(self.config.targets.len() as u64, "target");
        Table::new(rows, widths.map(|width| Constraint::Length(width as u16)))
            .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
            .block(Block::bordered().title(format!(" teaparty: {targets}, {} ", clock(elapsed))))
    }

    /// Round trips over time, and below them a mark where packets were lost.
    fn draw_history(&self, frame: &mut Frame<'_>, area: Rect) {
        let moments = &self.history[self.selected];
        let shown = moments.len().min(area.width.saturating_sub(2).into());
        let shown: Vec<IntervalSample> = moments.iter().skip(moments.len() - shown).copied().collect();
        let top = shown.iter().filter_map(|moment| moment.round_trip_ns).max();
        let name = &self.config.targets[self.selected].name;
        let title = format!("round trip of {name}, top {}", top.map_or("-".into(), |top| nanos(top as i64)));
        let has_loss = shown.iter().any(|moment| moment.has_loss);
        let block = frame_of(&title, if has_loss { "× loss" } else { "" }, area.width);
        let [curve, marks] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(block.inner(area));
        frame.render_widget(block, area);
        let bad = Style::new().fg(Color::Red);
        let bars = shown.iter().map(|moment| {
            // A round trip of nothing has a bar all the same.
            let bar = SparklineBar::from(moment.round_trip_ns.map(|ns| ns.max(1)));
            bar.style(moment.has_loss.then_some(bad))
        });
        frame.render_widget(Sparkline::default().data(bars.collect::<Vec<_>>()).absent_value_symbol(" "), curve);
        let lost: String = shown.iter().map(|moment| if moment.has_loss { '×' } else { ' ' }).collect();
        frame.render_widget(Paragraph::new(Span::styled(lost, bad)), marks);
    }
}

/// A frame with a title, and a note on its right where there is room for both.
fn frame_of(title: &str, note: &str, width: u16) -> Block<'static> {
    let room = usize::from(width.saturating_sub(4));
    let has_note = !note.is_empty() && title.chars().count() + note.chars().count() + 3 <= room;
    let block = Block::bordered().title(format!(" {} ", clip(title, room)));
    if has_note { block.title(Line::from(format!(" {note} ")).right_aligned()) } else { block }
}

/// The distribution of round trips so far in bars, with its range below them.
fn draw_distribution(frame: &mut Frame<'_>, area: Rect, snapshot: &TargetSnapshot) {
    let replies: u64 = snapshot.histogram.iter().map(|(_, count)| count).sum();
    let block = frame_of(&format!("distribution of {}", count(replies, "round trip")), "", area.width);
    let [chart, axis] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(block.inner(area));
    frame.render_widget(block, area);
    let bar = |(_, count): &(i64, u64)| Bar::default().value(*count).text_value(String::new());
    let bars: Vec<Bar<'_>> = snapshot.histogram.iter().map(bar).collect();
    let Some(number) = u16::try_from(bars.len()).ok().filter(|number| *number > 0) else { return };
    let pitch = (chart.width / number).max(2);
    let group = BarGroup::default().bars(&bars);
    frame.render_widget(BarChart::default().data(group).bar_width(pitch - 1).bar_gap(1), chart);
    frame.render_widget(Paragraph::new(ticks(&snapshot.histogram, pitch.into(), axis.width.into())), axis);
}

/// Values below as many bars as there is room for, each where its bar begins.
fn ticks(histogram: &[(i64, u64)], pitch: usize, width: usize) -> String {
    let mut axis = String::new();
    for (at, (value, _)) in histogram.iter().enumerate() {
        let used = axis.chars().count();
        let label = nanos(*value);
        let start = at * pitch;
        if (used == 0 || used < start) && start + label.chars().count() <= width {
            axis += &" ".repeat(start - used);
            axis += &label;
        }
    }
    axis
}

/// A time as on a clock: `1:05`, `2:00:00`.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
