//! The options that say what a sender may ask for, on a veth pair, by the XDP program and by sockets. Needs root.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Net, V4};
use teaparty_testing::skip::or_skip;
use teaparty_user::net::batch::{Outgoing, ReceiveBatch, SendBatch};
use teaparty_user::net::socket::{Options, Socket};

const ENGINES: [&[&str]; 3] =
    [&["--xdp-mode", "native"], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]];
const EF: u32 = 46;
const AF11: u32 = 10;

/// A reply: the first TLV whole, and the TOS octet of the packet.
struct Reply {
    tlv: Vec<u8>,
    tos: u8,
}

/// A client that sees how replies are marked.
struct Client(Socket, u32);

impl Client {
    fn new(net: &Net) -> Self {
        let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
        Self(net.in_far(|| Socket::open(&Options::new(any))).unwrap(), 0)
    }

    fn ask(&mut self, tlv: &[u8]) -> Reply {
        let mut packet = vec![0; 44];
        packet[..4].copy_from_slice(&self.1.to_be_bytes());
        packet[12] = 1;
        packet.extend_from_slice(tlv);
        self.1 += 1;
        let mut batch = SendBatch::new();
        batch.push(&Outgoing::to(SocketAddr::new(V4.parse().unwrap(), 862)), &packet);
        self.0.send(&mut batch).unwrap();
        let mut replies = ReceiveBatch::new(1, 2048);
        let end = Instant::now() + Duration::from_secs(3);
        while self.0.receive(&mut replies).unwrap() == 0 {
            assert!(Instant::now() < end, "no reply to {tlv:02x?}");
            std::thread::yield_now();
        }
        let reply = replies.iter().next().unwrap();
        Reply { tlv: reply.payload[44..].to_vec(), tos: reply.traffic_class.unwrap().0 }
    }

    /// Class of Service that asks for these: the word of its Value as it comes back, and the reply's TOS.
    fn class_of_service(&mut self, dscp: u32, ecn: u32) -> (u32, u8) {
        let word = dscp << 26 | ecn << 14;
        let reply = self.ask(&[&[0x80, 4, 0, 4][..], &word.to_be_bytes()].concat());
        assert_eq!(reply.tlv[0], 0);
        (u32::from_be_bytes(reply.tlv[4..8].try_into().unwrap()) ^ word, reply.tos)
    }
}

/// Calls `with` on each engine under these options.
fn under(options: &[&str], with: impl Fn(&mut Client, &str)) {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        let reflector = net.reflector(&[options, engine].concat());
        with(&mut Client::new(&net), &engine.join(" "));
        assert!(reflector.stop().status.success());
    }
}

// Class of Service: RPD in bits 14 and 15, RPE in bits 18 and 19 from the left.
const DSCP_REFUSED: u32 = 1 << 16;
const ECN_APPLIED: u32 = 3 << 12;
const ECN_REFUSED: u32 = 2 << 12;

#[test]
fn dscps_that_are_denied_are_refused_and_others_used_c123_c125_c127() {
    under(&["--deny-dscp", "ef,12"], |client, engine| {
        assert_eq!(client.class_of_service(AF11, 0), (ECN_APPLIED, 10 << 2), "{engine}");
        for denied in [EF, 12] {
            assert_eq!(client.class_of_service(denied, 0), (DSCP_REFUSED | ECN_APPLIED, 0), "{engine}");
        }
    });
    under(&["--deny-dscp", "all"], |client, engine| {
        for denied in [AF11, EF, 63] {
            assert_eq!(client.class_of_service(denied, 1), (DSCP_REFUSED | ECN_APPLIED, 1), "{engine}");
        }
    });
}

#[test]
fn ecn_that_is_denied_is_refused_and_legacy_knows_none_c252() {
    under(&["--deny-ecn", "ect1"], |client, engine| {
        assert_eq!(client.class_of_service(AF11, 2), (ECN_APPLIED, 10 << 2 | 2), "{engine}");
        assert_eq!(client.class_of_service(AF11, 1), (ECN_REFUSED, 10 << 2), "{engine}");
    });
    under(&["--cos-legacy"], |client, engine| {
        // The reserved bits of RFC 8972 are ignored, and zero in the reply.
        let (change, tos) = client.class_of_service(AF11, 1);
        assert_eq!((change, tos), (1 << 14, 10 << 2), "{engine}");
    });
}

#[test]
fn fields_of_location_stay_zero_c115() {
    let location = [&[0x80, 2, 0, 36, 0, 0, 0, 0][..], &sub(1, 8), &sub(7, 16)].concat();
    under(&["--location-hide", "ports", "--location-hide", "source"], |client, engine| {
        let reply = client.ask(&location).tlv;
        assert_eq!(reply[..8], [0, 2, 0, 36, 0, 0, 0, 0], "{engine}: the ports");
        assert_eq!(reply[24..40], [0; 16], "{engine}: the source address");
        // The MAC address is not hidden: without frames in sight it is zero all the same.
        assert_eq!(reply[12..18] == [0; 6], engine == "--xdp-mode off", "{engine}");
    });
    under(&["--location-hide", "source-mac"], |client, engine| {
        let reply = client.ask(&location).tlv;
        assert_eq!(reply[12..20], [0; 8], "{engine}");
        assert_eq!(reply[4..6], 862u16.to_be_bytes(), "{engine}");
        assert_eq!(reply[24..28], [192, 0, 2, 2], "{engine}");
    });
}

fn sub(code: u8, length: u8) -> Vec<u8> {
    [&[0x80, code, 0, length][..], &vec![0; length.into()]].concat()
}

#[test]
fn code_points_are_those_of_the_profile_or_of_their_own() {
    // Whether the History of one entry and the Class of Service v2 are known under these numbers.
    let known = |client: &mut Client, code: u8, length: u8| client.ask(&sub(code, length)).tlv[0] == 0;
    under(&[], |client, engine| {
        let found = [(244, 32), (178, 32), (248, 4), (185, 4)].map(|(code, length)| known(client, code, length));
        assert_eq!(found, [true, false, true, false], "{engine}");
    });
    under(&["--tlv-profile", "earlier"], |client, engine| {
        let found = [(244, 32), (178, 32), (248, 4), (185, 4)].map(|(code, length)| known(client, code, length));
        assert_eq!(found, [false, true, false, true], "{engine}");
    });
    under(&["--tlv-code", "class-of-service-v2=201"], |client, engine| {
        let found = [(201, 4), (248, 4), (244, 32)].map(|(code, length)| known(client, code, length));
        assert_eq!(found, [true, false, true], "{engine}");
    });
}

#[test]
fn type_242_is_a_burst_or_a_heartbeat_by_its_length() {
    under(&[], |client, engine| {
        // A burst without padding to count in is understood and can't be done (C); a heartbeat is only ever sent (U).
        let flags = [4, 8, 5].map(|length| client.ask(&sub(242, length)).tlv[0]);
        assert_eq!((flags[0], flags[1], flags[2] & 0x7f), (0x10, 0x80, 0x40), "{engine}");
    });
}
