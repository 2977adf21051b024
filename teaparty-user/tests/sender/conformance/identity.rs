//! Sessions, ports and what keeps them apart. The tests of ports need root, for a network namespace of their own.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use teaparty_testing::namespace::alone;
use teaparty_testing::skip::or_skip;

use super::fake::{Fake, measure, open_reply};

/// SSIDs in the packets that this reflector got.
fn ssids(fake: Fake) -> BTreeSet<Vec<u8>> {
    fake.stop().into_iter().map(|seen| seen.payload[14..16].to_vec()).collect()
}

#[test]
fn an_ssid_is_in_every_packet_and_no_two_sessions_share_one_c060_c061_c062_c063() {
    for first in ["", "--ssid 65535"] {
        let fakes: Vec<Fake> = (0..3).map(|_| Fake::silent()).collect();
        let targets: Vec<String> = fakes.iter().map(|fake| fake.address.to_string()).collect();
        measure(&targets.join(" "), &format!("-W 1ms -i 500us -c 100 {first}"));
        let sets: Vec<BTreeSet<Vec<u8>>> = fakes.into_iter().map(ssids).collect();
        assert!(sets.iter().all(|set| set.len() == 1), "C063: {sets:?}");
        let all: BTreeSet<_> = sets.into_iter().flatten().collect();
        assert_eq!(all.len(), 3, "C062: {all:?}");
        assert!(!all.contains([0, 0].as_slice()), "C061");
    }
}

#[test]
fn ssid_0_means_that_there_is_none_c061() {
    let fake = Fake::editing(|_| {});
    let (code, summary) = fake.measure("--ssid 0");
    assert_eq!((code, &summary["received"], &summary["targets"][0]["ssid"]), (0, &3.into(), &0.into()));
    assert_eq!(ssids(fake).into_iter().collect::<Vec<_>>(), [[0, 0]]);
}

#[test]
fn a_reply_without_our_ssid_counts_or_ends_the_session_as_asked_c068() {
    let fake = Fake::editing(|reply| reply[14..16].fill(0));
    let (code, summary) = fake.measure("");
    assert_eq!((code, &summary["sent"], &summary["received"]), (0, &3.into(), &3.into()));
    let (code, summary) = fake.measure("-c 1000 --stop-on-zero-ssid");
    assert_eq!(code, 0);
    assert!(summary["sent"].as_u64().unwrap() < 900, "{}", summary["sent"]);
}

#[test]
fn packets_go_to_port_862_or_any_other_that_is_named_c007_c008() {
    let outcome = alone(|| {
        for port in [862, 1024, 8_862, 49_151, 49_152, 65_535] {
            let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
            let fake = Fake::on(socket, |number, request| vec![(Default::default(), open_reply(request, number))]);
            let named = if port == 862 { String::new() } else { format!(" {port}") };
            let (code, summary) = measure(&format!("127.0.0.1{named}"), "--src-port 50000");
            assert_eq!((code, &summary["received"]), (0, &3.into()), "{port}");
            assert_eq!(fake.stop().len(), 3, "{port}");
        }
    });
    or_skip(outcome);
}
