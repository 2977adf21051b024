//! Random frames through the loaded program, through the core on the host, and through the controller's slow path: the
//! same verdict, the same octets. Rules of admission are compared in `differential_admission.rs`.
//!
//! T2 and T3 are taken from the program's reply, since only it can know them, and checked against the clock around the
//! run. Everything else is to be identical. Mutations of the configuration were watched to turn the comparison red,
//! and `a_mutation_is_noticed` watches them again each time.

use std::path::Path;

use teaparty_common::maps::{Clock, Config, LocalAddress, RecordKind};
use teaparty_common::reflect::{Disposition, Policy, Reason};
use teaparty_common::tlv::{CodePoints, HandledBy, Profile, REGISTRY};
use teaparty_common::wire::{Timestamp, TimestampFormat};
use teaparty_testing::frame::{Checksum, Datagram, ip_header, parse};
use teaparty_testing::kernel::{DROP, Kernel, OURS, Outcome, PASS, Punt, TX};
use teaparty_testing::model::{Model, Prediction};
use teaparty_testing::packets::{self, now_tai};
use teaparty_testing::random::Random;
use teaparty_testing::skip::or_skip;
use teaparty_testing::slow_path::Slow;

/// Frames under one configuration.
const ROUND: usize = 2000;
/// Frames in all, on each of two processors; `TEAPARTY_DIFFERENTIAL_FRAMES` says otherwise.
const FRAMES: usize = 500_000;

/// Kernel and host side by side.
pub(super) struct Pair {
    kernel: Kernel,
    model: Model,
    random: Random,
    /// The controller, which is to answer the same.
    slow: Slow,
    tally: [u64; 64],
}

impl Pair {
    pub(super) fn new(kernel: Kernel, seed: u64) -> Self {
        let model = Model::new(kernel.config, kernel.control);
        let slow = Slow::new(kernel.config.policy, true, kernel.control.clock);
        let mut pair = Self { kernel, model, random: Random::new(seed), slow, tally: [0; 64] };
        // For Destination Node Address: a second address of each family, and one of another interface.
        for (ip, flags) in [
            ("198.51.100.21", OURS),
            ("2001:db8:1::21", OURS),
            ("198.51.100.22", LocalAddress::NODE),
            ("2001:db8:1::22", LocalAddress::NODE),
        ] {
            let ip = ip.parse().expect("an address");
            pair.kernel.answer(ip, flags);
            let known =
                if flags & LocalAddress::ANSWERED == 0 { &mut pair.model.elsewhere } else { &mut pair.model.addresses };
            known.insert(teaparty_testing::vectors::address(ip));
        }
        pair
    }

    /// The rules in force.
    pub(super) fn policy(&self) -> Policy {
        self.kernel.config.policy
    }

    /// The clock's state as published.
    pub(super) fn clock(&self) -> Clock {
        self.kernel.control.clock
    }

    /// Another configuration on both sides.
    fn reconfigure(&mut self) {
        let Self { kernel, model, random, .. } = self;
        let mut flags = 0;
        let rarely = [Policy::STRICT, Policy::NO_TLV, Policy::PTP, Policy::RETURN_ADDRESS, Policy::IGNORE_SSID];
        let often = [Policy::COS_LEGACY, Policy::DESTINATION_PORT, Policy::REFLECTED_CONTROL];
        for (of, one_in) in [(rarely.as_slice(), 6), (often.as_slice(), 3)] {
            for flag in of {
                if random.one_in(one_in) {
                    flags |= flag;
                }
            }
        }
        kernel.config.policy = Policy {
            dscp_allowed: if random.one_in(2) { u64::MAX } else { random.next() },
            flags,
            min_payload: random.pick(&[0, 14, 14, 44]),
            micro_session_id: random.pick(&[0, 34]),
            ecn_allowed: random.pick(&[0xf, 0xf, 0, 5]),
            location_hidden: if random.one_in(3) { random.octet() & 0xf } else { 0 },
            code_points: CodePoints::new(if random.one_in(4) { Profile::Earlier } else { Profile::Current }),
            ..Policy::DEFAULT
        };
        kernel.config.flags = if random.one_in(3) { 0 } else { Config::STATEFUL | Config::HISTORY };
        // Else hardly a random tag would be answered, and hardly a wrong checksum.
        kernel.config.flags |= Config::ANY_VLAN | random.pick(&[0, Config::VERIFY_ALL, Config::VERIFY_NONE]);
        kernel.control.active ^= 1;
        kernel.control.clock.tai_offset_ns = random.pick(&[0, 37_000_000_000]);
        kernel.control.clock.error_estimate = random.next() as u16 & 0xbfff;
        kernel.apply();
        kernel.forget();
        model.forget();
        (model.config, model.control) = (kernel.config, kernel.control);
        self.slow = Slow::new(kernel.config.policy, kernel.config.has(Config::STATEFUL), kernel.control.clock);
    }

    /// Compares one random frame. The error says what differs and shows the frame.
    fn step(&mut self) -> Result<Reason, String> {
        let frame = packets::frame(&mut self.random, &self.kernel.config.policy.code_points);
        self.compare(&frame)
    }

    /// Compares one frame.
    pub(super) fn compare(&mut self, frame: &[u8]) -> Result<Reason, String> {
        let before = now_tai();
        let outcome = self.kernel.run(frame);
        let after = now_tai();
        let times = times(&outcome, frame, &mut self.model);
        let mut predicted = self.model.predict(frame, times);
        let punts = self.kernel.punts();
        let reason = settle_reason(&mut predicted, &outcome, &punts);
        self.model.settle(&mut predicted, reason, times.1);
        self.tally[reason as usize] += 1;
        let mut found = judge(&outcome, &predicted, reason, frame, &punts);
        if reason == Reason::Reflected {
            let (format, offset) = (self.model.config.policy.format(), self.model.control.clock.tai_offset_ns);
            let wire = |tai: u64| match format {
                TimestampFormat::Ntp => Timestamp::from_nanos(tai - offset, format).bits(),
                TimestampFormat::Ptp => Timestamp::from_nanos(tai, format).bits(),
            };
            if !(wire(before) <= times.0 && times.0 <= times.1 && times.1 <= wire(after)) {
                found.push(format!("T2 {:016x}, T3 {:016x} are not times of this packet", times.0, times.1));
            }
        }
        if reason == Reason::Reflected && found.is_empty() {
            found.extend(judge_slow(&self.slow, &predicted, frame, &parse(&outcome.frame), times.1));
        }
        if found.is_empty() {
            return Ok(reason);
        }
        Err(format!("{}\npredicted {predicted:02x?}\nframe {}", found.join("\n"), text(frame)))
    }

    /// Compares the counters with what was seen.
    fn check_counters(&self) -> Result<(), String> {
        let counted = self.kernel.counters();
        for (number, (counted, seen)) in counted.iter().zip(self.tally).enumerate() {
            if *counted != seen {
                let reason = Reason::from_number(number as u32);
                return Err(format!("{reason:?}: counted {counted}, seen {seen}"));
            }
        }
        Ok(())
    }
}

/// T2 and T3 of a reply.
fn times(outcome: &Outcome, frame: &[u8], model: &mut Model) -> (u64, u64) {
    if outcome.action != TX {
        return (0, 0);
    }
    let Some(at) = model.clone().predict(frame, (0, 0)).frame.map(|found| found.payload_at()) else { return (0, 0) };
    let time = |at: usize| {
        outcome.frame.get(at..at + 8).map_or(0, |octets| u64::from_be_bytes(octets.try_into().expect("eight octets")))
    };
    (time(at + 16), time(at + 4))
}

/// The reason that holds: where the number of TLVs is one that may or may not be too many, the program's.
fn settle_reason(predicted: &mut Prediction, outcome: &Outcome, punts: &[Punt]) -> Reason {
    let is_punted_for_many =
        outcome.action == DROP && punts.first().is_some_and(|punt| punt.header.reason == Reason::ManyTlvs as u32);
    if predicted.may_be_too_many && is_punted_for_many {
        predicted.reason = Reason::ManyTlvs;
        predicted.meta = predicted.bare_facts.or(predicted.meta);
    }
    predicted.reason
}

/// Returns the contradictions to the prediction.
fn judge(outcome: &Outcome, predicted: &Prediction, reason: Reason, frame: &[u8], punts: &[Punt]) -> Vec<String> {
    let mut found = Vec::new();
    let action = match reason.disposition() {
        Disposition::Reflect => TX,
        Disposition::Pass => PASS,
        Disposition::Punt | Disposition::Drop => DROP,
    };
    if outcome.action != action {
        return vec![format!("action {} and not {action} for {reason:?}; records {punts:?}", outcome.action)];
    }
    if reason != Reason::Reflected && outcome.frame != frame {
        found.push("a frame that is not answered was edited".to_owned());
    }
    match reason.disposition() {
        Disposition::Punt => found.extend(judge_punt(predicted, reason, frame, punts)),
        Disposition::Reflect => {
            found.extend(judge_reply(predicted, &parse(frame), &parse(&outcome.frame)));
            if outcome.frame.len() != frame.len() {
                found.push("the reply has another length".to_owned());
            }
            found.extend(judge_report(predicted, punts));
        }
        // The controller is notified of some drops by the loop guard.
        Disposition::Drop if reason == Reason::LoopGuard && punts.len() == 1 => {
            let header = &punts[0].header;
            if header.kind != RecordKind::LoopGuard as u32 || header.key != predicted.key {
                found.push(format!("the report of a loop is wrong: {header:?}"));
            }
        }
        Disposition::Pass | Disposition::Drop if !punts.is_empty() => found.push(format!("{} records", punts.len())),
        Disposition::Pass | Disposition::Drop => {}
    }
    found
}

fn judge_punt(predicted: &Prediction, reason: Reason, frame: &[u8], punts: &[Punt]) -> Option<String> {
    let [punt] = punts else { return Some(format!("{} records for a punt", punts.len())) };
    let mut expected = predicted.meta.expect("a punted packet has facts");
    let meta = punt.header.meta;
    // The program's clock and tags are its own.
    expected.received_ns = meta.received_ns;
    expected.receive_timestamp = meta.receive_timestamp;
    expected.history_tag = meta.history_tag;
    expected.previous_sender_sequence = meta.previous_sender_sequence;
    let located = predicted.frame.expect("a punted packet has a datagram");
    let header = &punt.header;
    let is_right = punt.frame == frame
        && header.kind == RecordKind::Frame as u32
        && header.reason == reason as u32
        && header.payload_len as usize == located.payload_len
        && usize::from(header.payload_at) == located.payload_at()
        && usize::from(header.ip_at) == located.ip_at
        && header.key == predicted.key
        && meta == expected;
    (!is_right).then(|| format!("the record is wrong: {header:?}, facts expected {expected:?}"))
}

fn judge_reply(predicted: &Prediction, request: &Datagram, reply: &Datagram) -> Vec<String> {
    let mut found = Vec::new();
    let (payload, reply_options) = predicted.reply.as_ref().expect("an answered packet has a reply");
    for (at, (expected, actual)) in payload.iter().zip(&reply.payload).enumerate() {
        if expected != actual {
            found.push(format!("octet {at}: host {expected:02x}, kernel {actual:02x}"));
        }
    }
    let source = reply_options.source.unwrap_or(teaparty_testing::vectors::address(request.destination));
    let mut same = |what: &str, is: bool| {
        if !is {
            found.push(format!("{what} is wrong"));
        }
    };
    same("length", payload.len() == reply.payload.len());
    same("source", teaparty_testing::vectors::address(reply.source) == source);
    same("destination", reply.destination == request.source);
    same("source port", reply.source_port == request.destination_port);
    same("destination port", reply.destination_port == reply_options.destination_port.unwrap_or(request.source_port));
    same("MAC", reply.source_mac == request.destination_mac && reply.destination_mac == request.source_mac);
    same("tags", reply.tags == request.tags);
    same("TTL", reply.ttl == 255);
    same("traffic class", reply.traffic_class == reply_options.traffic_class.0);
    same("header checksum", (reply.header_checksum_error == 0) == (request.header_checksum_error == 0));
    match request.checksum {
        Checksum::None => same("UDP checksum of none", reply.checksum == Checksum::None),
        Checksum::Right | Checksum::Partial => same("UDP checksum", reply.checksum == Checksum::Right),
        Checksum::Wrong(_) => same("wrong UDP checksum", reply.checksum != Checksum::Right),
    }
    found
}

/// Returns the differences to the controller's answer (C285).
fn judge_slow(slow: &Slow, predicted: &Prediction, request: &[u8], reply: &Datagram, timestamp: u64) -> Option<String> {
    let meta = predicted.meta.as_ref().expect("an answered packet has facts");
    match slow.reply(&parse(request).payload, ip_header(request), meta, timestamp) {
        Ok((payload, class)) if payload == reply.payload && class == reply.traffic_class => None,
        Ok((payload, class)) => Some(format!(
            "the slow path answers otherwise, traffic class {class:02x}\nkernel {}\nslow   {}",
            text(&reply.payload),
            text(&payload)
        )),
        Err(reason) => Some(format!("the slow path does not answer: {reason:?}")),
    }
}

/// A valid Access Report, and nothing else, is reported to the controller.
fn judge_report(predicted: &Prediction, punts: &[Punt]) -> Option<String> {
    let (_, reply_options) = predicted.reply.as_ref().expect("an answered packet has a reply");
    let told: Vec<(u32, u32)> = punts.iter().map(|punt| (punt.header.kind, punt.header.reason)).collect();
    let expected: Vec<(u32, u32)> = reply_options
        .access_report
        .iter()
        .map(|report| (RecordKind::AccessReport as u32, u32::from(report.id()) << 8 | u32::from(report.return_code)))
        .collect();
    (told != expected).then(|| format!("reports: expected {expected:?}, told {told:?}"))
}

fn text(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Compares frames under the configuration that holds.
fn compare_as_it_is(pair: &mut Pair, frames: usize) -> Result<(), String> {
    (0..frames).try_for_each(|_| pair.step().map(|_| ()))
}

/// Compares `frames` frames under changing configurations.
fn compare(pair: &mut Pair, frames: usize) -> Result<(), String> {
    for i in 0..frames {
        if i % ROUND == 0 {
            pair.reconfigure();
        }
        pair.step().map_err(|error| format!("frame {i}: {error}"))?;
        if i % ROUND == ROUND - 1 {
            pair.check_counters().map_err(|error| format!("frame {i}: {error}"))?;
        }
    }
    pair.check_counters()
}

fn frames() -> usize {
    std::env::var("TEAPARTY_DIFFERENTIAL_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(FRAMES)
}

fn half(seed: u64) {
    let Some(kernel) = or_skip(Kernel::new()) else { return };
    let mut pair = Pair::new(kernel, seed);
    if let Err(error) = compare(&mut pair, frames()) {
        panic!("seed {seed}: {error}");
    }
    for (number, seen) in pair.tally.iter().enumerate().filter(|(_, seen)| **seen != 0) {
        println!("{:>9} {}", seen, Reason::from_number(number as u32).expect("a reason").label());
    }
    // Variety is part of what is claimed.
    let wanted =
        [Reason::Reflected, Reason::ControllerTlv, Reason::IntegrityTlv, Reason::ManyTlvs, Reason::NoReplyWanted];
    for reason in
        wanted.iter().chain(&[Reason::MicroSession, Reason::IpOptions, Reason::MalformedHeader, Reason::ReplyLoop])
    {
        assert!(pair.tally[*reason as usize] > 0 || frames() < 100_000, "{reason:?} was never met");
    }
}

#[test]
fn kernel_and_host_agree_on_random_frames_c281_c285() {
    half(1);
}

#[test]
fn kernel_and_host_agree_on_other_random_frames_c281_c285() {
    half(2);
}

#[test]
fn frames_that_once_came_out_differently_no_longer_do() {
    let Some(kernel) = or_skip(Kernel::new()) else { return };
    let mut pair = Pair::new(kernel, 4);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/regressions");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path()) {
        let file = entry.file_name().and_then(|name| name.to_str()).expect("a name");
        if !file.starts_with("frame-") || !file.ends_with(".bin") {
            continue;
        }
        pair.compare(&std::fs::read(&entry).expect("its octets")).unwrap_or_else(|error| panic!("{file}: {error}"));
        replayed += 1;
    }
    assert!(replayed > 0, "nothing was replayed");
}

/// Each TLV that the program answers is met and compared: if the host does not know one of them, that shows.
#[test]
fn a_tlv_that_the_host_does_not_know_is_noticed() {
    let kinds = REGISTRY.iter().filter(|entry| entry.handled_by == HandledBy::Kernel);
    for entry in kinds {
        let Some(kernel) = or_skip(Kernel::new()) else { return };
        let mut pair = agreeing_pair(kernel, 5);
        pair.model.config.policy.code_points.0[usize::from(entry.code)] = 0;
        let noticed = (0..20_000).position(|_| pair.step().is_err());
        assert!(noticed.is_some(), "{} was not missed in 20,000 frames", entry.name);
        println!("{}: missed at frame {}", entry.name, noticed.unwrap_or_default());
    }
}

/// A pair under a configuration in which every TLV has something to do, and which agrees.
fn agreeing_pair(kernel: Kernel, seed: u64) -> Pair {
    let mut pair = Pair::new(kernel, seed);
    pair.reconfigure();
    pair.kernel.config.policy = Policy { micro_session_id: 34, flags: Policy::DESTINATION_PORT, ..Policy::DEFAULT };
    pair.kernel.apply();
    pair.model.config = pair.kernel.config;
    pair.slow = Slow::new(pair.kernel.config.policy, true, pair.kernel.control.clock);
    // Without a mutation the same set-up agrees.
    compare_as_it_is(&mut pair, 500).unwrap_or_else(|error| panic!("before any mutation: {error}"));
    pair
}

#[test]
fn a_mutation_is_noticed() {
    type Mutation = (&'static str, fn(&mut Model));
    let mutations: [Mutation; 6] = [
        ("one DSCP refused", |model| model.config.policy.dscp_allowed ^= 1 << 46),
        ("ECN refused", |model| model.config.policy.ecn_allowed ^= 0xf),
        ("another micro-session", |model| model.config.policy.micro_session_id ^= 1),
        ("another clock source", |model| model.control.clock.timestamp_information[2] ^= 1),
        ("a hidden field", |model| model.config.policy.location_hidden ^= 8),
        ("another code point", |model| model.config.policy.code_points.0.swap(3, 201)),
    ];
    for (what, mutate) in mutations {
        let Some(kernel) = or_skip(Kernel::new()) else { return };
        let mut pair = agreeing_pair(kernel, 3);
        mutate(&mut pair.model);
        let noticed = (0..20_000).position(|_| pair.step().is_err());
        assert!(noticed.is_some(), "{what} was not noticed in 20,000 frames");
        println!("{what}: noticed at frame {}", noticed.unwrap_or_default());
    }
}
