//! The plots of the page, as SVG that needs no script.

use std::fmt::Write;

use serde_json::Value;

use super::series::PacketSeries;
use super::utc;
use crate::layout::nanos;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
/// Room for the labels of the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 20.0;
const FOOT: f64 = HEIGHT - BOTTOM;
/// Bars of a histogram.
const BARS: usize = 80;

/// A measurement's part in a plot: the colour, as a class of the style sheet, and what to call it.
#[derive(Clone, Copy)]
pub(super) struct PlotSeries<'a> {
    pub(super) class: &'a str,
    pub(super) label: &'a str,
}

fn x_of(fraction: f64) -> f64 {
    LEFT + fraction.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn y_of(fraction: f64) -> f64 {
    FOOT - fraction.clamp(0.0, 1.0) * (FOOT - TOP)
}

fn begin(html: &mut String, label: &str, height: f64) {
    let _ = write!(
        html,
        "<h4>{label}</h4>\n<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"
    );
}

fn end(html: &mut String) {
    html.push_str("</svg></div>\n");
}

/// Values within a range that are easy to read: multiples of 1, 2 or 5 times a power of ten, some five of them.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let rough = (to - from) / 5.0;
    if rough <= 0.0 || !rough.is_finite() {
        return vec![from];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|unit| unit * power).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let first = (from / step).ceil() as i64;
    let last = (to / step * (1.0 + 1e-12)).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

/// The left axis from 0 to `top`, with ticks and lines across the plot.
fn left_axis(html: &mut String, top: f64, write: impl Fn(f64) -> String) {
    let end = WIDTH - RIGHT;
    for value in ticks(0.0, top) {
        let y = y_of(value / top);
        let _ = write!(
            html,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            write(value)
        );
    }
    let _ = write!(html, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{FOOT}H{end}\"/>");
}

/// The lower axis with ticks.
fn lower_axis(html: &mut String, from: f64, to: f64, write: impl Fn(f64) -> String) {
    for value in ticks(from, to) {
        let x = x_of((value - from) / (to - from));
        let _ = write!(
            html,
            "<path class=\"axis\" d=\"M{x:.1} {FOOT}v4\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 4.0,
            write(value)
        );
    }
}

/// A time on an axis: without the digits that its ticks do not have.
fn time(ns: f64) -> String {
    let text = nanos(ns.round() as i64);
    let Some((number, unit)) = text.split_once(' ') else { return text };
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// Says which colour is whose, where there are several.
///
/// It stands where the plot is mostly empty: quantiles rise to the right, distributions have their tail there.
fn legend(html: &mut String, all: &[PlotSeries<'_>], is_left: bool) {
    for (n, PlotSeries { class, label }) in all.iter().enumerate().filter(|_| all.len() > 1) {
        let y = TOP + 16.0 * n as f64;
        let x = if is_left { LEFT + 20.0 } else { WIDTH - RIGHT - 12.0 };
        let (label_x, anchor) = if is_left { (x + 10.0, "start") } else { (x - 10.0, "end") };
        let _ = write!(
            html,
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/><text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{label}</text>",
            label_x,
            y + 4.0
        );
    }
}

/// Round trips over time, losses as marks at the foot.
pub(super) fn over_time(html: &mut String, track: &PacketSeries) {
    let Some((start, end)) = track.span() else { return };
    let top = track.replies.kept.iter().map(|(_, round_trip)| *round_trip).max().unwrap_or(0).max(1) as f64;
    let x = |at: u64| x_of((at - start) as f64 / (end - start).max(1) as f64);
    begin(html, &format!("Round trip over time, from {}", utc(start)), HEIGHT);
    left_axis(html, top, time);
    lower_axis(html, 0.0, (end - start).max(1) as f64, time);
    for (at, round_trip) in &track.replies.kept {
        let _ = write!(
            html,
            "<circle class=\"one\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>",
            x(*at),
            y_of(*round_trip as f64 / top)
        );
    }
    for at in &track.losses.kept {
        let at = x(*at);
        let head = FOOT - 12.0;
        let _ = write!(html, "<line class=\"lost\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{FOOT}\" y2=\"{head}\"/>");
    }
    self::end(html);
    let (replies, losses) = (&track.replies, &track.losses);
    for (what, kept, seen) in
        [("replies", replies.kept.len() as u64, replies.seen), ("losses", losses.kept.len() as u64, losses.seen)]
    {
        if kept < seen {
            let _ = writeln!(html, "<p class=\"note\">{kept} of {seen} {what} are drawn.</p>");
        }
    }
}

/// Draws the distribution of round trips, up to the 99th percentile: of one measurement, or of several on the same
/// axes. Each is a list of lengths and how many there were.
pub(super) fn histogram(html: &mut String, all: &[(PlotSeries<'_>, &Vec<(i64, u64)>)]) {
    let all: Vec<_> = all.iter().filter(|(_, counts)| !counts.is_empty()).collect();
    let edge = |counts: &[(i64, u64)]| {
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        let at = counts.iter().position(|(_, count)| {
            seen += count;
            seen as f64 >= total as f64 * 0.99
        });
        at.map(|at| counts[at].0)
    };
    let (Some(from), Some(to)) =
        (all.iter().map(|(_, counts)| counts[0].0).min(), all.iter().filter_map(|(_, counts)| edge(counts)).max())
    else {
        return;
    };
    let (from, to) = (from as f64, (to as f64).max(from as f64 + 1.0));
    // What was saved in ranges would leave gaps in narrower ones.
    let ranges = if all.len() > 1 { BARS / 2 } else { BARS };
    let shares: Vec<Vec<f64>> = all.iter().map(|(_, counts)| binned(counts, from, to, ranges)).collect();
    let most = shares.iter().flatten().copied().fold(0.0, f64::max).max(1e-9);
    begin(html, "Distribution of the round trip, up to the 99th percentile", HEIGHT);
    left_axis(html, most, |share| format!("{} %", (share * 1e6).round() / 1e4));
    lower_axis(html, from, to, time);
    let width = x_of(1.0 / ranges as f64) - x_of(0.0);
    for ((PlotSeries { class, .. }, _), shares) in all.iter().zip(&shares) {
        for (i, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let (left, head) = (x_of(i as f64 / ranges as f64), y_of(share / most));
            let middle = from + (i as f64 + 0.5) / ranges as f64 * (to - from);
            let _ = write!(
                html,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{head:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{}: {:.3} %</title></rect>",
                width - 1.0,
                FOOT - head,
                nanos(middle as i64),
                share * 100.0
            );
        }
    }
    legend(html, &all.iter().map(|(series, _)| *series).collect::<Vec<_>>(), false);
    end(html);
}

/// The share of all packets in each of this many equal ranges.
fn binned(counts: &[(i64, u64)], from: f64, to: f64, ranges: usize) -> Vec<f64> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut shares = vec![0.0; ranges];
    for (value, count) in counts.iter().filter(|(value, _)| (from..=to).contains(&(*value as f64))) {
        let at = (*value as f64 - from) / (to - from) * ranges as f64;
        shares[(at as usize).min(ranges - 1)] += *count as f64 / total.max(1) as f64;
    }
    shares
}

/// The quantiles that are plotted: their keys in a summary, and as they are labelled.
const QUANTILES: [(&str, &str); 7] = [
    ("min", "min"),
    ("p50", "50"),
    ("p90", "90"),
    ("p99", "99"),
    ("p99_9", "99.9"),
    ("p99_99", "99.99"),
    ("max", "max"),
];

/// Quantiles of the round trip, each nine of the percentile as far from the last, for one measurement or several.
pub(super) fn quantiles(html: &mut String, all: &[(PlotSeries<'_>, &Value)]) {
    let values =
        |figures: &Value| -> Option<Vec<f64>> { QUANTILES.iter().map(|(key, _)| figures[*key].as_f64()).collect() };
    let lines: Vec<_> = all.iter().filter_map(|(series, figures)| Some((series, values(figures)?))).collect();
    if lines.is_empty() {
        return;
    }
    let top = lines.iter().flat_map(|(_, values)| values).copied().fold(1.0, f64::max);
    let x = |i: usize| x_of(i as f64 / (QUANTILES.len() - 1) as f64);
    begin(html, "Quantiles of the round trip", HEIGHT);
    left_axis(html, top, time);
    for (i, (_, label)) in QUANTILES.iter().enumerate() {
        let _ = write!(html, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", x(i), HEIGHT - 5.0);
    }
    for (PlotSeries { class, label }, values) in &lines {
        let at = |i: usize, value: f64| (x(i), y_of(value / top));
        let points: Vec<String> =
            values.iter().enumerate().map(|(i, value)| at(i, *value)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(html, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        for (i, value) in values.iter().enumerate() {
            let ((x, y), length) = (at(i, *value), nanos(*value as i64));
            let _ = write!(
                html,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{label} {}: {length}</title></circle>",
                QUANTILES[i].1
            );
        }
    }
    legend(html, &lines.iter().map(|(series, _)| **series).collect::<Vec<_>>(), true);
    end(html);
}

/// Draws the fates of packets as one bar: received, lost in either direction, or unattributed.
pub(super) fn fates(html: &mut String, target: &Value) {
    let Some(sent) = target["sent"].as_f64().filter(|sent| *sent > 0.0) else { return };
    let count = |key: &str| target[key].as_f64().unwrap_or(0.0);
    let (far, near) = (count("lost_far_end"), count("lost_near_end"));
    let unknown = (count("lost") - far - near).max(0.0);
    let parts = [
        ("received", "received", count("received")),
        ("far", "lost at the far end", far),
        ("near", "lost at the near end", near),
        ("unknown", "lost, unattributed", unknown),
    ];
    const BAR: f64 = 24.0;
    begin(html, "Where packets went", 2.0 * BAR);
    let (mut left, mut at) = (0.0, LEFT);
    for (class, label, packets) in parts.into_iter().filter(|(.., packets)| *packets > 0.0) {
        let right = left + packets / sent;
        // A loss is seen even where it is one in a million.
        let width = (x_of(right) - x_of(left)).max(2.0);
        let text = format!("{label} {packets:.0} ({:.3} %)", packets / sent * 100.0);
        let _ = write!(
            html,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"2\" width=\"{width:.1}\" height=\"{BAR}\"><title>{text}</title></rect>\
             <text class=\"{class}\" x=\"{at:.0}\" y=\"{}\">{text}</text>",
            x_of(left),
            2.0 * BAR - 6.0
        );
        left = right;
        at += 8.0 * text.len() as f64;
    }
    self::end(html);
}
