//! The rate limit of the loaded program: by source network, on clocks that are set, and on two processors.

use std::net::IpAddr;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use teaparty_common::maps::{Config, Session, SessionKey, SourcePrefix, TokenRate, name};
use teaparty_common::reflect::Reason;
use teaparty_testing::frame::Datagram;
use teaparty_testing::kernel::Kernel;
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::session_key;
use teaparty_user::sys::clock::{ClockSource as _, SystemClock};

fn tokens(interval_ns: u64, burst_ns: u64) -> TokenRate {
    TokenRate { interval_ns, burst_ns }
}

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A base packet.
fn packet() -> Datagram {
    let mut octets = vec![0; 44];
    octets[13] = 1;
    Datagram::new(octets)
}

fn from_v6(source: &str) -> Datagram {
    Datagram { source: source.parse::<IpAddr>().expect("an address"), ..Datagram::new_ipv6(packet().payload) }
}

fn reason(kernel: &mut Kernel, datagram: &Datagram) -> Reason {
    kernel.run_counted(&datagram.build()).1
}

/// Has the program take CLOCK_TAI for CLOCK_MONOTONIC except for an offset of this many seconds.
fn publish(kernel: &mut Kernel, seconds_ahead: i64) {
    let offset = SystemClock.tai_ns().wrapping_sub(SystemClock.monotonic_ns());
    kernel.control.clock.monotonic_offset_ns = offset.wrapping_add_signed(-seconds_ahead * SECOND as i64);
    kernel.apply();
}

#[test]
fn all_addresses_of_an_ipv6_network_are_one_source() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.source_rate = tokens(HOUR, 4 * HOUR);
    kernel.apply();
    let hosts = |network: &str| (1..=9).map(|host| from_v6(&format!("2001:db8:{network}::{host}"))).collect::<Vec<_>>();
    let admitted = |kernel: &mut Kernel, from: &[Datagram]| {
        from.iter().filter(|datagram| reason(kernel, datagram) == Reason::Reflected).count()
    };
    // New sessions, then known ones: the slow path and the fast one.
    assert_eq!(admitted(&mut kernel, &hosts("5")), 5);
    assert_eq!(admitted(&mut kernel, &hosts("5")), 0);
    assert_eq!(admitted(&mut kernel, &hosts("5:1")), 5, "another network");
    assert_eq!(kernel.sessions(name::SESSIONS).len(), 10, "who is limited makes no session");
    // By address, if that is what one wants.
    kernel.config.rate_prefix = SourcePrefix::new(128, 24);
    kernel.apply();
    assert_eq!(admitted(&mut kernel, &hosts("6")), 9);
    let v4 = |host| Datagram { source: format!("192.0.2.{host}").parse().expect("an address"), ..packet() };
    assert_eq!(admitted(&mut kernel, &(1..=9).map(v4).collect::<Vec<_>>()), 5, "and IPv4 by network");
}

/// A step of the clock has the effect of a wrong offset: the program sees their difference alone.
#[test]
fn a_clock_that_is_set_stops_no_known_source() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    // Ten packets at once, and then one in half an hour.
    kernel.config.source_rate = tokens(HOUR / 2, 9 * HOUR / 2);
    for seconds in [-120, 7_200, -36_000, 1, -37, 400_000_000, -400_000_000] {
        publish(&mut kernel, 0);
        let datagram = Datagram { source_port: 49_000 + (seconds as u16 & 0xff), ..packet() };
        assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected);
        // The clock is set, the controller has not seen it yet; then it has.
        publish(&mut kernel, seconds);
        assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected, "{seconds} s");
        publish(&mut kernel, 0);
        assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected, "{seconds} s, and seen");
        let session = kernel.sessions(name::SESSIONS)[0].1;
        let age = SystemClock.monotonic_ns().wrapping_sub(session.last_received_ns);
        assert!(age < 10 * SECOND, "{age} ns after {seconds} s");
        kernel.forget();
        kernel.reset_buckets();
    }
}

/// A packet shorter than the base packet, from a source of its own.
fn short(n: u32) -> Datagram {
    let [_, a, b, c] = n.to_be_bytes();
    Datagram { source: std::net::Ipv4Addr::new(10, a, b, c).into(), ..Datagram::new(vec![0; 20]) }
}

#[test]
fn strangers_have_a_budget_of_punts_and_provisioned_sessions_have_none() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.punt_rate = tokens(HOUR, 9 * HOUR);
    let flags = Session::PROVISIONED;
    let (own, any_port) = (short(1), Datagram { source_port: 777, ..short(2) });
    kernel.put_session(name::PROVISIONED, session_key(&own, 0), Session { flags, ..Session::default() });
    let wildcard = SessionKey { source_port: 0, ..session_key(&any_port, 0) };
    let session = Session { flags: flags | Session::WILDCARD, ..Session::default() };
    kernel.put_session(name::PROVISIONED, wildcard, session);
    let keyed = Datagram { source_port: 778, ..short(3) };
    let session = Session { flags: flags | Session::AUTHENTICATED, ..Session::default() };
    kernel.put_session(name::PROVISIONED, session_key(&keyed, 0), session);
    kernel.config.flags |= Config::HAS_PROVISIONED | Config::HAS_WILDCARDS | Config::HAS_AUTHENTICATED;
    publish(&mut kernel, 0);
    let reasons: Vec<Reason> = (100..130).map(|n| reason(&mut kernel, &short(n))).collect();
    let punted = reasons.iter().take_while(|reason| **reason == Reason::ShortPacket).count();
    assert_eq!(punted, 10, "{reasons:?}");
    assert!(reasons[10..].iter().all(|reason| *reason == Reason::PuntLimited), "{reasons:?}");
    assert_eq!(kernel.sessions(name::SESSIONS).len(), 10, "what is not punted makes no session");
    for _ in 0..20 {
        assert_eq!(reason(&mut kernel, &own), Reason::ShortPacket);
        assert_eq!(reason(&mut kernel, &any_port), Reason::ShortPacket, "of a wildcard");
        assert_eq!(reason(&mut kernel, &keyed), Reason::Authenticated);
    }
    assert_eq!(reason(&mut kernel, &packet()), Reason::Reflected, "what the kernel answers itself has no part in it");
    // Where all are authenticated and nobody is provisioned, there is nobody to keep it for.
    kernel.config.flags =
        kernel.config.flags & !(Config::HAS_PROVISIONED | Config::HAS_WILDCARDS) | Config::AUTHENTICATED;
    kernel.control.generation += 1;
    kernel.apply();
    assert_eq!(reason(&mut kernel, &short(200)), Reason::Authenticated);
    // A budget that was used up while the clock was ahead.
    kernel.config.flags &= !Config::AUTHENTICATED;
    kernel.control.generation += 1;
    publish(&mut kernel, 400_000_000);
    assert_eq!(reason(&mut kernel, &short(201)), Reason::ShortPacket);
    publish(&mut kernel, 0);
    assert_eq!(reason(&mut kernel, &short(202)), Reason::ShortPacket);
}

#[test]
fn strangers_fill_half_of_the_ring_at_most() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.punt_rate = tokens(1, SECOND);
    kernel.config.flags |= Config::HAS_PROVISIONED;
    let own = short(1);
    let session = Session { flags: Session::PROVISIONED, ..Session::default() };
    kernel.put_session(name::PROVISIONED, session_key(&own, 0), session);
    publish(&mut kernel, 0);
    let fill = |kernel: &mut Kernel, from: &dyn Fn(u32) -> Datagram| {
        (0..20_000).map(|n| reason(kernel, &from(n))).find(|reason| *reason != Reason::ShortPacket)
    };
    assert_eq!(fill(&mut kernel, &|n| short(100 + n % 500)), Some(Reason::PuntLimited));
    let strangers = kernel.counters()[Reason::ShortPacket as usize];
    assert_eq!(fill(&mut kernel, &|_| own.clone()), Some(Reason::RingFull));
    let all = kernel.counters()[Reason::ShortPacket as usize];
    assert!((all - strangers).abs_diff(strangers) < all / 20, "{strangers} of {all}");
}

#[test]
fn a_flood_of_forged_sources_evicts_no_session_of_a_wildcard() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let customer = |port: u16| Datagram { source_port: port, ..packet() };
    let wildcard = SessionKey { source_port: 0, ..session_key(&customer(1), 0) };
    let session = Session { flags: Session::PROVISIONED | Session::WILDCARD, ..Session::default() };
    kernel.put_session(name::PROVISIONED, wildcard, session);
    kernel.config.flags |= Config::HAS_PROVISIONED | Config::HAS_WILDCARDS;
    publish(&mut kernel, 0);
    let forged = |n: u32| Datagram { payload: packet().payload, ..short(n) };
    for n in 0..200 {
        assert_eq!(reason(&mut kernel, &customer(1_000 + n)), Reason::Reflected);
        for _ in 0..2 {
            assert_eq!(reason(&mut kernel, &forged(n.into())), Reason::Reflected);
        }
    }
    // Twice what the table has room for, and more.
    for n in 1_000..6_000 {
        kernel.run(&forged(n).build());
    }
    let sessions = kernel.sessions(name::SESSIONS);
    let left = |test: &dyn Fn(&SessionKey, &Session) -> bool| sessions.iter().filter(|(k, s)| test(k, s)).count();
    assert_eq!(left(&|key, _| (1_000..1_200).contains(&key.source_port)), 200);
    assert_eq!(left(&|_, session| session.replies == 2), 200, "strangers of two packets stay while there are others");
    assert!(sessions.len() <= 1_024, "{}", sessions.len());
}

#[test]
fn one_source_on_two_processors_gets_its_limit() {
    let Some(kernel) = or_skip(Kernel::new()) else { return };
    let mut kernel = kernel;
    let all = sched_getaffinity(Pid::from_raw(0)).expect("the own processors");
    let processors: Vec<usize> = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu) == Ok(true)).take(2).collect();
    if processors.len() < 2 {
        eprintln!("skipped: there is one processor only");
        return;
    }
    publish(&mut kernel, 0);
    // A burst of half a second, so that nothing is lost where a busy machine keeps both threads waiting.
    for (rate, burst) in [(10_000, 5_000), (100_000, 50_000)] {
        kernel.reset_buckets();
        let interval = SECOND / rate;
        kernel.config.source_rate = tokens(interval, interval * (burst - 1));
        kernel.apply();
        let before = kernel.counters();
        let took = kernel.run_on(&processors, &packet().build(), Duration::from_secs(2));
        let after = kernel.counters();
        let count = |reason: Reason| after[reason as usize] - before[reason as usize];
        let (answered, refused) = (count(Reason::Reflected), count(Reason::RateLimited));
        let most = rate as f64 * took.as_secs_f64() + burst as f64;
        println!("{rate}/s: {answered} answered, {refused} refused in {took:?}");
        assert!((answered as f64) < most * 1.05, "{answered} of {most}");
        // A machine that is busy with other things may have asked for less.
        if refused > answered {
            assert!((answered as f64) > most * 0.95, "{answered} of {most}");
        }
    }
}
