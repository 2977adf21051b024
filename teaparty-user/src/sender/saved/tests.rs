//! Saved measurements: what is read, what is refused, what is shown.

use serde_json::json;

use super::*;
use crate::sender::report::json::SCHEMA;

fn summary(p50: i64, lost: u64) -> Value {
    let figures = json!({
        "min": p50 / 2, "mean": p50, "p50": p50, "p90": p50, "p99": p50 * 2, "p99_9": p50 * 2, "p99_99": p50 * 2, "max": p50 * 3,
    });
    json!({
        "schema": 1, "version": "0.1.0", "duration_ns": 1_000_000_000, "host": { "name": "here", "kernel": "6.18" },
        "clock": { "synchronized": true }, "configuration": { "count": 100 },
        "targets": [{
            "target": "<a>", "address": "192.0.2.1:862", "sent": 100, "received": 100 - lost, "lost": lost,
            "lost_far_end": null, "lost_near_end": null, "round_trip_ns": figures, "one_way": { "reliable": false },
        }],
    })
}

fn saved(name: &str, p50: i64, lost: u64) -> Saved {
    Saved::read(name.into(), summary(p50, lost).to_string().as_bytes()).unwrap()
}

#[test]
fn streams_give_their_packets_and_their_summary() {
    let content = format!(
        "{}\n{}\n{}\n{}\n",
        json!({ "target": "<a>", "epoch_ns": 5, "fate": "reply", "round_trip_ns": 70 }),
        json!({ "target": "<a>", "epoch_ns": 6, "fate": "lost", "round_trip_ns": null }),
        json!({ "target": "<a>", "epoch_ns": 7, "fate": "duplicate", "round_trip_ns": 71 }),
        json!({ "summary": summary(1_000, 1) })
    );
    let saved = Saved::read("s".into(), content.as_bytes()).unwrap();
    let track = &saved.tracks["<a>"];
    assert_eq!((&track.replies.kept[..], &track.losses.kept[..]), (&[(5, 70)][..], &[6][..]));
    assert_eq!(saved.targets().count(), 1);
}

#[test]
fn what_is_no_measurement_is_refused_by_name() {
    let mut newer = summary(1, 0);
    newer["schema"] = json!(SCHEMA + 1);
    let cases = [("", "no summary"), ("{}", "no summary"), ("x\n", "line 1"), (&newer.to_string(), "schema")];
    for (content, part) in cases {
        let error = format!("{:#}", Saved::read("file.json".into(), content.as_bytes()).unwrap_err());
        assert!(error.contains("file.json") && error.contains(part), "{content}: {error}");
    }
}

#[test]
fn unknown_quantities_are_shown_as_unknown_and_not_as_zero() {
    let text = table(&saved("s", 1_500_000, 3));
    let line = |label: &str| text.lines().find(|line| line.trim_start().starts_with(label)).unwrap().trim().to_owned();
    assert!(line("lost there").ends_with('-') && line("jitter").ends_with('-'), "{text}");
    assert!(line("round trip p50").ends_with("1.500 ms") && text.contains("unreliable"), "{text}");
}

#[test]
fn comparisons_state_the_change() {
    let text = comparison(&saved("before", 1_000_000, 4), &saved("after", 1_500_000, 2));
    let line = text.lines().find(|line| line.contains("round trip p50")).unwrap();
    assert!(line.contains("1.000 ms") && line.contains("1.500 ms") && line.ends_with("+50.0 %"), "{line}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("lost ") && line.ends_with("-50.0 %")), "{text}");
}

#[test]
fn pages_need_nothing_from_elsewhere_and_quote_names() {
    let mut one = saved("a&b.json", 1_000_000, 1);
    for n in 0..20 {
        one.tracks.entry("<a>".into()).or_default().add(n, (n != 7).then_some(500_000));
    }
    let page = html::page(&[one]);
    assert!(page.contains("a&amp;b.json") && page.contains("&lt;a&gt;") && !page.contains("<a>"));
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    assert_eq!((page.matches("class=\"lost\"").count(), page.matches("r=\"2\"").count()), (1, 19));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn a_summary_may_be_on_many_lines() {
    let saved = Saved::read("s".into(), serde_json::to_string_pretty(&summary(1_000, 1)).unwrap().as_bytes()).unwrap();
    assert_eq!(saved.targets().count(), 1);
}

#[test]
fn what_is_no_histogram_log_of_measurements_is_refused_by_name() {
    let cases = [
        ("#a comment\n", "no histogram"),
        ("#x\nTag=elsewhere,0.127,1.007,2.769,HISTFAAA\n", "elsewhere"),
        ("#x\nTag=a/round_trip,0.127,1.007,2.769,HISTFAAA\n", "a/round_trip"),
        ("#x\nTag=a/round_trip,0.127,1.007,2.769,%%%\n", "a/round_trip"),
        ("#x\nnot a line\n", "no histogram log"),
    ];
    for (content, part) in cases {
        let error = format!("{:#}", Saved::read("file.hdr".into(), content.as_bytes()).unwrap_err());
        assert!(error.contains("file.hdr") && error.contains(part), "{content}: {error}");
    }
}

#[test]
fn pages_of_two_have_both_and_what_changed() {
    let page = html::comparison(&saved("before", 1_000_000, 4), &saved("after", 1_500_000, 2));
    assert!(page.contains("<td>+50.0 %</td>") && page.contains("<td>-50.0 %</td>"), "{page}");
    assert_eq!(
        (page.matches("<polyline class=\"one\"").count(), page.matches("<polyline class=\"two\"").count()),
        (1, 1)
    );
    assert!(page.contains("lost, direction unknown 4 (4.000 %)") && page.contains("received 98 (98.000 %)"));
}
