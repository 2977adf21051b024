//! Saved measurements as one HTML page that needs nothing else: no script, no font, no network.

use std::fmt::Write;

use serde_json::Value;

use super::{Point, QUANTITIES, Saved, title};
use crate::sender::report::nanos;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
    table{border-collapse:collapse}td,th{padding:.15rem .9rem .15rem 0;text-align:right}\
    th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;background:#fafafa;border:1px solid #ddd}\
    .lost{stroke:#c22}.note{color:#666}circle{fill:#26a;fill-opacity:.5}polyline{fill:none;stroke:#26a;stroke-width:2}\
    text{font:11px system-ui,sans-serif;fill:#555}";
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
/// Room for the labels of the axes.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 20.0;
/// More packets than this are thinned out in a plot; the figures beside it are of all of them.
const MOST_POINTS: usize = 5_000;

/// The page.
pub fn page(all: &[Saved]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>teaparty report</title>\
         <style>{STYLE}</style></head><body>\n<h1>teaparty report</h1>\n"
    );
    for saved in all {
        let _ = writeln!(html, "<h2>{}</h2>", escape(&saved.name));
        let summary = &saved.summary;
        let _ = writeln!(
            html,
            "<p class=\"note\">teaparty {} on {} (Linux {}), {} long, our clock {}</p>",
            escape(summary["version"].as_str().unwrap_or("?")),
            escape(summary["host"]["name"].as_str().unwrap_or("?")),
            escape(summary["host"]["kernel"].as_str().unwrap_or("?")),
            nanos(summary["duration_ns"].as_i64().unwrap_or(0)),
            if summary["clock"]["synchronized"] == true { "synchronised" } else { "not synchronised" }
        );
        for target in saved.targets() {
            section(&mut html, saved, target);
        }
        let configuration = serde_json::to_string_pretty(&summary["configuration"]).unwrap_or_default();
        let _ =
            writeln!(html, "<details><summary>configuration</summary><pre>{}</pre></details>", escape(&configuration));
    }
    html += "</body></html>\n";
    html
}

fn section(html: &mut String, saved: &Saved, target: &Value) {
    let _ = writeln!(html, "<h3>{}</h3>\n<table>", escape(&title(target)));
    for (label, pointer, unit) in QUANTITIES {
        let value = unit.write(target.pointer(pointer).and_then(Value::as_f64));
        let _ = writeln!(html, "<tr><td>{label}</td><td>{value}</td></tr>");
    }
    html.push_str("</table>\n");
    if target["one_way"]["reliable"] != true {
        html.push_str("<p class=\"note\">One-way delays are unreliable: not both clocks claim synchronisation.</p>\n");
    }
    quantiles(html, &target["round_trip_ns"]);
    let name = target["target"].as_str().unwrap_or_default();
    let points: Vec<&Point> = saved.points.iter().filter(|point| point.target == name).collect();
    if !points.is_empty() {
        over_time(html, &points);
    }
}

/// Round trips over time, losses as marks at the foot.
fn over_time(html: &mut String, points: &[&Point]) {
    let step = points.len().div_ceil(MOST_POINTS);
    let start = points.iter().map(|point| point.epoch_ns).min().unwrap_or(0);
    let end = points.iter().map(|point| point.epoch_ns).max().unwrap_or(0);
    let top = points.iter().filter_map(|point| point.round_trip_ns).max().unwrap_or(0).max(1) as f64;
    let x = |epoch_ns: u64| LEFT + (epoch_ns - start) as f64 / (end - start).max(1) as f64 * (WIDTH - LEFT - 10.0);
    let y = |value: f64| (HEIGHT - BOTTOM) - value.max(0.0) / top * (HEIGHT - BOTTOM - 10.0);
    begin_plot(html, "Round trip over time", top);
    for point in points.iter().step_by(step).filter(|point| point.round_trip_ns.is_some()) {
        let value = point.round_trip_ns.unwrap_or(0) as f64;
        let _ = write!(html, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", x(point.epoch_ns), y(value));
    }
    // Losses are never thinned out.
    for point in points.iter().filter(|point| point.round_trip_ns.is_none()) {
        let at = x(point.epoch_ns);
        let (foot, head) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM - 12.0);
        let _ = write!(html, "<line class=\"lost\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{foot}\" y2=\"{head}\"/>");
    }
    let _ = write!(html, "<text x=\"{LEFT}\" y=\"{}\">0</text>", HEIGHT - 5.0);
    let length = nanos((end - start) as i64);
    let _ =
        writeln!(html, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{length}</text></svg>", WIDTH - 10.0, HEIGHT - 5.0);
}

/// Quantiles of the round trip, each nine of the percentile as far from the last.
fn quantiles(html: &mut String, figures: &Value) {
    let names = [
        ("min", "min"),
        ("p50", "50"),
        ("p90", "90"),
        ("p99", "99"),
        ("p99_9", "99.9"),
        ("p99_99", "99.99"),
        ("max", "max"),
    ];
    let values: Option<Vec<f64>> = names.iter().map(|(key, _)| figures[*key].as_f64()).collect();
    let Some(values) = values else { return };
    let top = values.iter().copied().fold(1.0, f64::max);
    let x = |i: usize| LEFT + i as f64 / (names.len() - 1) as f64 * (WIDTH - LEFT - 40.0);
    let y = |value: f64| (HEIGHT - BOTTOM) - value.max(0.0) / top * (HEIGHT - BOTTOM - 10.0);
    begin_plot(html, "Quantiles of the round trip", top);
    let line: Vec<String> =
        values.iter().enumerate().map(|(i, value)| format!("{:.1},{:.1}", x(i), y(*value))).collect();
    let _ = write!(html, "<polyline points=\"{}\"/>", line.join(" "));
    for (i, ((_, label), value)) in names.iter().zip(&values).enumerate() {
        let title = format!("{label}: {}", nanos(*value as i64));
        let _ =
            write!(html, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{title}</title></circle>", x(i), y(*value));
        let _ = write!(html, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", x(i), HEIGHT - 5.0);
    }
    html.push_str("</svg>\n");
}

fn begin_plot(html: &mut String, label: &str, top: f64) {
    let _ = write!(
        html,
        "<h4>{label}</h4>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">\
         <text x=\"5\" y=\"15\">{}</text><text x=\"5\" y=\"{}\">0</text>",
        nanos(top as i64),
        HEIGHT - BOTTOM
    );
}

/// Names of files and targets are somebody else's words.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
