//! Screens of the live view as text, at three sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::sender::session::histogram::Distribution;
use crate::sender::session::matcher::{Counts, Split};
use crate::sender::target::Target;

fn snapshot(received: u64, lost: u64) -> TargetSnapshot {
    let mut round_trip = Distribution::default();
    (0..received).for_each(|n| round_trip.record(14_380_000 + n as i64 * 10_000));
    TargetSnapshot {
        counts: Counts { sent: received + lost, received, lost, ..Counts::default() },
        split: Split { is_stateful: true, far_end: Some(2), near_end: None, unattributed: 1 },
        round_trip: round_trip.figures(),
        last_round_trip_ns: Some(14_380_000 + received as i64 * 10_000),
        histogram: round_trip.histogram(12),
    }
}

fn buffer(view: &TuiView<'_>, width: u16, height: u16) -> ratatui::buffer::Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame, Duration::from_secs(83))).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(view: &TuiView<'_>, width: u16, height: u16) -> String {
    let buffer = buffer(view, width, height);
    let lines = buffer.content().chunks(width.into());
    let text = lines.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    text.collect::<Vec<_>>().join("\n")
}

fn config(names: &[&str]) -> SenderConfig {
    let target = |name: &&str| Target { name: (*name).into(), address: "127.0.0.1:862".parse().unwrap() };
    SenderConfig::new(names.iter().map(target).collect())
}

/// A view of two targets that has seen some intervals; one packet in the second of them was lost.
fn view<'a>(config: &'a SenderConfig, thresholds: &'a Thresholds) -> TuiView<'a> {
    let mut view = TuiView::new(config, thresholds);
    for (received, lost) in [(10, 0), (20, 1), (30, 1)] {
        view.take(SenderEvent::Snapshot(vec![snapshot(received, lost), snapshot(received + 1, 0)].into()));
    }
    view
}

#[test]
fn all_of_it_fits_80_columns_by_24_rows() {
    let (config, thresholds) = (config(&["192.0.2.1:862", "reflector.example"]), Thresholds::default());

    let screen = screen(&view(&config, &thresholds), 80, 24);
    for part in [
        "teaparty: 2 targets, 1:23",
        "target",
        "sent",
        "loss",
        "far end",
        "near end",
        "3.23 %",
        "0.00 %",
        "14.52 ms",
        "14.67 ms",
        "round trip of 192.0.2.1:862, top 14.68 ms",
        "× loss",
        "distribution of 30 round trips",
        "q stops, ↑ ↓ select",
    ] {
        assert!(screen.contains(part), "{part} is missing in\n{screen}");
    }
    assert!(screen.lines().any(|line| line.trim_matches('│').trim_end() == " ×"), "the loss has its mark:\n{screen}");
    assert_eq!(screen.lines().count(), 24, "{screen}");
}

#[test]
fn the_smallest_screen_has_the_most_important_and_cuts_no_unit_off() {
    let (config, thresholds) = (config(&["192.0.2.1:862", "reflector.example"]), Thresholds::default());
    let screen = screen(&view(&config, &thresholds), 40, 12);
    for part in ["3.23 %", "14.67 ms", "192.0.2.1:862", "round trip of", "q stops"] {
        assert!(screen.contains(part), "{part} is missing in\n{screen}");
    }
    assert!(!screen.contains("distribution") && !screen.contains("near end"), "{screen}");
}

#[test]
fn a_large_screen_shows_more() {
    let (config, thresholds) = (config(&["192.0.2.1:862", "reflector.example"]), Thresholds::default());
    let screen = screen(&view(&config, &thresholds), 200, 50);
    for part in ["replies/s", "p90", "max", "near end", "reflector.example", "distribution of 30 round trips"] {
        assert!(screen.contains(part), "{part} is missing in\n{screen}");
    }
    // Ten replies in a quarter of a second; near-end loss is not known.
    let line = screen.lines().find(|line| line.contains("192.0.2.1:862")).unwrap();
    assert!(line.contains(" 40 ") && line.contains(" ? "), "{line}");
}

#[test]
fn every_number_of_the_table_ends_with_its_unit_below_its_title_at_every_width() {
    let (config, thresholds) = (config(&["192.0.2.1:862", "b"]), Thresholds::default());
    let view = view(&config, &thresholds);
    for width in 24..160 {
        let screen = screen(&view, width, 24);
        let rows: Vec<Vec<char>> = screen.lines().skip(1).take(2).map(|line| line.chars().collect()).collect();
        for (title, unit) in [("loss", " %"), ("p50", " ms"), ("p99", " ms"), ("max", " ms")] {
            let header: String = rows[0].iter().collect();
            let Some(at) = header.find(title) else { continue };
            let end = header[..at].chars().count() + title.len();
            let cell: String = rows[1][..end].iter().collect();
            assert!(cell.ends_with(unit), "{width} {title}:\n{screen}");
        }
    }
}

#[test]
fn colours_tell_good_from_acceptable_and_bad() {
    let config = config(&["a"]);
    let shown = |limits: Thresholds| {
        let mut view = TuiView::new(&config, &limits);
        view.take(SenderEvent::Snapshot(vec![snapshot(97, 3)].into()));
        let buffer = buffer(&view, 80, 24);
        let colors: Vec<Color> = buffer.content()[160..240].iter().map(|cell| cell.fg).collect();
        [Color::Red, Color::Yellow, Color::Green].map(|color| colors.contains(&color))
    };
    let limits = |loss, rtt: &str| Thresholds {
        max_loss: Some(loss),
        max_rtt: vec![rtt.parse().unwrap()],
        ..Thresholds::default()
    };
    assert_eq!(shown(limits(0.02, "p99=1s")), [true, false, true], "too much loss, and quick");
    assert_eq!(shown(limits(0.5, "p99=16ms")), [false, true, true], "near its limit");
    assert_eq!(shown(limits(0.5, "p99=1ms")), [true, false, true]);
    assert_eq!(shown(Thresholds::default()), [true, false, true], "3 % is bad, 15 ms are good");
}

#[test]
fn notices_stay_in_sight_and_the_selected_target_has_the_curve() {
    let (config, thresholds) = (config(&["alpha", "beta"]), Thresholds::default());
    let mut view = view(&config, &thresholds);
    view.take(SenderEvent::Notice { target: Some(1), text: "has started anew".into() });
    view.select(1);
    let screen = screen(&view, 80, 24);
    for part in ["round trip of beta", "beta has started anew", "q stops"] {
        assert!(screen.contains(part), "{part} is missing in\n{screen}");
    }
}

#[test]
fn selection_stays_within_the_targets_and_an_empty_view_draws_at_any_size() {
    let (config, thresholds) = (config(&["alpha", "beta"]), Thresholds::default());
    let mut view = TuiView::new(&config, &thresholds);
    (0..5).for_each(|_| view.select(1));
    assert_eq!(view.selected, 1);
    (0..5).for_each(|_| view.select(-1));
    assert_eq!(view.selected, 0);
    for (width, height) in [(1, 1), (3, 2), (10, 5), (20, 8), (80, 24)] {
        screen(&view, width, height);
    }
    view.take(SenderEvent::Snapshot(vec![snapshot(10, 3), snapshot(0, 0)].into()));
    for (width, height) in [(1, 1), (3, 2), (10, 5), (20, 8), (80, 24)] {
        screen(&view, width, height);
    }
}

#[test]
fn the_selected_one_of_many_targets_is_in_sight() {
    let names: Vec<String> = (0..200).map(|n| format!("host-{n:03}")).collect();
    let (config, thresholds) = (config(&names.iter().map(|name| &**name).collect::<Vec<_>>()), Thresholds::default());
    let mut view = TuiView::new(&config, &thresholds);
    view.take(SenderEvent::Snapshot(vec![snapshot(10, 0); 200].into()));
    let first = screen(&view, 80, 24);
    assert!(first.contains("host-000 ") && !first.contains("host-150 "), "{first}");
    view.select(150);
    let screen = screen(&view, 80, 24);
    assert!(screen.contains("host-150 ") && screen.contains("round trip of host-150"), "{screen}");
}

#[test]
fn keys_mean_what_the_last_line_says() {
    let key = |code| event::Event::Key(event::KeyEvent::new(code, KeyModifiers::NONE));
    assert_eq!(wish(&key(KeyCode::Char('q'))), Some(KeyAction::Stop));
    assert_eq!(wish(&key(KeyCode::Down)), Some(KeyAction::Next));
    assert_eq!(wish(&key(KeyCode::Char('c'))), None);
    let interrupt = event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(wish(&event::Event::Key(interrupt)), Some(KeyAction::Stop));
}
