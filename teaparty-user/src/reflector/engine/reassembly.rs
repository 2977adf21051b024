//! Puts datagrams together that come in fragments (RFC 791 §3.2, RFC 8200 §4.5), where nobody has done it before us.
//!
//! Does no I/O and reads no clock. What the network can make it keep is bounded: in datagrams and octets, of all sources
//! and of each. Fragments that overlap end their datagram, whole (RFC 5722). Each fragment is counted once, when its
//! fate is known.
//!
//! A duplicate is ignored, as in the kernel (RFC 8200 §4.5). The kernel (6.18, both families) takes for one whatever lies
//! within the octets that are there, and the first octets win. Here they are compared: others than before end the
//! datagram. After an overlap the kernel starts over with the next fragment of this Identification, and makes a
//! datagram of a whole set that follows. Here it is discarded, as RFC 5722 §4 says of fragments that are yet to come.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use teaparty_common::frame::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Tags, UDP_LEN};
use teaparty_common::maps::SourcePrefix;
use teaparty_common::packet_buf::{PacketBuf, ReadOnlyBuf};
use teaparty_common::reflect::{Address, Reason};
use teaparty_common::wire::checksum;

/// Most time between a datagram's fragments. They leave back to back, so that the last one is late by no more than
/// the network's jitter. The 60 s of RFC 8200 would let an IPv4 Identification repeat within that time (RFC 4963).
pub(crate) const REASSEMBLY_TIMEOUT_NS: u64 = 3_000_000_000;
/// Most datagrams under way; a new one takes the place of the oldest.
const MOST_DATAGRAMS: usize = 1024;
/// Most octets kept of all datagrams.
const MOST_OCTETS: usize = 4 << 20;
/// Most datagrams under way from one source (an IPv6 /64, as for the rate limit): a new one is refused.
const MOST_OF_SOURCE: u32 = 64;
/// The part of a source address that has a share.
const SHARE: SourcePrefix = SourcePrefix::DEFAULT;
/// Octets beside the UDP datagram in its fragments: extension headers, octets after it.
const EXTRAS: usize = 256;
/// IPv6 extension headers in front of the Fragment header.
const MAX_EXTENSIONS: usize = 4;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
/// The possible protocols after a Fragment header: UDP, and those that precede it.
const BEFORE_UDP: [u8; 4] =
    [UDP, libc::IPPROTO_HOPOPTS as u8, libc::IPPROTO_ROUTING as u8, libc::IPPROTO_DSTOPTS as u8];
/// Octets of an IPv6 Fragment header, and the unit of offsets.
const UNIT: usize = 8;

/// The headers of a fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    /// Whose it is.
    pub key: FragmentKey,
    is_ipv6: bool,
    /// Offset of the IP header.
    ip_at: usize,
    /// End of the headers of the whole datagram.
    head_end: usize,
    /// Offset of the octet that names the fragmented protocol, and its new value.
    next: (usize, u8),
    /// Range of its data in the frame.
    data: (usize, usize),
    /// Offset of that in the datagram.
    offset: usize,
    /// True if more fragments follow.
    has_more: bool,
}

/// The datagram that a fragment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// VLAN tags.
    pub tags: Tags,
    identification: u32,
}

impl Fragment {
    /// Takes apart a frame in which `parse_headers` has found a fragment.
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, Reason> {
        Self::find(frame).unwrap_or(Err(Reason::MalformedHeader))
    }

    /// `None` where something is cut short.
    fn find(frame: &[u8]) -> Option<Result<Self, Reason>> {
        let octets = ReadOnlyBuf(frame);
        let mut ip_at = ETHERNET_LEN;
        let mut tags = Tags::NONE;
        let mut version = *frame.get(ip_at)?;
        for _ in 0..2 {
            let tag = octets.get::<4>(ip_at - 2)?;
            if !matches!(tag[..2], [0x81, 0] | [0x88, 0xa8]) {
                break;
            }
            tags = tags.and(tag);
            ip_at += 4;
            version = *frame.get(ip_at)?;
        }
        let be16 = |at| octets.get::<2>(at).map(|octets| usize::from(u16::from_be_bytes(octets)));
        if version >> 4 == 4 {
            let header_len = usize::from(version & 0xf) * 4;
            let (total, bits) = (be16(ip_at + 2)?, be16(ip_at + 6)?);
            let header = frame.get(ip_at..ip_at + header_len)?;
            if header_len < IPV4_LEN || total < header_len || ip_at + total > frame.len() {
                return None;
            }
            if checksum::fold(checksum::sum(header)) != 0xffff {
                return Some(Err(Reason::ChecksumWrong));
            }
            let key = FragmentKey {
                source: Address::v4(octets.get::<4>(ip_at + 12)?),
                destination: Address::v4(octets.get::<4>(ip_at + 16)?),
                tags,
                identification: be16(ip_at + 4)? as u32,
            };
            let next = (ip_at + 9, *frame.get(ip_at + 9)?);
            let head_end = ip_at + header_len;
            let data = (head_end, ip_at + total);
            let (offset, has_more) = ((bits & 0x1fff) * UNIT, bits & 0x2000 != 0);
            return Some(Self { key, is_ipv6: false, ip_at, head_end, next, data, offset, has_more }.validate());
        }
        let end = ip_at + IPV6_LEN + be16(ip_at + 4)?;
        let (mut next_at, mut at) = (ip_at + 6, ip_at + IPV6_LEN);
        for _ in 0..MAX_EXTENSIONS {
            if *frame.get(next_at)? == FRAGMENT {
                break;
            }
            next_at = at;
            at += UNIT + usize::from(*frame.get(at + 1)?) * UNIT;
        }
        if *frame.get(next_at)? != FRAGMENT || at + UNIT > end || end > frame.len() {
            return None;
        }
        let bits = be16(at + 2)?;
        let key = FragmentKey {
            source: Address(octets.get::<16>(ip_at + 8)?),
            destination: Address(octets.get::<16>(ip_at + 24)?),
            tags,
            identification: u32::from_be_bytes(octets.get::<4>(at + 4)?),
        };
        let (next, data) = ((next_at, *frame.get(at)?), (at + UNIT, end));
        let (offset, has_more) = (bits & 0xfff8, bits & 1 != 0);
        Some(Self { key, is_ipv6: true, ip_at, head_end: at, next, data, offset, has_more }.validate())
    }

    /// Returns true if it is of IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// Refuses what no sender makes.
    fn validate(self) -> Result<Self, Reason> {
        let len = self.data.1 - self.data.0;
        let is_cut_short = len == 0 || self.has_more && !len.is_multiple_of(UNIT);
        let is_too_long = self.head_end - self.ip_at + self.offset + len > 0xffff;
        // The headers up to UDP's are in the first one, whole (RFC 7112).
        let is_headless = self.offset == 0 && self.next.1 == UDP && len < UDP_LEN;
        if !BEFORE_UDP.contains(&self.next.1) {
            return Err(Reason::NotUdp);
        }
        if is_cut_short || is_too_long || is_headless { Err(Reason::FragmentDiscarded) } else { Ok(self) }
    }

    /// The destination port, where it is known.
    fn port(&self, frame: &[u8]) -> Option<u16> {
        let at = self.data.0 + 2;
        (self.offset == 0 && self.next.1 == UDP)
            .then(|| frame.get(at..at + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]])))
            .flatten()
    }
}

/// A datagram under way.
struct Partial {
    /// Its place among all, by age.
    serial: u64,
    since_ns: u64,
    /// Fragments that it has taken, until their fate is known.
    fragments: u32,
    /// Why it is not put together, once that is known: its octets are gone then, and others are not kept.
    verdict: Option<Reason>,
    /// The first fragment's headers, and where of them the protocol is named.
    head: Option<(Vec<u8>, Fragment)>,
    data: Vec<u8>,
    /// The ranges that have arrived, in order: neighbours are joined.
    runs: Vec<(usize, usize)>,
    total: Option<usize>,
}

impl Partial {
    /// Octets that it takes.
    fn octets(&self) -> usize {
        self.data.len() + self.head.as_ref().map_or(0, |(head, _)| head.len())
    }

    /// Takes a fragment's octets.
    fn add(&mut self, fragment: &Fragment, frame: &[u8]) -> Result<(), Reason> {
        let part = &frame[fragment.data.0..fragment.data.1];
        let (start, end) = (fragment.offset, fragment.offset + part.len());
        let known = self.runs.last().map_or(0, |(_, end)| *end);
        let is_beyond = self.total.is_some_and(|total| end > total || !fragment.has_more && end != total);
        if is_beyond || !fragment.has_more && known > end {
            return Err(Reason::FragmentDiscarded);
        }
        let at = self.runs.partition_point(|(run, _)| *run < start);
        // One that is there already, to the octet, is a duplicate of the network's.
        if self.runs.iter().any(|(run, run_end)| *run <= start && end <= *run_end) {
            return if self.data[start..end] == *part { Ok(()) } else { Err(Reason::FragmentDiscarded) };
        }
        if self.runs.iter().any(|(run, run_end)| start < *run_end && *run < end) {
            return Err(Reason::FragmentDiscarded);
        }
        if !fragment.has_more {
            self.total = Some(end);
        }
        if fragment.offset == 0 {
            self.head = Some((frame[..fragment.head_end].to_vec(), *fragment));
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[start..end].copy_from_slice(part);
        self.runs.insert(at, (start, end));
        // It may close the gap before it, after it, or both.
        for left in [at, at.wrapping_sub(1)] {
            if let (Some(&(_, end)), Some(&(start, next_end))) =
                (self.runs.get(left), self.runs.get(left.wrapping_add(1)))
                && end == start
            {
                self.runs[left].1 = next_end;
                self.runs.remove(left + 1);
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.total.is_some_and(|total| self.runs == [(0, total)])
    }
}

/// The frame that would have come if nobody had fragmented it; `None` does not happen for a whole datagram.
fn join(head: &[u8], first: &Fragment, data: &[u8]) -> Option<Vec<u8>> {
    let mut frame = [head, data].concat();
    *frame.get_mut(first.next.0)? = first.next.1;
    let len = frame.len() - first.ip_at;
    if !first.is_ipv6 {
        let header = frame.get_mut(first.ip_at..first.head_end)?;
        header[2..4].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
        header[6..8].fill(0);
        header[10..12].fill(0);
        let sum = !checksum::fold(checksum::sum(header));
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
    } else {
        let len = u16::try_from(len - IPV6_LEN).ok()?;
        frame.get_mut(first.ip_at + 4..first.ip_at + 6)?.copy_from_slice(&len.to_be_bytes());
    }
    Some(frame)
}

/// All datagrams under way.
#[derive(Default)]
pub(crate) struct Reassembly {
    partials: HashMap<FragmentKey, Partial>,
    by_age: BTreeMap<u64, FragmentKey>,
    of_source: HashMap<Address, u32>,
    octets: usize,
    serial: u64,
}

/// The reflector's limits for reassembly.
pub(crate) struct ReassemblyLimits<'a> {
    /// Octets of the longest UDP datagram that is answered; longer ones are the sockets'.
    pub longest: usize,
    /// Returns true if a port is listened on.
    pub listens: &'a dyn Fn(u16) -> bool,
}

impl Reassembly {
    /// Takes a fragment that came at `now_ns` of CLOCK_MONOTONIC. Gives the frame of the whole datagram if it was the last
    /// one: then this one is to be counted by what becomes of that. `count` is called for all others, with a reason
    /// and their number.
    pub(crate) fn take(
        &mut self,
        fragment: &Fragment,
        frame: &[u8],
        now_ns: u64,
        limits: &ReassemblyLimits<'_>,
        count: &mut dyn FnMut(Reason, u32),
    ) -> Option<Vec<u8>> {
        self.expire(now_ns, count);
        let key = fragment.key;
        if fragment.offset == 0 && !fragment.has_more {
            // A datagram of its own, whatever else has its Identification (RFC 8200 §4.5).
            return join(&frame[..fragment.head_end], fragment, &frame[fragment.data.0..fragment.data.1]);
        }
        let is_full = self.of_source.get(&SHARE.of(&key.source)).is_some_and(|count| *count >= MOST_OF_SOURCE);
        if is_full && !self.partials.contains_key(&key) {
            count(Reason::FragmentDiscarded, 1);
            return None;
        }
        self.make_room(&key, count);
        let serial = &mut self.serial;
        let partial = match self.partials.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                *serial += 1;
                self.by_age.insert(*serial, key);
                *self.of_source.entry(SHARE.of(&key.source)).or_default() += 1;
                entry.insert(Partial {
                    serial: *serial,
                    since_ns: now_ns,
                    fragments: 0,
                    verdict: None,
                    head: None,
                    data: Vec::new(),
                    runs: Vec::new(),
                    total: None,
                })
            }
        };
        if let Some(reason) = partial.verdict {
            count(reason, 1);
            return None;
        }
        let before = partial.octets();
        let verdict = match fragment.port(frame) {
            Some(port) if !(limits.listens)(port) => Err(Reason::NotOurPort),
            _ if fragment.offset + (fragment.data.1 - fragment.data.0) > limits.longest + EXTRAS => {
                Err(Reason::PuntUnavailable)
            }
            _ => partial.add(fragment, frame),
        };
        partial.fragments += 1;
        if let Err(reason) = verdict {
            count(reason, partial.fragments);
            partial.fragments = 0;
            partial.verdict = Some(reason);
            (partial.head, partial.data, partial.runs) = (None, Vec::new(), Vec::new());
        }
        self.octets = self.octets + partial.octets() - before;
        if !partial.is_whole() {
            return None;
        }
        let whole = self.remove(&key)?;
        count(Reason::Fragment, whole.fragments - 1);
        whole.head.and_then(|(head, first)| join(&head, &first, &whole.data))
    }

    /// Gives up what was waited for too long.
    pub(crate) fn expire(&mut self, now_ns: u64, count: &mut dyn FnMut(Reason, u32)) {
        while let Some((_, key)) = self.by_age.first_key_value() {
            let is_late = |partial: &Partial| now_ns.saturating_sub(partial.since_ns) >= REASSEMBLY_TIMEOUT_NS;
            if !self.partials.get(key).is_none_or(is_late) {
                return;
            }
            self.give_up_oldest(count);
        }
    }

    /// Returns true if nothing is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.partials.is_empty()
    }

    /// Has room for one more datagram, and for what the largest one may take.
    fn make_room(&mut self, key: &FragmentKey, count: &mut dyn FnMut(Reason, u32)) {
        let more = usize::from(!self.partials.contains_key(key));
        while self.partials.len() + more > MOST_DATAGRAMS || self.octets > MOST_OCTETS - (1 << 17) {
            // The one that has come on is not given up for itself: its octets alone are fewer.
            if self.by_age.is_empty() {
                return;
            }
            self.give_up_oldest(count);
        }
    }

    fn give_up_oldest(&mut self, count: &mut dyn FnMut(Reason, u32)) {
        let Some((_, key)) = self.by_age.pop_first() else { return };
        if let Some(partial) = self.remove(&key)
            && partial.fragments > 0
        {
            count(Reason::FragmentDiscarded, partial.fragments);
        }
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<Partial> {
        let partial = self.partials.remove(key)?;
        self.by_age.remove(&partial.serial);
        self.octets -= partial.octets();
        if let Entry::Occupied(mut entry) = self.of_source.entry(SHARE.of(&key.source)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        Some(partial)
    }
}

#[cfg(test)]
mod tests;
