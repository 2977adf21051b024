//! The plots of the page, as SVG that needs no script.

use std::fmt::Write;

use serde_json::Value;

use super::track::Track;
use crate::sender::histogram::Distribution;
use crate::sender::report::nanos;

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
pub(super) struct Series<'a> {
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
    let _ =
        write!(html, "<h4>{label}</h4>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">");
}

/// The axes: `top` at the upper end of the left one, and labels at both ends of the lower one.
fn axes(html: &mut String, top: &str, left: &str, right: &str) {
    let (end, low) = (WIDTH - RIGHT, HEIGHT - 5.0);
    let _ = write!(
        html,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{FOOT}H{end}\"/><text x=\"5\" y=\"{TOP}\">{top}</text>\
         <text x=\"5\" y=\"{FOOT}\">0</text><text x=\"{LEFT}\" y=\"{low}\">{left}</text>\
         <text x=\"{end}\" y=\"{low}\" text-anchor=\"end\">{right}</text>"
    );
}

/// Round trips over time, losses as marks at the foot.
pub(super) fn over_time(html: &mut String, track: &Track) {
    let Some((start, end)) = track.span() else { return };
    let top = track.replies.kept.iter().map(|(_, round_trip)| *round_trip).max().unwrap_or(0).max(1) as f64;
    let x = |at: u64| x_of((at - start) as f64 / (end - start).max(1) as f64);
    begin(html, "Round trip over time", HEIGHT);
    axes(html, &nanos(top as i64), "0", &nanos((end - start) as i64));
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
    html.push_str("</svg>\n");
    let (replies, losses) = (&track.replies, &track.losses);
    for (what, kept, seen) in
        [("replies", replies.kept.len() as u64, replies.seen), ("losses", losses.kept.len() as u64, losses.seen)]
    {
        if kept < seen {
            let _ = writeln!(html, "<p class=\"note\">{kept} of {seen} {what} are drawn.</p>");
        }
    }
}

/// How often round trips of each length occurred, up to the 99th percentile.
pub(super) fn histogram(html: &mut String, round_trip: &Distribution) {
    let bars = round_trip.histogram(BARS);
    let (Some((first, _)), Some((last, _))) = (bars.first(), bars.last()) else { return };
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    begin(html, "Distribution of the round trip, up to the 99th percentile", HEIGHT);
    axes(html, &most.to_string(), &nanos(*first), &nanos(*last));
    let width = x_of(1.0 / BARS as f64) - x_of(0.0);
    for (i, (middle, count)) in bars.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
        let (left, head) = (x_of(i as f64 / BARS as f64), y_of(*count as f64 / most as f64));
        let _ = write!(
            html,
            "<rect class=\"one\" x=\"{left:.1}\" y=\"{head:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}: {count}</title></rect>",
            width - 1.0,
            FOOT - head,
            nanos(*middle)
        );
    }
    html.push_str("</svg>\n");
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
pub(super) fn quantiles(html: &mut String, all: &[(Series<'_>, &Value)]) {
    let values =
        |figures: &Value| -> Option<Vec<f64>> { QUANTILES.iter().map(|(key, _)| figures[*key].as_f64()).collect() };
    let lines: Vec<_> = all.iter().filter_map(|(series, figures)| Some((series, values(figures)?))).collect();
    if lines.is_empty() {
        return;
    }
    let top = lines.iter().flat_map(|(_, values)| values).copied().fold(1.0, f64::max);
    let x = |i: usize| x_of(i as f64 / (QUANTILES.len() - 1) as f64);
    begin(html, "Quantiles of the round trip", HEIGHT);
    axes(html, &nanos(top as i64), "", "");
    for (i, (_, label)) in QUANTILES.iter().enumerate() {
        let _ = write!(html, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", x(i), HEIGHT - 5.0);
    }
    for (n, (Series { class, label }, values)) in lines.iter().enumerate() {
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
        if lines.len() > 1 {
            let y = TOP + 16.0 * n as f64;
            let _ = write!(
                html,
                "<circle class=\"{class}\" cx=\"{}\" cy=\"{y}\" r=\"4\"/><text x=\"{}\" y=\"{}\">{label}</text>",
                LEFT + 20.0,
                LEFT + 30.0,
                y + 4.0
            );
        }
    }
    html.push_str("</svg>\n");
}

/// Where packets went: received, lost on either way, or nobody knows where, as one bar.
pub(super) fn fates(html: &mut String, target: &Value) {
    let Some(sent) = target["sent"].as_f64().filter(|sent| *sent > 0.0) else { return };
    let count = |key: &str| target[key].as_f64().unwrap_or(0.0);
    let (far, near) = (count("lost_far_end"), count("lost_near_end"));
    let unknown = (count("lost") - far - near).max(0.0);
    let parts = [
        ("received", "received", count("received")),
        ("far", "lost there", far),
        ("near", "lost back", near),
        ("unknown", "lost, direction unknown", unknown),
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
    html.push_str("</svg>\n");
}
