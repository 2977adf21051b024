//! Who said so: what a reflector claims without proof, and what it can't know, is shown as unknown and in no figure.

use serde_json::{Value, json};
use teaparty_common::wire::{ErrorEstimate, TimestampFormat};
use teaparty_testing::sender::{Behaviour, Reflector, teaparty};
use teaparty_user::sys::clock::ClockState;

/// T3 and T2 of an unauthenticated reply.
const TIMES: [usize; 2] = [4, 16];
/// The reflector's Error Estimate.
const ESTIMATE: std::ops::Range<usize> = 12..14;
const STEP_S: u32 = 100;

/// Adds seconds to both times.
fn shift(reply: &mut [u8], seconds: u32) {
    for at in TIMES {
        let was = u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
        reply[at..at + 4].copy_from_slice(&was.wrapping_add(seconds).to_be_bytes());
    }
}

/// A run of 30 packets to a reflector whose replies are edited: the summary as JSON and as text, and standard error.
fn measured(format: TimestampFormat, edit: fn(&mut Vec<u8>), rest: &str) -> (Value, String, String) {
    let run = |form: &str| {
        let reflector = Reflector::start("127.0.0.1", Behaviour { format, edit, ..Behaviour::default() });
        let words = format!("sender {} -q -c 30 -i 2ms -W 2s --format {form} {rest}", reflector.address);
        let (code, out, error) = teaparty(&words);
        assert_eq!(code, 0, "{error}{out}");
        (out, error)
    };
    let (json, _) = run("json");
    let (text, error) = run("human");
    // Lines are folded at 80 columns.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["received"], &json["lost"]), (&json!(30), &json!(0)), "{json:#}");
    (json, text, error)
}

#[test]
fn an_hmac_that_nobody_could_check_is_not_verified() {
    let append = |reply: &mut Vec<u8>| {
        reply.extend_from_slice(&[0, 8, 0, 16]);
        reply.extend_from_slice(&[0x5a; 16]);
    };
    let (json, text, _) = measured(TimestampFormat::Ntp, append, "tlvs time");
    assert_eq!(json["targets"][0]["tlvs"]["hmac"]["words"], "not checked: no key");
    assert!(text.contains("hmac: 30 answered; last: not checked: no key"), "{text}");
    assert!(!text.contains("verified"), "{text}");
}

#[test]
fn an_estimate_without_a_bound_is_unknown() {
    // Multiplier 0 (RFC 4656 §4.1.2), and the 16 s of a kernel that knows none.
    let no_multiplier = |reply: &mut Vec<u8>| reply[ESTIMATE].copy_from_slice(&[0x80, 0]);
    let no_bound = |reply: &mut Vec<u8>| {
        let estimate = ErrorEstimate::new(false, TimestampFormat::Ntp, 16_000_000_000).bits();
        reply[ESTIMATE].copy_from_slice(&estimate.to_be_bytes());
    };
    for (edit, is) in [(no_multiplier as fn(&mut Vec<u8>), ""), (no_bound, "not ")] {
        let (json, text, _) = measured(TimestampFormat::Ntp, edit, "");
        let claims = &json["one_way"]["reflector_clock"];
        assert_eq!((&claims["error_ns_max"], &claims["packets_without_bound"]), (&json!(null), &json!(30)));
        assert!(text.contains(&format!("the reflector's {is}synchronised (error unknown)")), "{text}");
        assert!(!text.contains("± 0 ns") && !text.contains("± 16"), "{text}");
    }
}

#[test]
fn times_of_another_format_than_the_z_bit_names_are_in_no_figure() {
    let lie = |reply: &mut Vec<u8>| reply[ESTIMATE.start] ^= 0x40;
    for (format, said) in [(TimestampFormat::Ntp, "PTP (Z bit)"), (TimestampFormat::Ptp, "NTP (Z bit)")] {
        let (json, _, error) = measured(format, lie, "");
        assert_eq!(json["wrong_format"], 30, "{format:?}");
        for figure in ["round_trip_ns", "residence_ns", "forward_ns", "backward_ns"] {
            assert_eq!(json[figure], json!(null), "{format:?} {figure}");
        }
        assert_eq!(error.matches(said).count(), 1, "{error}");
    }
}

#[test]
fn ptp_without_the_offset_to_tai_has_a_bound_of_37_seconds() {
    // Of a reflector whose kernel knows no offset, whatever this one knows.
    let without = |reply: &mut Vec<u8>| {
        let offset = ClockState::read().map_or(0, |state| state.tai_offset_s);
        shift(reply, 0_u32.wrapping_sub(offset as u32));
    };
    let (json, text, error) = measured(TimestampFormat::Ptp, without, "");
    assert_eq!(json["lacking_tai_offset"], 30, "{json:#}");
    let bound = json["one_way"]["reflector_clock"]["error_ns_max"].as_u64().unwrap();
    assert!(bound >= 37_000_000_000, "{bound}");
    assert!(text.contains("± 37.00 s") && error.contains("may be off by 37 s"), "{text}{error}");
}

#[test]
fn one_way_delays_begin_again_when_the_reflectors_clock_is_set() {
    let step = |reply: &mut Vec<u8>| {
        if u32::from_be_bytes(reply[24..28].try_into().unwrap()) >= 15 {
            shift(reply, STEP_S);
        }
    };
    let (json, text, error) = measured(TimestampFormat::Ntp, step, "");
    let steps = json["reflector_clock_steps"].as_array().unwrap();
    let (step_ns, second_ns) = (i64::from(STEP_S) * 1_000_000_000, 1_000_000_000);
    assert_eq!(steps.len(), 1, "{json:#}");
    assert!(steps[0]["step_ns"].as_i64().unwrap().abs_diff(step_ns) < second_ns, "{}", steps[0]);
    // On each side of it the delays that the clocks gave then.
    let mean = |figures: &Value| figures["mean"].as_f64().unwrap() as i64;
    assert!(mean(&steps[0]["forward_ns"]).unsigned_abs() < second_ns, "{}", steps[0]);
    assert!(mean(&json["forward_ns"]).abs_diff(step_ns) < second_ns, "{}", json["forward_ns"]);
    assert!(mean(&json["backward_ns"]).abs_diff(-step_ns) < second_ns, "{}", json["backward_ns"]);
    let samples = |figures: &Value| figures["samples"].as_u64().unwrap();
    assert_eq!(samples(&steps[0]["forward_ns"]) + samples(&json["forward_ns"]), 30);
    assert!(mean(&json["round_trip_ns"]).unsigned_abs() < second_ns, "it knows no clock");
    assert!(text.contains("the reflector's clock was set forward by 100.0 s"), "{text}");
    assert_eq!(error.matches("was set forward by 100.0 s").count(), 1, "{error}");
}

#[test]
fn times_since_the_start_are_exact_in_a_double() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (_, out, _) = teaparty(&format!("sender {} -c 20 -i 5ms --format jsonl", reflector.address));
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].take();
    let started = summary["started_ns"].as_u64().unwrap();
    for line in &lines {
        let elapsed = line["elapsed_ns"].as_u64().unwrap();
        assert!(elapsed < 1 << 53 && (elapsed as f64) as u64 == elapsed, "{line}");
        // The line's own moment, and not when it was written: both begin when the run does, within its start-up.
        let moment = line["epoch_ns"].as_u64().unwrap();
        assert!((moment - started).abs_diff(elapsed) < 1_000_000_000, "{line} after {started}");
    }
    let first = &lines[0];
    let begin = |line: &Value| line["epoch_ns"].as_u64().unwrap() - line["elapsed_ns"].as_u64().unwrap();
    assert!(lines.iter().all(|line| begin(line) == begin(first)), "one start for all lines");
}
