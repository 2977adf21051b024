//! Saved measurements as one HTML page that needs nothing else: no script, no font, no network.

use std::fmt::Write;

use serde_json::Value;

use super::plots::{self, Series};
use super::{QUANTITIES, Saved, change, clocks, gone, pairs, title};
use crate::sender::report::nanos;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
    table{border-collapse:collapse}td,th{padding:.15rem .9rem .15rem 0;text-align:right}\
    th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;background:#fafafa;border:1px solid #ddd}\
    .note{color:#666}.axis{fill:none;stroke:#bbb}polyline{fill:none;stroke-width:2}\
    .one{fill:#26a;stroke:#26a;fill-opacity:.5;stroke-width:0}.two{fill:#c60;stroke:#c60;fill-opacity:.5;stroke-width:0}\
    polyline.one,polyline.two{fill:none;stroke-width:2}.lost{stroke:#c22}\
    .received{fill:#394}.far{fill:#c22}.near{fill:#c60}.unknown{fill:#888}\
    text{font:11px system-ui,sans-serif;fill:#555}text.far,text.near{fill:#a20}";

/// Says to the browser what the page promises: that it loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of measurements, each for itself.
pub fn page(all: &[Saved]) -> String {
    let mut html = begin("teaparty report");
    for saved in all {
        let _ = writeln!(html, "<h2>{}</h2>", escape(&saved.name));
        origin(&mut html, saved);
        for target in saved.targets() {
            section(&mut html, saved, target);
        }
        if let Some(configuration) = saved.summary.get("configuration") {
            let configuration = serde_json::to_string_pretty(configuration).unwrap_or_default();
            let _ = writeln!(
                html,
                "<details><summary>configuration</summary><pre>{}</pre></details>",
                escape(&configuration)
            );
        }
    }
    html += "</body></html>\n";
    html
}

/// The page of two measurements side by side, the older one first.
pub fn comparison(before: &Saved, after: &Saved) -> String {
    let mut html = begin("teaparty comparison");
    let names = [escape(&before.name), escape(&after.name)];
    for (saved, name) in [before, after].into_iter().zip(&names) {
        let _ = writeln!(html, "<h2>{name}</h2>");
        origin(&mut html, saved);
    }
    for (other, target) in pairs(before, after) {
        let _ = writeln!(html, "<h3>{}</h3>", escape(&title(target)));
        let Some(other) = other else {
            let _ = writeln!(html, "<p class=\"note\">Only in {}.</p>", names[1]);
            continue;
        };
        let _ = writeln!(html, "<table>\n<tr><th></th><th>{}</th><th>{}</th><th>change</th></tr>", names[0], names[1]);
        for quantity in QUANTITIES {
            let [old, new, change] = change(quantity, other, target);
            let _ = writeln!(html, "<tr><td>{}</td><td>{old}</td><td>{new}</td><td>{change}</td></tr>", quantity.0);
        }
        html.push_str("</table>\n");
        let series = |class, label| Series { class, label };
        let lines = [
            (series("one", names[0].as_str()), &other["round_trip_ns"]),
            (series("two", names[1].as_str()), &target["round_trip_ns"]),
        ];
        plots::quantiles(&mut html, &lines);
        for ((saved, target), name) in [(before, other), (after, target)].into_iter().zip(&names) {
            let _ = writeln!(html, "<h4>{name}</h4>");
            plots::fates(&mut html, target);
            if let Some(track) = saved.track(target) {
                plots::histogram(&mut html, &track.round_trip);
            }
        }
    }
    for target in gone(before, after) {
        let _ = writeln!(html, "<h3>{}</h3>\n<p class=\"note\">Only in {}.</p>", escape(&title(target)), names[0]);
    }
    html += "</body></html>\n";
    html
}

fn begin(heading: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><title>{heading}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{heading}</h1>\n"
    )
}

/// Where a measurement comes from; of a histogram log, or a stream without a summary, that is not known.
fn origin(html: &mut String, saved: &Saved) {
    let summary = &saved.summary;
    let length = nanos(summary["duration_ns"].as_i64().unwrap_or(0));
    if let Some(caveat) = &saved.caveat {
        let _ = writeln!(html, "<p class=\"note\">{length} long, {}.</p>", escape(caveat));
        return;
    }
    let Some(version) = summary["version"].as_str() else {
        let _ = writeln!(
            html,
            "<p class=\"note\">From a histogram log, {length} long: it has distributions and no counts of losses.</p>"
        );
        return;
    };
    let _ = writeln!(
        html,
        "<p class=\"note\">teaparty {} on {} (Linux {}), {length} long, our clock {}</p>",
        escape(version),
        escape(summary["host"]["name"].as_str().unwrap_or("?")),
        escape(summary["host"]["kernel"].as_str().unwrap_or("?")),
        if summary["clock"]["synchronized"] == true { "synchronised" } else { "not synchronised" }
    );
}

fn section(html: &mut String, saved: &Saved, target: &Value) {
    let _ = writeln!(html, "<h3>{}</h3>\n<table>", escape(&title(target)));
    for (label, pointer, unit) in QUANTITIES {
        let value = unit.write(target.pointer(pointer).and_then(Value::as_f64));
        let _ = writeln!(html, "<tr><td>{label}</td><td>{value}</td></tr>");
    }
    let _ = writeln!(html, "</table>\n<p class=\"note\">Clocks {}.</p>", clocks(target));
    plots::fates(html, target);
    plots::quantiles(html, &[(Series { class: "one", label: "" }, &target["round_trip_ns"])]);
    if let Some(track) = saved.track(target) {
        plots::histogram(html, &track.round_trip);
        plots::over_time(html, track);
    }
}

/// Names of files and targets are somebody else's words.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
