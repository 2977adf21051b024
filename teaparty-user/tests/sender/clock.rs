//! A clock that somebody sets while packets are under way: noticed, told, and kept out of the delays.

use std::time::Duration;

use teaparty_testing::sender::{Act, Behaviour, Reflector};
use teaparty_user::sender::config::{SchedulePlan, SenderConfig};
use teaparty_user::sender::engine::event::{SenderEvent, Subscription};
use teaparty_user::sender::engine::run::run;
use teaparty_user::sender::engine::stop::Stop;
use teaparty_user::sender::target::Target;
use teaparty_user::sys::clock::{ClockSource, ClockState, SystemClock};

const STEP_NS: u64 = 5_000_000_000;

/// The host's clock, set forward once at a moment.
struct Stepping {
    at_monotonic_ns: u64,
}

impl ClockSource for Stepping {
    fn realtime_ns(&self) -> u64 {
        let step = if SystemClock.monotonic_ns() >= self.at_monotonic_ns { STEP_NS } else { 0 };
        SystemClock.realtime_ns() + step
    }
    fn monotonic_ns(&self) -> u64 {
        SystemClock.monotonic_ns()
    }
    fn state(&self) -> ClockState {
        ClockState::UNKNOWN
    }
}

#[test]
fn packets_under_way_when_the_clock_is_set_have_no_delays() {
    let delay = Duration::from_millis(60);
    let script = Box::new(move |_| Act { delay, ..Act::default() });
    let reflector = Reflector::start("127.0.0.1", Behaviour { script, ..Behaviour::default() });
    let config = SenderConfig {
        plan: SchedulePlan { interval_ps: 10_000_000_000, count: Some(40), ..SenderConfig::new(Vec::new()).plan },
        kernel_transmit_stamps: false,
        ..SenderConfig::new(vec![Target { name: "reflector".into(), address: reflector.address }])
    };
    let clock = Stepping { at_monotonic_ns: SystemClock.monotonic_ns() + 200_000_000 };
    let mut notices = Vec::new();
    let mut sink = |event: SenderEvent| {
        if let SenderEvent::Notice { text, .. } = event {
            notices.push(text);
        }
    };
    let outcome = run(&config, &clock, &Stop::new().unwrap(), Subscription::default(), &mut sink).unwrap();
    assert_eq!(outcome.clock_steps_ns.len(), 1);
    assert!(outcome.clock_steps_ns[0].abs_diff(STEP_NS as i64) < 1_000_000, "{:?}", outcome.clock_steps_ns);
    // The kernel's clock, which stamps replies, was not really set: from then on they come before they were sent.
    notices.retain(|notice| !notice.contains("can't be right"));
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("+5.000 s"), "{notices:?}");
    let session = &outcome.sessions[0];
    assert_eq!(session.matcher.counts().received, 40);
    // Some six packets are under way at any time.
    let discarded = session.statistics.discarded_by_clock_step;
    assert!((2..=20).contains(&discarded), "{discarded}");
    assert_eq!(session.statistics.round_trip.count() + discarded + session.statistics.implausible, 40);
}
