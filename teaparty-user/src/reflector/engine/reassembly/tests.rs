//! Fragments in every order, and what may not be made of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PORT: u16 = 862;
const SECOND: u64 = 1_000_000_000;

/// A reassembly with a clock, for tests.
#[derive(Default)]
struct Bench {
    reassembly: Reassembly,
    counted: Vec<(Reason, u32)>,
    now_ns: u64,
}

impl Bench {
    fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let fragment = match Fragment::parse(frame) {
            Ok(fragment) => fragment,
            Err(reason) => {
                self.counted.push((reason, 1));
                return None;
            }
        };
        let limits = ReassemblyLimits { longest: 1480, listens: &|port| port == PORT };
        let counted = &mut self.counted;
        self.reassembly.take(&fragment, frame, self.now_ns, &limits, &mut |reason, packets| {
            counted.push((reason, packets));
        })
    }

    fn counted(&self, reason: Reason) -> u32 {
        self.counted.iter().filter(|(other, _)| *other == reason).map(|(_, packets)| packets).sum()
    }
}

/// A UDP datagram to `port` with this many octets of payload, none like its neighbours.
fn datagram(port: u16, len: usize) -> Vec<u8> {
    let head = [40_000, port, (8 + len) as u16, 0x1234].map(u16::to_be_bytes).concat();
    head.into_iter().chain((0..len).map(|n| (n * 7 + n / 256) as u8)).collect()
}

/// One fragment's frame; a whole packet's where `at` is 0 and no more follows.
fn frame(is_ipv6: bool, source: u8, identification: u16, (at, has_more): (usize, bool), part: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let is_whole = at == 0 && !has_more;
    if is_ipv6 {
        frame.extend([0x86, 0xdd, 0x62, 0x80, 0, 7]);
        let header = if is_whole { 0 } else { 8 };
        frame.extend(((part.len() + header) as u16).to_be_bytes());
        frame.extend([if is_whole { UDP } else { FRAGMENT }, 61]);
        for last in [source, 99] {
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        if !is_whole {
            frame.extend([UDP, 0]);
            frame.extend((at as u16 | u16::from(has_more)).to_be_bytes());
            frame.extend(u32::from(identification).to_be_bytes());
        }
    } else {
        frame.extend([8, 0]);
        let mut header = vec![0x45, 0x29];
        header.extend(((20 + part.len()) as u16).to_be_bytes());
        header.extend(identification.to_be_bytes());
        header.extend(((at / 8) as u16 | u16::from(has_more) << 13).to_be_bytes());
        header.extend([61, UDP, 0, 0, 192, 0, 2, source, 198, 51, 100, 20]);
        let sum = !checksum::fold(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
        frame.extend(header);
    }
    frame.extend(part);
    frame
}

/// A datagram in fragments of this many octets.
fn cut(is_ipv6: bool, source: u8, identification: u16, datagram: &[u8], len: usize) -> Vec<Vec<u8>> {
    let parts = datagram.chunks(len).enumerate();
    let part = |(n, part): (usize, &[u8])| {
        frame(is_ipv6, source, identification, (n * len, n * len + part.len() < datagram.len()), part)
    };
    parts.map(part).collect()
}

#[test]
fn fragments_in_any_order_make_the_frame_that_was_cut() {
    for is_ipv6 in [false, true] {
        let datagram = datagram(PORT, 100);
        let whole = frame(is_ipv6, 1, 7, (0, false), &datagram);
        let cut = cut(is_ipv6, 1, 7, &datagram, 32);
        assert_eq!(cut.len(), 4);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut bench = Bench::default();
            for (n, index) in order.into_iter().enumerate() {
                let made = bench.take(&cut[index]);
                assert_eq!(made, (n == 3).then(|| whole.clone()), "{order:?}");
            }
            assert_eq!(bench.counted, [(Reason::Fragment, 3)]);
            assert!(bench.reassembly.is_empty() && bench.reassembly.octets == 0);
            assert!(bench.reassembly.of_source.is_empty() && bench.reassembly.by_age.is_empty());
        }
    }
}

#[test]
fn tags_options_and_extension_headers_stay() {
    let datagram = datagram(PORT, 40);
    let tag = [0x81, 0, 0, 5];
    for is_ipv6 in [false, true] {
        let tagged = |mut frame: Vec<u8>| {
            frame.splice(12..12, tag);
            frame
        };
        let mut bench = Bench::default();
        let cut = cut(is_ipv6, 1, 7, &datagram, 24);
        assert_eq!(bench.take(&tagged(cut[0].clone())), None);
        // The same in another VLAN is another datagram.
        assert_eq!(bench.take(&cut[1]), None);
        assert_eq!(bench.take(&tagged(cut[1].clone())), Some(tagged(frame(is_ipv6, 1, 7, (0, false), &datagram))));
    }
    // Hop-by-Hop Options before the Fragment header.
    let optioned = |mut frame: Vec<u8>| {
        let next = std::mem::replace(&mut frame[20], 0);
        frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
        let len = u16::from_be_bytes([frame[18], frame[19]]) + 8;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        frame
    };
    let mut bench = Bench::default();
    let cut = cut(true, 1, 7, &datagram, 24);
    assert_eq!(bench.take(&optioned(cut[0].clone())), None);
    assert_eq!(bench.take(&optioned(cut[1].clone())), Some(optioned(frame(true, 1, 7, (0, false), &datagram))));
}

#[test]
fn duplicates_are_as_one_and_overlaps_end_the_datagram() {
    for is_ipv6 in [false, true] {
        let datagram = datagram(PORT, 100);
        let cut = cut(is_ipv6, 1, 7, &datagram, 32);
        let mut bench = Bench::default();
        for index in [0, 0, 2, 2, 0, 1] {
            assert_eq!(bench.take(&cut[index]), None);
        }
        assert!(bench.take(&cut[3]).is_some());
        assert_eq!(bench.counted, [(Reason::Fragment, 6)]);

        let mut other = datagram[32..64].to_vec();
        other[5] ^= 1;
        let overlaps: [Vec<u8>; 5] = [
            frame(is_ipv6, 1, 7, (32, true), &other),
            frame(is_ipv6, 1, 7, (24, true), &datagram[24..48]),
            frame(is_ipv6, 1, 7, (56, true), &datagram[56..72]),
            frame(is_ipv6, 1, 7, (0, true), &datagram[..72]),
            // An end before what is there.
            frame(is_ipv6, 1, 7, (40, false), &datagram[40..48]),
        ];
        for overlap in overlaps {
            let mut bench = Bench::default();
            assert_eq!((bench.take(&cut[1]), bench.take(&overlap)), (None, None));
            // What comes later is of the same datagram, and not put together either (RFC 5722).
            assert!(cut.iter().all(|frame| bench.take(frame).is_none()));
            assert_eq!((bench.counted(Reason::FragmentDiscarded), bench.reassembly.octets), (6, 0));
            // The next one of this Identification is another one.
            bench.now_ns += REASSEMBLY_TIMEOUT_NS;
            assert_eq!(cut.iter().filter_map(|frame| bench.take(frame)).count(), 1);
        }
        // Beyond the end.
        let mut bench = Bench::default();
        assert_eq!((bench.take(&cut[3]), bench.take(&frame(is_ipv6, 1, 7, (128, true), &[0; 8]))), (None, None));
        assert_eq!(bench.counted, [(Reason::FragmentDiscarded, 2)]);
    }
}

#[test]
fn what_is_missing_is_waited_for_as_long_as_it_may_take() {
    let cut = cut(false, 1, 7, &datagram(PORT, 60), 32);
    let mut bench = Bench::default();
    assert_eq!(bench.take(&cut[0]), None);
    bench.now_ns = REASSEMBLY_TIMEOUT_NS - 1;
    assert_eq!(bench.take(&cut[1]), None);
    assert!(bench.counted.is_empty());
    bench.now_ns = REASSEMBLY_TIMEOUT_NS;
    assert_eq!(bench.take(&cut[2]), None, "its first ones are gone");
    assert_eq!(bench.counted, [(Reason::FragmentDiscarded, 2)]);
    let counted = &mut bench.counted;
    bench.reassembly.expire(3 * REASSEMBLY_TIMEOUT_NS, &mut |reason, packets| counted.push((reason, packets)));
    assert_eq!(bench.counted(Reason::FragmentDiscarded), 3);
    assert!(bench.reassembly.is_empty() && bench.reassembly.octets == 0);
}

#[test]
fn what_is_not_ours_leaves_no_octets() {
    let mut bench = Bench::default();
    // To another port, in order and not.
    for order in [[0, 1], [1, 0]] {
        let cut = cut(false, 1, order[0] as u16, &datagram(53, 60), 40);
        assert!(order.iter().all(|index| bench.take(&cut[*index]).is_none()));
        assert_eq!(bench.reassembly.octets, 0);
    }
    assert_eq!(bench.counted, [(Reason::NotOurPort, 1), (Reason::NotOurPort, 1), (Reason::NotOurPort, 2)]);
    // Longer than what is answered here.
    let mut bench = Bench::default();
    assert!(cut(true, 1, 1, &datagram(PORT, 4000), 1000).iter().all(|frame| bench.take(frame).is_none()));
    assert_eq!((bench.counted(Reason::PuntUnavailable), bench.reassembly.octets), (5, 0));
    // Not UDP.
    let mut tcp = frame(true, 1, 1, (8, true), &[0; 8]);
    tcp[54] = 6;
    assert_eq!(bench.take(&tcp), None);
    assert_eq!(bench.counted(Reason::NotUdp), 1);
}

#[test]
fn what_no_sender_makes_is_refused() {
    let refused = |frame: &[u8]| Fragment::parse(frame).err();
    for is_ipv6 in [false, true] {
        let odd = frame(is_ipv6, 1, 1, (8, true), &[0; 9]);
        let empty = frame(is_ipv6, 1, 1, (8, false), &[]);
        let headless = frame(is_ipv6, 1, 1, (0, true), &[]);
        let long = frame(is_ipv6, 1, 1, (65_528, false), &[0; 64]);
        for frame in [odd, empty, headless, long] {
            assert_eq!(refused(&frame), Some(Reason::FragmentDiscarded));
        }
        let right = frame(is_ipv6, 1, 1, (8, true), &[0; 16]);
        for len in 0..right.len() {
            assert_eq!(refused(&right[..len]), Some(Reason::MalformedHeader), "{len}");
        }
    }
    let mut damaged = frame(false, 1, 1, (8, true), &[0; 16]);
    damaged[22] ^= 1;
    assert_eq!(refused(&damaged), Some(Reason::ChecksumWrong));
}

#[test]
fn an_atomic_fragment_is_a_datagram_of_its_own() {
    let datagram = datagram(PORT, 60);
    let mut bench = Bench::default();
    let cut = cut(true, 1, 7, &datagram, 40);
    assert_eq!(bench.take(&cut[0]), None);
    let mut atomic = frame(true, 1, 7, (0, true), &datagram);
    atomic.truncate(atomic.len() - 4);
    atomic[57] = 0;
    let len = u16::from_be_bytes([atomic[18], atomic[19]]) - 4;
    atomic[18..20].copy_from_slice(&len.to_be_bytes());
    let made = bench.take(&atomic).unwrap();
    assert_eq!((made[20], &made[54..]), (UDP, &datagram[..64]));
    assert_eq!(bench.take(&cut[1]), Some(frame(true, 1, 7, (0, false), &datagram)));
}

#[test]
fn no_source_and_not_all_together_take_more_than_their_part() {
    let datagram = datagram(PORT, 1400);
    let first = |source: u8, identification: u16| cut(false, source, identification, &datagram, 1400).swap_remove(0);
    let mut bench = Bench::default();
    for identification in 0..MOST_OF_SOURCE as u16 {
        bench.take(&first(1, identification));
    }
    assert!(bench.counted.is_empty());
    bench.take(&first(1, 999));
    assert_eq!(bench.counted, [(Reason::FragmentDiscarded, 1)]);
    // Those that are under way are not hurt by it.
    let second = cut(false, 1, 0, &datagram, 1400).swap_remove(1);
    assert!(bench.take(&second).is_some());
    let full = |bench: &Bench| bench.reassembly.partials.len();
    for source in 2..40 {
        for identification in 0..MOST_OF_SOURCE as u16 {
            bench.take(&first(source, identification));
            assert!(full(&bench) <= MOST_DATAGRAMS && bench.reassembly.octets <= MOST_OCTETS);
        }
    }
    assert_eq!(full(&bench), MOST_DATAGRAMS);
    assert_eq!((bench.reassembly.by_age.len(), bench.reassembly.of_source.len()), (MOST_DATAGRAMS, 16));
    // The newest are there, the oldest are not.
    let second = |source: u8| cut(false, source, 63, &datagram, 1400).swap_remove(1);
    assert_eq!((bench.take(&second(39)).is_some(), bench.take(&second(2)).is_some()), (true, false));
    // Of IPv6 a source is a network of 64 bits.
    let host = |n: u8| {
        let mut frame = cut(true, 1, n.into(), &datagram, 1400).swap_remove(0);
        frame[37] = n;
        frame
    };
    let mut bench = Bench::default();
    (0..=MOST_OF_SOURCE as u8).for_each(|n| assert_eq!(bench.take(&host(n)), None));
    assert_eq!(bench.counted, [(Reason::FragmentDiscarded, 1)]);
}

/// A naive reassembly: one octet after the other.
#[derive(Default)]
struct Naive {
    octets: std::collections::BTreeMap<usize, u8>,
    ends: BTreeSet<usize>,
    is_dead: bool,
}

impl Naive {
    fn take(&mut self, at: usize, part: &[u8], has_more: bool) -> Option<Vec<u8>> {
        if self.is_dead {
            return None;
        }
        let places = at..at + part.len();
        let there = places.clone().filter(|place| self.octets.contains_key(place)).count();
        let is_same = places.clone().zip(part).all(|(place, octet)| self.octets.get(&place) == Some(octet));
        let last = self.octets.keys().next_back().map_or(0, |last| last + 1);
        let end = at + part.len();
        let is_beyond =
            self.ends.iter().any(|known| end > *known || !has_more && end != *known) || !has_more && last > end;
        if is_beyond || there > 0 && !(there == part.len() && is_same) {
            self.is_dead = true;
            return None;
        }
        if !has_more && there == 0 {
            self.ends.insert(end);
        }
        self.octets.extend(places.zip(part.iter().copied()));
        let whole: Vec<u8> = self.octets.values().copied().collect();
        self.ends.first().is_some_and(|end| *end == whole.len()).then_some(whole)
    }
}

proptest! {
    #[test]
    fn a_naive_model_makes_the_same(
        is_ipv6: bool,
        pieces in prop::collection::vec((0usize..10, 1usize..5, prop::bool::weighted(0.05)), 1..40),
        len in 40usize..73,
    ) {
        let datagram = datagram(PORT, len - 8);
        let (mut bench, mut naive) = (Bench::default(), Naive::default());
        for (at, units, is_damaged) in pieces {
            let at = at * 8;
            let end = (at + units * 8).min(len);
            let has_more = end < len;
            if at >= end || at == 0 && !has_more {
                continue;
            }
            let mut part = datagram[at..end].to_vec();
            if is_damaged && at > 0 {
                part[0] ^= 0x80;
            }
            let expected = naive.take(at, &part, has_more);
            let made = bench.take(&frame(is_ipv6, 1, 1, (at, has_more), &part));
            let is_whole = expected.is_some();
            prop_assert_eq!(made, expected.map(|octets| frame(is_ipv6, 1, 1, (0, false), &octets)));
            if is_whole {
                (bench, naive) = (Bench::default(), Naive::default());
            }
        }
    }

    #[test]
    fn no_octets_make_it_panic(mut octets in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..4) {
        let head: &[u8] = match kind {
            0 => &[8, 0, 0x45],
            1 => &[0x86, 0xdd, 0x60],
            2 => &[0x81, 0, 0, 1, 8, 0, 0x46],
            _ => &[],
        };
        if octets.len() > 12 + head.len() {
            octets[12..12 + head.len()].copy_from_slice(head);
        }
        let mut bench = Bench { now_ns: SECOND, ..Bench::default() };
        bench.take(&octets);
        prop_assert!(bench.reassembly.octets <= 1480 + EXTRAS + octets.len());
    }
}
