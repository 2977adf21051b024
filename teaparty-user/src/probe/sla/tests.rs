//! Periods and availability against a clock of the test's.

use super::*;
use crate::units::Percent;

const SECOND: u64 = 1_000_000_000;

fn agreement() -> SlaConfig {
    SlaConfig { unavailable_after: 3, ..SlaConfig::default() }
}

fn sample(round_trip_ns: i64) -> Option<Sample> {
    Some(Sample { round_trip_ns, residence_ns: 0, forward_ns: 0, backward_ns: 0 })
}

/// Small intervals from the begin of a period on: `+` answered, `-` lost, a space nothing at all.
fn run(intervals: &str) -> (Sla, SlaConfig) {
    let agreement = agreement();
    let mut sla = Sla::new(&agreement, 0);
    for (at, what) in intervals.chars().enumerate() {
        sla.advance(&agreement, at as u64 * 10 * SECOND);
        match what {
            '+' => sla.received(at as u64, sample(1_000)),
            '-' => sla.lost(),
            _ => {}
        }
    }
    sla.advance(&agreement, intervals.len() as u64 * 10 * SECOND);
    (sla, agreement)
}

fn counted(intervals: &str) -> (Option<bool>, u64, u64) {
    let (sla, agreement) = run(intervals);
    let report = sla.current(&agreement, 0);
    (sla.is_available(), report.available_intervals, report.unavailable_intervals)
}

#[test]
fn unavailable_time_begins_with_the_first_of_the_row_and_ends_likewise() {
    assert_eq!(counted("++--++"), (Some(true), 6, 0), "two are no row");
    assert_eq!(counted("++---"), (Some(false), 2, 3));
    assert_eq!(counted("++---++"), (Some(false), 2, 5), "two good ones do not end it");
    assert_eq!(counted("++---+++"), (Some(true), 5, 3));
    assert_eq!(counted("++---++-+++"), (Some(true), 5, 6));
}

#[test]
fn intervals_without_packets_say_nothing() {
    assert_eq!(counted("+- - -"), (Some(false), 1, 3));
    assert_eq!(counted("      "), (None, 0, 0));
}

#[test]
fn a_period_is_graded_and_the_next_begins_with_nothing() {
    let agreement = agreement();
    let mut sla = Sla::new(&agreement, 0);
    for index in 0..995 {
        sla.received(index, sample(if index % 2 == 0 { 120_000_000 } else { 119_000_000 }));
    }
    (0..5).for_each(|_| sla.lost());
    (1..=90).for_each(|interval| sla.advance(&agreement, interval * 10 * SECOND));
    let report = *sla.finished().last().unwrap();
    assert_eq!((report.start_ns, report.end_ns, report.is_whole), (0, 900 * SECOND, true));
    assert_eq!((report.received, report.lost, report.loss), (995, 5, Some(0.005)));
    let grades = [report.loss_grade, report.round_trip_grade, report.jitter_grade, report.grade];
    assert_eq!(grades, [Grade::Acceptable, Grade::Acceptable, Grade::Good, Grade::Acceptable]);
    let next = sla.current(&agreement, 901 * SECOND);
    assert_eq!((next.received, next.loss, next.grade), (0, None, Grade::Unknown));
}

#[test]
fn a_period_that_was_not_measured_from_its_begin_or_to_its_end_is_not_whole() {
    let agreement = agreement();
    let mut sla = Sla::new(&agreement, 5 * SECOND);
    sla.advance(&agreement, 900 * SECOND);
    // The host slept.
    sla.advance(&agreement, 900 * SECOND * 1_000_000);
    let whole: Vec<bool> = sla.finished().map(|report| report.is_whole).collect();
    assert_eq!((whole, sla.count), (vec![false, false], 2));
    // The clock was set back: nothing ends twice.
    sla.advance(&agreement, SECOND);
    assert_eq!(sla.count, 2);
}

#[test]
fn a_period_with_an_unmeasured_interval_has_no_good_grade_and_no_availability() {
    let (agreement, mut sla) = (agreement(), Sla::new(&agreement(), 0));
    sla.received(0, sample(1_000));
    sla.received(1, sample(1_000));
    sla.advance(&agreement, 10 * SECOND);
    let report = sla.current(&agreement, 10 * SECOND);
    assert_eq!((report.availability, report.grade, sla.is_available()), (Some(1.0), Grade::Good, Some(true)));
    // Answers beside refused packets are no measurement of the interval.
    sla.received(2, sample(1_000));
    sla.unmeasured();
    let report = sla.current(&agreement, 11 * SECOND);
    assert_eq!((report.availability, report.grade, sla.is_available()), (None, Grade::Unknown, None));
    sla.advance(&agreement, 20 * SECOND);
    let report = sla.current(&agreement, 20 * SECOND);
    assert_eq!((report.available_intervals, report.unmeasured_intervals, sla.is_available()), (1, 1, None));
    // The next packet is evidence again; what is bad stays bad.
    (0..9).for_each(|_| sla.lost());
    assert_eq!(sla.is_available(), Some(true));
    assert_eq!(sla.current(&agreement, 21 * SECOND).grade, Grade::Bad);
}

#[test]
fn time_in_which_this_process_stood_still_is_not_measured() {
    let (agreement, mut sla) = (agreement(), Sla::new(&agreement(), 0));
    sla.received(0, sample(1_000));
    // From 0 to 65 s: one interval was measured, five were not, and the last has only begun.
    sla.advance(&agreement, 65 * SECOND);
    let report = sla.current(&agreement, 65 * SECOND);
    assert_eq!((report.available_intervals, report.unmeasured_intervals), (1, 5));
    assert_eq!(sla.is_available(), None);
    // Over the end of a period both have their part: 83 of 90, and two of the next.
    sla.advance(&agreement, 925 * SECOND);
    let unmeasured: Vec<u64> = sla.finished().map(|report| report.unmeasured_intervals).collect();
    assert_eq!((unmeasured, sla.current(&agreement, 925 * SECOND).unmeasured_intervals), (vec![5 + 83], 2));
}

#[test]
fn memory_of_periods_has_an_end() {
    let agreement = agreement();
    let mut sla = Sla::new(&agreement, 0);
    (1..1_000).for_each(|period| sla.advance(&agreement, period * 900 * SECOND));
    assert_eq!((sla.finished().len(), sla.count), (REMEMBERED, 999));
}

#[test]
fn thresholds_in_the_wrong_order_are_named() {
    let wrong = SlaConfig { good_loss: Percent(0.5), ..agreement() };
    assert_eq!(wrong.check().unwrap_err().0, "acceptable-loss");
    agreement().check().unwrap();
}
