//! What is not signed is refused, octet by octet and in any amount, and does nothing to the sessions that are.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::signed::{BASE, SharedKey, echoed, witness};
use teaparty_testing::reflector::{Net, V4, V6, sequence};
use teaparty_testing::skip::or_skip;

/// Class of Service and Timestamp Information, as a sender sends them.
const TLVS: [u8; 16] = [0x80, 4, 0, 4, 0xb8, 0, 0, 0, 0x80, 3, 0, 4, 0, 0, 0, 0];
/// Octets of the HMAC TLV.
const HMAC_TLV: usize = 20;

/// Returns the number of packets that ended for a reason, by the reflector's summary.
pub(crate) fn count(summary: &str, reason: &str) -> u32 {
    let lines = summary.lines().filter(|line| line.split_whitespace().nth(3) == Some(reason));
    lines.map(|line| line.split_whitespace().last().unwrap().parse::<u32>().unwrap()).sum()
}

/// Returns the offsets of TLVs, as far as their lengths lead.
fn heads(packet: &[u8], base: usize) -> Vec<usize> {
    let next = |at: &usize| {
        let length = packet.get(at + 2..at + 4)?;
        Some(at + 4 + usize::from(u16::from_be_bytes([length[0], length[1]]))).filter(|next| *next < packet.len())
    };
    std::iter::successors(Some(base), next).collect()
}

#[test]
fn every_flipped_octet_of_a_base_packet_is_refused_and_takes_no_number() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(1);
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode, "--auth-key-file", key.path()]);
        for to in [V4, V6] {
            let client = net.client(to, 862);
            let good = key.packet(7, &[], &key);
            for octet in 0..=BASE {
                if octet < BASE {
                    let mut forged = good.clone();
                    forged[octet] ^= 1 << (octet % 8);
                    client.send(&forged);
                }
                // The reply to this one comes next, with the next number: there was none to the other.
                let reply = client.exchange(&good).unwrap_or_else(|| panic!("{mode} {to}: no reply at {octet}"));
                assert_eq!((sequence(&reply), echoed(&reply)), (octet as u32, 7), "{mode} {to}: octet {octet}");
                assert!(octet % 16 != 0 || key.has_signed(&reply), "{mode} {to}: the reply's HMAC at {octet}");
            }
        }
        let ended = reflector.stop();
        assert_eq!(count(&ended.out, "authentication-failed"), 2 * BASE as u32, "{mode}: {}", ended.out);
    }
}

#[test]
fn every_flipped_octet_under_the_hmac_tlv_voids_all_tlvs() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let (key, tlv_key) = (SharedKey::new(2), SharedKey::new(3));
    let keys = ["--tlv-key-file", tlv_key.path(), "--auth-key-file", key.path()];
    for mode in ["native", "off"] {
        for is_authenticated in [true, false] {
            let arguments = [&["--xdp-mode", mode][..], &keys[..if is_authenticated { 4 } else { 2 }]].concat();
            let reflector = net.reflector(&arguments);
            let client = net.client(V4, 862);
            let base = if is_authenticated { BASE } else { 44 };
            let good = if is_authenticated {
                key.packet(9, &TLVS, &tlv_key)
            } else {
                let mut packet = vec![0; base];
                packet[..4].copy_from_slice(&9u32.to_be_bytes());
                packet[13] = 1;
                packet.extend(TLVS);
                let hmac = tlv_key.hmac_tlv(&packet, base);
                packet.extend(hmac);
                packet
            };
            assert_eq!(good.len(), base + TLVS.len() + HMAC_TLV);
            let reply = client.exchange(&good).expect("a reply to what is right");
            assert_eq!([reply[base], reply[base + 8], reply[base + 16]], [0; 3], "{mode}: all three are understood");
            assert_ne!(reply[base..base + 16], good[base..base + 16], "{mode}: and have been filled in");
            let signed = [&reply[..4], &reply[base..base + 16]].concat();
            assert_eq!(reply[base + 20..], tlv_key.hmac(&signed), "{mode}: over the reply's own octets");
            // The Sequence Number, the TLVs in front, and the HMAC; of the HMAC TLV's own head the flags mean nothing.
            let front = base + TLVS.len();
            for octet in (0..4).chain(base..front).chain(front + 4..good.len()) {
                let mut forged = good.clone();
                forged[octet] ^= 1 << (octet % 8);
                if octet < 4 && is_authenticated {
                    key.sign(&mut forged);
                }
                let reply = client.exchange(&forged).unwrap_or_else(|| panic!("{mode}: no reply at {octet}"));
                assert_eq!(reply.len(), forged.len());
                if !is_authenticated && heads(&forged, base).len() < 3 {
                    // A length that leads beyond the end hides the HMAC TLV, which unauthenticated packets need not have: as good
                    // as cut off. The TLV with that length is malformed, and what stands in front of it was in order.
                    let at = *heads(&forged, base).last().unwrap();
                    assert_ne!(reply[at] & 0x40, 0, "{mode}: octet {octet}: M where the length is");
                    continue;
                }
                assert_ne!(reply[base] & 0x20, 0, "{mode}: octet {octet}: I on the first TLV");
                // Nothing but flags has changed.
                let flags = heads(&forged, base);
                for at in (base..reply.len()).filter(|at| !flags.contains(at)) {
                    assert_eq!(reply[at], forged[at], "{mode}: octet {octet} flipped, octet {at} of the reply");
                }
            }
            // In order, so that it leaves no program that the next one would not know of.
            reflector.stop();
        }
    }
}

#[test]
fn one_key_on_both_sides_is_enough_for_tlvs() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(4);
    let _reflector = net.reflector(&["--auth-key-file", key.path()]);
    let reply = net.client(V4, 862).exchange(&key.packet(0, &TLVS, &key)).expect("a reply");
    assert_eq!([reply[BASE], reply[BASE + 8], reply[BASE + 16]], [0; 3]);
}

#[test]
fn a_flood_of_forged_packets_costs_a_good_session_nothing() {
    const GOOD: u32 = 400;
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(5);
    let packets: Vec<Vec<u8>> = (0..GOOD).map(|n| key.packet(n, &[], &key)).collect();
    for mode in ["native", "off"] {
        // With a rate limit that both together stay under.
        let reflector = net.reflector(&["--xdp-mode", mode, "--rate-limit", "50000", "--auth-key-file", key.path()]);
        let good = net.client(V4, 862);
        let stranger = net.client(V4, 862);
        let (asked, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
        let forged = std::thread::scope(|scope| {
            // Ten times the good session's rate, half of it in its very name.
            let flood = scope.spawn(|| {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    if sent >= asked.load(Ordering::Relaxed) * 10 {
                        std::thread::yield_now();
                        continue;
                    }
                    let mut packet = packets[sent as usize % packets.len()].clone();
                    packet[96 + sent as usize % 16] ^= 1;
                    if sent % 2 == 0 {
                        good.send(&packet)
                    } else {
                        stranger.send(&packet)
                    }
                    sent += 1;
                }
                sent
            });
            for (n, packet) in (0..).zip(&packets) {
                asked.fetch_add(1, Ordering::Relaxed);
                let reply = good.exchange(packet).unwrap_or_else(|| panic!("{mode}: no reply to {n}"));
                assert_eq!((sequence(&reply), echoed(&reply)), (n, n), "{mode}");
                std::thread::sleep(Duration::from_micros(300));
            }
            is_over.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        });
        assert!(forged >= 9 * GOOD, "{mode}: the flood was none: {forged}");
        let ended = reflector.stop();
        assert_eq!(count(&ended.out, "reflected"), GOOD, "{mode}: {}", ended.out);
        assert!(count(&ended.out, "authentication-failed") >= forged * 9 / 10, "{mode}: {}", ended.out);
        assert_eq!(count(&ended.out, "rate-limited"), 0, "{mode}: {}", ended.out);
        assert!(ended.out.contains("in 1 session\n"), "forged packets make no session: {}", ended.out);
    }
}
