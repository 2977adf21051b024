//! Saved measurements: reading, refusing, showing.

use serde_json::json;

use super::*;
use crate::sender::output::report::json::SCHEMA;

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

fn saved(name: &str, p50: i64, lost: u64) -> SavedRun {
    SavedRun::read(name.into(), summary(p50, lost).to_string().as_bytes()).unwrap()
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
    let saved = SavedRun::read("s".into(), content.as_bytes()).unwrap();
    let track = &saved.tracks["<a>"];
    assert_eq!((&track.replies.kept[..], &track.losses.kept[..]), (&[(5, 70)][..], &[6][..]));
    assert_eq!(saved.targets().count(), 1);
}

#[test]
fn a_stream_that_was_cut_off_is_computed_again_from_its_lines() {
    let line = |sequence: u32, epoch: u64, fate: &str, round_trip: Option<i64>, extent: u32| {
        json!({
            "target": "<a>", "epoch_ns": epoch, "t1_ns": 100, "sequence": sequence, "fate": fate, "round_trip_ns": round_trip,
            "residence_ns": round_trip.map(|_| 5), "forward_ns": round_trip.map(|delay| delay - 1_000),
            "backward_ns": round_trip.map(|_| 1_000), "synchronized": false, "reordering_extent": extent,
        })
        .to_string()
    };
    let lines = [
        line(u32::MAX, 200, "reply", Some(70), 0),
        // The next one, since Sequence Numbers begin again.
        line(0, 300, "reply", Some(102), 0),
        line(0, 310, "duplicate", Some(900), 0),
        line(2, 400, "reply", Some(80), 0),
        line(1, 500, "reply", None, 1),
        line(3, 600, "lost", None, 0),
        line(3, 700, "late", Some(5_000), 0),
    ];
    let whole = lines.join("\n");
    for (content, caveat) in [
        (whole.clone(), "without a summary: recomputed from 7 lines, the run was cut off"),
        (whole.clone() + "\n", "without a summary: recomputed from 7 lines, the run was cut off"),
        (
            whole.clone() + "\n{\"summary\":{\"schema\":1,\"targ",
            "without a summary: recomputed from 7 lines, the run was cut off; its last line is torn and left out",
        ),
    ] {
        let saved = SavedRun::read("s".into(), content.as_bytes()).unwrap();
        assert_eq!(saved.caveat.as_deref(), Some(caveat));
        assert_eq!(saved.summary["duration_ns"], 600);
        let target = saved.targets().next().unwrap();
        for (pointer, value) in [
            ("/sent", 5),
            ("/received", 4),
            ("/lost", 1),
            ("/duplicates", 1),
            ("/late", 1),
            ("/reordered", 1),
            ("/round_trip_ns/samples", 3),
            ("/round_trip_ns/max", 102),
            ("/residence_ns/p50", 5),
            ("/forward_ns/min", -930),
            ("/backward_ns/p50", 1_000),
            ("/variation_ns/round_trip/pairs", 1),
            ("/variation_ns/round_trip/ipdv_max", 32),
        ] {
            assert_eq!(target.pointer(pointer).unwrap().as_i64(), Some(value), "{pointer}");
        }
        assert_eq!((&target["lost_far_end"], &target["one_way"]["reliable"]), (&Value::Null, &json!(false)));
        for shown in [table(&saved), comparison(&saved, &saved), html::page(std::slice::from_ref(&saved))] {
            assert!(shown.contains(caveat), "{shown}");
        }
        assert_eq!(html::comparison(&saved, &saved).matches(caveat).count(), 2);
    }
    // Only the last line may be torn, and only where its end is missing.
    for content in [format!("{}\n{{\"targ\n{}\n", lines[0], lines[1]), format!("{whole}\n{{\"targ\n")] {
        let error = format!("{:#}", SavedRun::read("s".into(), content.as_bytes()).unwrap_err());
        assert!(error.contains("no JSON"), "{error}");
    }
    // Behind a summary nothing was to come.
    let content = format!("{whole}\n{}\n{{", json!({ "summary": summary(1, 0) }));
    assert!(SavedRun::read("s".into(), content.as_bytes()).is_err());
}

#[test]
fn what_is_no_measurement_is_refused_by_name() {
    let mut newer = summary(1, 0);
    newer["schema"] = json!(SCHEMA + 1);
    let without = |pointer: &str| {
        let mut summary = summary(1, 0);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        summary.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        summary.to_string()
    };
    let cases = [
        ("", "no summary"),
        ("{}", "no summary"),
        ("x\n", "line 1"),
        (&newer.to_string(), "schema"),
        ("{\"schema\":\"1\"}", "schema \"1\""),
        ("{\"schema\":1}", "lacks `version`"),
        ("{\"schema\":1,\"version\":\"1\",\"targets\":[]}", "lacks `targets`"),
        ("{\"summary\":{\"schema\":1,\"version\":\"1\",\"targets\":[7]}}", "lacks `targets[0].target`"),
        (&without("/targets"), "lacks `targets`"),
        (&without("/targets/0/sent"), "lacks `targets[0].sent`"),
        (&without("/targets/0/round_trip_ns"), "lacks `targets[0].round_trip_ns`"),
    ];
    for (content, part) in cases {
        let error = format!("{:#}", SavedRun::read("file.json".into(), content.as_bytes()).unwrap_err());
        assert!(error.contains("file.json") && error.contains(part), "{content}: {error}");
    }
}

#[test]
fn unknown_quantities_are_shown_as_unknown_and_not_as_zero() {
    let text = table(&saved("s", 1_500_000, 3));
    let line = |label: &str| text.lines().find(|line| line.trim_start().starts_with(label)).unwrap().trim().to_owned();
    assert!(line("lost, far end").ends_with('-') && line("jitter").ends_with('-'), "{text}");
    assert!(line("round trip p50").ends_with("1.500 ms") && text.contains("unreliable"), "{text}");
}

#[test]
fn comparisons_state_the_change() {
    let text = comparison(&saved("before", 1_000_000, 4), &saved("after", 1_500_000, 2));
    let line = text.lines().find(|line| line.contains("round trip p50")).unwrap();
    assert!(line.contains("1.000 ms") && line.contains("1.500 ms") && line.ends_with("×1.50"), "{line}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("lost ") && line.ends_with("×0.50")), "{text}");
}

#[test]
fn moments_are_dates_and_times() {
    // By date -u -d @SECONDS.
    for (seconds, text) in [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399, "2000-02-28 23:59:59 UTC"),
        (951_868_799, "2000-02-29 23:59:59 UTC"),
        (1_795_544_354, "2026-11-24 18:19:14 UTC"),
        (4_102_444_800, "2100-01-01 00:00:00 UTC"),
    ] {
        assert_eq!(utc(seconds * 1_000_000_000 + 999_999_999), text);
    }
}

#[test]
fn a_report_says_when_and_shows_a_distribution_of_a_summary_too() {
    let mut document = summary(1_000_000, 1);
    document["started_ns"] = json!(1_795_544_354_000_000_000u64);
    document["targets"][0]["loss"] = json!(0.01);
    document["targets"][0]["round_trip_histogram"] = json!([[500_000, 10], [1_000_000, 60], [1_500_000, 29]]);
    let saved = SavedRun::read("s".into(), document.to_string().as_bytes()).unwrap();
    let text = table(&saved);
    for part in ["2026-11-24 18:19:14 UTC", "1.000 %", "round trip mean", "round trip p99.9"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let page = html::page(std::slice::from_ref(&saved));
    for part in ["2026-11-24", "Distribution of the round trip", "name=\"viewport\"", "prefers-color-scheme:dark"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Of two, both on one pair of axes.
    let page = html::comparison(&saved, &saved);
    assert_eq!(page.matches("Distribution of the round trip, up to").count(), 2, "a heading and its label: {page}");
    assert!(page.contains("<rect class=\"one\"") && page.contains("<rect class=\"two\""), "{page}");
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
    let saved =
        SavedRun::read("s".into(), serde_json::to_string_pretty(&summary(1_000, 1)).unwrap().as_bytes()).unwrap();
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
        let error = format!("{:#}", SavedRun::read("file.hdr".into(), content.as_bytes()).unwrap_err());
        assert!(error.contains("file.hdr") && error.contains(part), "{content}: {error}");
    }
}

#[test]
fn pages_of_two_have_both_and_what_changed() {
    let page = html::comparison(&saved("before", 1_000_000, 4), &saved("after", 1_500_000, 2));
    assert!(page.contains("<td>×1.50</td>") && page.contains("<td>×0.50</td>"), "{page}");
    assert_eq!(
        (page.matches("<polyline class=\"one\"").count(), page.matches("<polyline class=\"two\"").count()),
        (1, 1)
    );
    assert!(page.contains("lost, unattributed 4 (4.000 %)") && page.contains("received 98 (98.000 %)"));
}
