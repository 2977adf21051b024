//! Saved measurements as one HTML page that needs nothing else: no script, no font, no network.

use std::fmt::Write;

use serde_json::Value;

use super::plots::{self, PlotSeries};
use super::{QUANTITIES, SavedRun, began, change, clocks, distribution, gone, pairs, title};
use crate::layout::nanos;

const STYLE: &str = ":root{color-scheme:light dark;--ink:#222;--soft:#666;--paper:#fff;--plot:#fafafa;--line:#ddd;\
    --one:#26a;--two:#c60;--good:#394;--bad:#c22}\
    @media(prefers-color-scheme:dark){:root{--ink:#ddd;--soft:#999;--paper:#16181c;--plot:#1e2127;--line:#3a3f48;\
    --one:#5ad;--two:#f93;--good:#5c6;--bad:#f66}}\
    body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:var(--ink);\
    background:var(--paper)}\
    h1,h2,h3{overflow-wrap:anywhere}.wide{overflow-x:auto}\
    table{border-collapse:collapse}td,th{padding:.15rem .9rem .15rem 0;text-align:right}\
    th:first-child,td:first-child{text-align:left}\
    svg{box-sizing:border-box;width:100%;min-width:36rem;height:auto;background:var(--plot);border:1px solid var(--line)}\
    .note{color:var(--soft)}.axis{fill:none;stroke:var(--soft)}.grid{fill:none;stroke:var(--line)}\
    polyline{fill:none;stroke-width:2}\
    .one{fill:var(--one);stroke:var(--one);fill-opacity:.5;stroke-width:0}\
    .two{fill:var(--two);stroke:var(--two);fill-opacity:.5;stroke-width:0}\
    polyline.one,polyline.two{fill:none;stroke-width:2}.lost{stroke:var(--bad)}\
    .received{fill:var(--good)}.far{fill:var(--bad)}.near{fill:var(--two)}.unknown{fill:#888}\
    text{font:11px system-ui,sans-serif;fill:var(--soft)}text.far,text.near{fill:var(--bad)}";

/// Says to the browser what the page promises: that it loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of measurements, each for itself.
pub(crate) fn page(all: &[SavedRun]) -> String {
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
pub(crate) fn comparison(before: &SavedRun, after: &SavedRun) -> String {
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
        let _ = writeln!(
            html,
            "<div class=\"wide\"><table>\n<tr><th></th><th>{}</th><th>{}</th><th>ratio</th></tr>",
            names[0], names[1]
        );
        for quantity in QUANTITIES {
            let [old, new, change] = change(quantity, other, target);
            let _ = writeln!(html, "<tr><td>{}</td><td>{old}</td><td>{new}</td><td>{change}</td></tr>", quantity.0);
        }
        html.push_str("</table></div>\n");
        let series = |class, label| PlotSeries { class, label };
        let lines = [
            (series("one", names[0].as_str()), &other["round_trip_ns"]),
            (series("two", names[1].as_str()), &target["round_trip_ns"]),
        ];
        plots::quantiles(&mut html, &lines);
        let both = [(before, other), (after, target)].map(|(saved, target)| distribution(saved, target));
        plots::histogram(&mut html, &[(lines[0].0, &both[0]), (lines[1].0, &both[1])]);
        for (target, name) in [other, target].into_iter().zip(&names) {
            let _ = writeln!(html, "<h4>{name}</h4>");
            plots::fates(&mut html, target);
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
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><title>{heading}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{heading}</h1>\n"
    )
}

/// Writes the origin of a measurement; for a histogram log, or a stream without a summary, it is unknown.
fn origin(html: &mut String, saved: &SavedRun) {
    let summary = &saved.summary;
    let length = nanos(summary["duration_ns"].as_i64().unwrap_or(0));
    let length = began(saved).map_or(length.clone(), |began| format!("{began}, {length}"));
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

fn section(html: &mut String, saved: &SavedRun, target: &Value) {
    let _ = writeln!(html, "<h3>{}</h3>\n<div class=\"wide\"><table>", escape(&title(target)));
    for (label, pointer, unit) in QUANTITIES {
        let value = unit.write(target.pointer(pointer).and_then(Value::as_f64));
        let _ = writeln!(html, "<tr><td>{label}</td><td>{value}</td></tr>");
    }
    let _ = writeln!(html, "</table></div>\n<p class=\"note\">Clocks {}.</p>", clocks(target));
    plots::fates(html, target);
    plots::quantiles(html, &[(PlotSeries { class: "one", label: "" }, &target["round_trip_ns"])]);
    plots::histogram(html, &[(PlotSeries { class: "one", label: "" }, &distribution(saved, target))]);
    if let Some(track) = saved.track(target) {
        plots::over_time(html, track);
    }
}

/// Names of files and targets are somebody else's words.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
