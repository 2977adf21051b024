//! The sender over a path that a test scripts: the reported numbers equal the script's truth.

use std::time::Duration;

use serde_json::json;
use teaparty_testing::sender::{Act, Behaviour, Reflector, summary};
use teaparty_user::sender::session::random::Random;

const PACKETS: u64 = 400;

fn measure(script: impl FnMut(u64) -> Act + Send + 'static, rest: &str) -> serde_json::Value {
    measure_every("500us", script, rest)
}

fn measure_every(interval: &str, script: impl FnMut(u64) -> Act + Send + 'static, rest: &str) -> serde_json::Value {
    let reflector = Reflector::start("127.0.0.1", Behaviour { script: Box::new(script), ..Behaviour::default() });
    summary(&format!("sender {} -c {PACKETS} -i {interval} -W 400ms --format json {rest}", reflector.address)).1
}

/// Returns the trouble of a packet: one in eight has some. The first and last ones get through, so that
/// everything between them can be attributed.
fn trouble(random: &mut Random, n: u64) -> Act {
    let mut act = Act::default();
    if n == 0 || n >= PACKETS - 2 {
        return act;
    }
    match random.bits() % 40 {
        0 => act.lost_there = true,
        1 => act.lost_back = true,
        2 => act.doubled = true,
        3 => act.corrupted = true,
        4 => act.delay = Duration::from_millis(600),
        _ => {}
    }
    act
}

#[test]
fn counts_equal_the_script() {
    // The last one is so fast that a thread of its own takes replies in, and with GSO they come joined.
    let ways = [("500us", ""), ("500us", ""), ("500us", ""), ("5us", ""), ("5us", "--segmentation-offload")];
    for (seed, (interval, option)) in (1..).zip(ways) {
        let mut truth = [0u64; 5];
        let mut random = Random::new(seed);
        for n in 0..PACKETS {
            let act = trouble(&mut random, n);
            for (count, happened) in
                truth.iter_mut().zip([act.lost_there, act.lost_back, act.doubled, act.corrupted, !act.delay.is_zero()])
            {
                *count += u64::from(happened);
            }
        }
        let [lost_there, lost_back, doubled, corrupted, late] = truth;
        assert!(truth.iter().all(|count| *count > 0), "seed {seed} tests nothing: {truth:?}");
        let mut random = Random::new(seed);
        let summary =
            measure_every(interval, move |n| trouble(&mut random, n), &format!("--stateful-reflector {option}"));
        assert_eq!(summary["sent"], json!(PACKETS));
        assert_eq!(summary["duplicates"], json!(doubled), "seed {seed}");
        assert_eq!(summary["unmatched"], json!(corrupted), "seed {seed}");
        // A corrupted or late reply is a packet without a usable one, and so is lost: on the way back.
        assert_eq!(summary["lost"], json!(lost_there + lost_back + corrupted + late), "seed {seed}");
        assert_eq!(summary["lost_far_end"], json!(lost_there), "seed {seed}");
        assert_eq!(summary["lost_near_end"], json!(lost_back + corrupted + late), "seed {seed}");
        assert_eq!(summary["received"], json!(PACKETS - lost_there - lost_back - corrupted - late));
    }
}

#[test]
fn delay_on_the_way_back_is_reported_there() {
    let delay = Duration::from_millis(20);
    let summary = measure(move |_| Act { delay, ..Act::default() }, "");
    for quantity in ["round_trip_ns", "backward_ns"] {
        let p50 = summary[quantity]["p50"].as_i64().unwrap();
        assert!((20_000_000..30_000_000).contains(&p50), "{quantity} {p50}");
    }
    let forward = summary["forward_ns"]["p50"].as_i64().unwrap();
    assert!((-1_000_000..5_000_000).contains(&forward), "{forward}");
}

#[test]
fn overtaken_replies_are_counted_as_reordered() {
    // Every tenth reply is held back for some four packets' time.
    let script = |n: u64| Act {
        delay: if n % 10 == 5 { Duration::from_micros(2_200) } else { Duration::ZERO },
        ..Act::default()
    };
    let summary = measure(script, "");
    assert_eq!((&summary["lost"], &summary["duplicates"]), (&json!(0), &json!(0)));
    let reordered = summary["reordered"].as_u64().unwrap();
    // A machine that stalls for longer than two milliseconds keeps some in order, and never adds any.
    assert!((20..=PACKETS / 10).contains(&reordered), "{reordered}");
    assert!(summary["reordering_extent_max"].as_u64().unwrap() >= 1);
}

#[test]
fn remarking_on_the_way_there_is_told_in_words() {
    let script = |n: u64| Act { remark: (n >= PACKETS / 2).then_some(0x0b), ..Act::default() };
    let summary = measure(script, "--dscp cs1 --ecn ect1 tlvs class-of-service --dscp ef --ecn ect0");
    let target = &summary["targets"][0];
    let seen = target["traffic_class"]["forward"]["seen"].as_object().unwrap();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["11", "33"]);
    assert_eq!(target["traffic_class"]["forward"]["changes"], json!(1));
    let words = target["tlvs"]["class-of-service"]["words"].as_str().unwrap();
    assert!(words.contains("changed DSCP from CS1 to 2 and ECN from ECT(1) to CE"), "{words}");
    // C253: it slowed down.
    assert!(target["congestion_slowdowns"].as_u64().unwrap() >= 1);
}

#[test]
fn a_restart_of_the_reflector_is_reported() {
    let script = |n: u64| Act { restart: n == 200, lost_there: n == 100, ..Act::default() };
    let summary = measure(script, "");
    assert_eq!(summary["reflector_restarts"], json!(1));
    assert_eq!((&summary["lost_far_end"], &summary["lost_near_end"]), (&json!(1), &json!(0)));
}

#[test]
fn bursts_of_loss_are_told_from_scattered_loss() {
    let script = |n: u64| Act { lost_there: (100..110).contains(&n) || n == 200, ..Act::default() };
    let summary = measure(script, "");
    assert_eq!(summary["lost"], json!(11));
    assert_eq!((&summary["loss_bursts"], &summary["loss_burst_max"]), (&json!(2), &json!(10)));
}
