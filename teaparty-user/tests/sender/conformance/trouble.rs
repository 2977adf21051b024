//! Late, doubled, overtaken and forged replies, congestion, and packets that never left: what they may not spoil. The last
//! test needs root, for a network namespace of its own.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use teaparty_testing::namespace::alone;
use teaparty_testing::sender::teaparty;
use teaparty_testing::skip::or_skip;

use super::fake::{Fake, open_reply, tlvs};

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn late_doubled_and_overtaken_replies_do_not_spoil_the_figures_c286() {
    let fake = Fake::start(|number, request| {
        let reply = open_reply(request, number);
        match number {
            // Overtaken by the ones after it.
            2 => vec![(Duration::from_millis(120), reply)],
            3 => vec![(AT_ONCE, reply.clone()), (Duration::from_millis(5), reply)],
            // After the timeout; a measurement of 25 packets lasts longer than that.
            4 => vec![(Duration::from_millis(400), reply)],
            _ => vec![(AT_ONCE, reply)],
        }
    });
    let (code, summary) = fake.measure("-c 25 -i 30ms -W 250ms");
    let count = |key: &str| summary[key].as_u64().unwrap();
    assert_eq!((code, count("sent"), count("received"), count("lost")), (0, 25, 24, 1));
    assert_eq!((count("duplicates"), count("late")), (1, 1));
    assert!(count("reordered") >= 1, "{}", count("reordered"));
    assert_eq!(summary["samples"]["total"], json!(24));
}

#[test]
fn what_does_not_fit_ssid_number_and_time_is_ignored_c287() {
    let fake = Fake::start(|number, request| {
        let good = open_reply(request, number);
        let mut forged = Vec::new();
        let mut other = |at: usize| {
            let mut reply = good.clone();
            reply[at] ^= 0x40;
            forged.push((AT_ONCE, reply));
        };
        // Sender's number, sender's timestamp.
        other(27);
        other(35);
        forged.push((AT_ONCE, vec![0xff; 20]));
        forged.push((AT_ONCE, Vec::new()));
        forged.push((Duration::from_millis(1), good));
        forged
    });
    let (code, summary) = fake.measure("");
    assert_eq!((code, &summary["received"], &summary["duplicates"]), (0, &json!(3), &json!(0)));
    assert_eq!((&summary["unmatched"], &summary["ignored"]["malformed"]), (&json!(6), &json!(6)));
}

#[test]
fn a_reply_from_another_port_is_none_of_ours_c287() {
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (to, from) = std::sync::mpsc::channel::<(Vec<u8>, u16)>();
    let fake = Fake::start(move |number, request| {
        let reply = open_reply(request, number);
        to.send((reply.clone(), 0)).unwrap();
        vec![(Duration::from_millis(20), reply)]
    });
    let forger = std::thread::spawn(move || {
        while let Ok((reply, _)) = from.recv() {
            // To all ports that a sender may have chosen would be a flood; ours is the one named.
            stranger.send_to(&reply, ("127.0.0.1", PORT)).unwrap();
        }
    });
    const PORT: u16 = 61_973;
    let (code, summary) = fake.measure(&format!("-i 50ms --src-port {PORT}"));
    assert_eq!((code, &summary["received"], &summary["duplicates"]), (0, &json!(3), &json!(0)));
    assert_eq!(summary["targets"][0]["ignored"]["foreign"], json!(3));
    drop(fake);
    forger.join().unwrap();
}

#[test]
fn congestion_that_is_marked_on_the_way_slows_the_sender_down_c253() {
    // Class of Service: received DSCP 0 with CE, in the bits that STAMP.md 3.4 names.
    let fake = Fake::editing(|reply| {
        reply[48..52].copy_from_slice(&((0b11u32 << 18) | (0b11 << 12)).to_be_bytes());
    });
    let (code, summary) = fake.measure("-c 30 -i 2ms --ecn ect0 tlvs class-of-service --dscp cs0");
    let target = &summary["targets"][0];
    assert_eq!((code, &target["congestion_slowdowns"]), (0, &json!(1)));
    assert_eq!(target["final_interval_factor"], json!(2));
    // Without ECT nobody may mark, and what is marked says nothing.
    let (_, summary) = fake.measure("-c 30 -i 2ms tlvs class-of-service --dscp cs0");
    assert_eq!(summary["targets"][0]["congestion_slowdowns"], json!(0));
}

#[test]
fn congestion_stretches_the_bursts_that_are_asked_for_too_c253() {
    // Every reply says that CE arrived; the burst of two follows the interval that its own request asks for.
    let fake = Fake::start(|number, request| {
        let interval = u32::from_be_bytes(request[52..56].try_into().unwrap());
        let reply = |k: u32| {
            let mut reply = open_reply(request, 2 * number + k);
            reply[64..68].copy_from_slice(&((0b11u32 << 18) | (0b11 << 12)).to_be_bytes());
            (Duration::from_nanos(u64::from(k * interval)), reply)
        };
        vec![reply(0), reply(1)]
    });
    let chain = "reflected-control --count 2 --interval 200ms -- class-of-service --dscp cs0";
    let (code, summary) = fake.measure(&format!("-c 3 -i 2ms -W 150ms --ecn ect0 tlvs {chain}"));
    // No reply is given up too early, though one of them comes 400 ms after its packet.
    let counts = ["received", "lost", "late", "further_replies", "further_replies_lost"].map(|key| &summary[key]);
    assert_eq!((code, counts), (0, [&json!(3), &json!(0), &json!(0), &json!(3), &json!(0)]), "{summary}");
    let asked: Vec<u32> =
        fake.stop().iter().map(|seen| u32::from_be_bytes(seen.payload[52..56].try_into().unwrap())).collect();
    assert_eq!(asked, [200_000_000, 400_000_000, 400_000_000]);
}

#[test]
fn bit_errors_of_both_directions_add_up_over_the_run() {
    // The reflector counts 2 wrong bits in each packet, one run; on the way back two bits of the last octet are damaged.
    let fake = Fake::editing(|reply| {
        let at = |code: u8| tlvs(reply, 44).into_iter().find(|at| reply[at + 1] == code).unwrap() + 4;
        let (count, burst, padding) = (at(241), at(242), at(1));
        reply[count + 3] = 2;
        reply[burst + 3] = 2;
        reply[padding + 15] ^= 0b101;
    });
    let (code, summary) = fake.measure("-c 3 tlvs bit-error-rate --size 16");
    let expected = json!({
        "forward": 6, "forward_octets": 48, "forward_burst_max": 2,
        "backward": 6, "backward_octets": 48, "backward_burst_max": 1,
    });
    assert_eq!((code, &summary["targets"][0]["bit_errors"]), (0, &expected));
    let (code, out, error) =
        teaparty(&format!("sender {} -c 3 -i 2ms -W 400ms tlvs bit-error-rate --size 16", fake.address));
    let line = "bit errors: forward 6 in 48 octets, at most 2 in a row; backward 6 in 48 octets, at most 1 in a row";
    assert!(code == 0 && out.replace("\n    ", " ").contains(line), "{out}{error}");
    let told = "bit errors on the way back: 2 in 16 octets of padding";
    assert_eq!((out + &error).matches(told).count(), 1);
    // Where nothing is measured, nothing is 0.
    let (_, summary) = Fake::editing(|_| {}).measure("tlvs padding --size 16");
    let errors = &summary["targets"][0]["bit_errors"];
    assert_eq!((&errors["forward"], &errors["backward"]), (&json!(null), &json!(null)));
}

#[test]
fn what_this_host_does_not_send_is_lost_nowhere() {
    let outcome = alone(|| {
        let socket = UdpSocket::bind(("127.0.0.1", 8_862)).unwrap();
        let _fake = Fake::on(socket, |number, request| vec![(AT_ONCE, open_reply(request, number))]);
        let rule =
            |words: &str| assert!(Command::new("ip").arg("rule").args(words.split(' ')).status().unwrap().success());
        // Behind which there is room for another rule.
        rule("add pref 100 lookup local");
        rule("del pref 0");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(400));
                rule("add pref 50 to 127.0.0.1 dport 8862 prohibit");
                std::thread::sleep(Duration::from_millis(400));
                rule("del pref 50");
            });
            let options = "-c 150 -i 10ms -W 500ms --stateful-reflector --max-loss 100% --format json";
            let (code, out, error) = teaparty(&format!("sender 127.0.0.1 8862 {options}"));
            let summary: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}{out}"));
            let of = |name: &str| summary[name].as_u64().unwrap();
            let refused = summary["targets"][0]["send_errors"].as_u64().unwrap();
            // No loss exceeds this limit, and a part of the run was not checked.
            assert_eq!((code, of("sent") + refused), (3, 150));
            let said = format!("not checked over the whole run: this host refused to send {refused} of 150 packets");
            assert!(error.contains(&said), "{error}");
            assert!(refused >= 10, "{refused}");
            assert_eq!(of("received") + of("lost"), of("sent"));
            // One may have been under way.
            assert!(of("lost") <= 2 && of("lost_far_end") + of("lost_near_end") == of("lost"), "{summary}");
        });
    });
    or_skip(outcome);
}

#[test]
fn replies_without_times_have_no_delays() {
    let fake = Fake::start(|number, request| {
        let mut reply = open_reply(request, number);
        match number {
            3 => reply[4..12].fill(0),
            6 => reply[16..24].fill(0),
            9 => [4..12, 16..24].into_iter().for_each(|times| reply[times].fill(0)),
            _ => {}
        }
        vec![(AT_ONCE, reply)]
    });
    let (code, summary) = fake.measure("-c 12");
    assert_eq!((code, &summary["received"], &summary["implausible"]), (0, &json!(12), &json!(3)));
    assert_eq!(summary["samples"]["total"], json!(9));
    // Not 126 years.
    let most = summary["variation_ns"]["forward"]["ipdv_max"].as_u64().unwrap();
    assert!(most < 10_000_000_000, "{most}");
}

#[test]
fn jitter_that_could_not_be_measured_is_not_passed() {
    let fake = Fake::start(|number, request| vec![(AT_ONCE, open_reply(request, number))]);
    let (code, summary) = fake.measure("-c 1 --max-jitter 1s");
    let variation = &summary["variation_ns"]["round_trip"];
    assert_eq!((code, &variation["jitter"], &variation["ipdv_mean"]), (3, &json!(null), &json!(null)));
    assert_eq!(fake.measure("-c 2 --max-jitter 10s").0, 0);
}

#[test]
fn a_duration_of_nothing_is_refused() {
    let fake = Fake::silent();
    let (code, _, error) = teaparty(&format!("sender {} -d 0 --max-loss 1%", fake.address));
    assert!(code == 2 && error.contains("--duration 0"), "{code} {error}");
}
