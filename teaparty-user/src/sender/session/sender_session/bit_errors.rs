//! Residual bit errors of both directions, added up over a session (draft-gandhi-ippm-stamp-ber-07 §6.2).

use teaparty_common::tlv::Kind;

use super::SenderSession;
use crate::sender::config::SenderConfig;
use crate::sender::session::matcher;
use crate::sender::tlvs::reply::{ReplyTlv, TlvOutcome};

/// The wrong bits of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrongBits {
    /// Octets of padding that were compared with the pattern; 0 where nothing was measured.
    pub octets: u64,
    /// Bits of them that were wrong.
    pub count: u64,
    /// The longest run of wrong bits in one packet; `None` where that is not known.
    pub burst_max: Option<u32>,
}

/// The bit errors of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitErrors {
    /// In packets, as the reflector's Bit Error Count says.
    pub forward: WrongBits,
    /// In replies: their padding differs from the pattern that the reflector has put back into it.
    pub backward: WrongBits,
}

impl WrongBits {
    /// Returns the wrong bits; `None` where nothing was measured.
    pub fn measured(&self) -> Option<u64> {
        (self.octets > 0).then_some(self.count)
    }

    fn add(&mut self, octets: usize, count: u32, burst: Option<u32>) {
        self.octets += octets as u64;
        self.count += u64::from(count);
        self.burst_max = self.burst_max.max(burst);
    }
}

impl SenderSession {
    /// Adds the bit errors that a reply tells of. Returns the notice when its padding is the first one with errors.
    ///
    /// Each packet counts once, by its first reply. Each reply of a burst has a way back of its own. Padding that the
    /// reflector has not repaired has the errors of both directions and counts for neither.
    pub(super) fn note_bit_errors(
        &mut self,
        found: &[ReplyTlv<'_>],
        kind: matcher::ReplyKind,
        config: &SenderConfig,
    ) -> Option<String> {
        if !matches!(kind, matcher::ReplyKind::Reply | matcher::ReplyKind::Further) {
            return None;
        }
        let counted = u32::from_be_bytes(answered(found, Kind::BitErrorCount)?.try_into().ok()?);
        let pattern = sent(config, Kind::BitErrorPattern).filter(|pattern| !pattern.is_empty())?;
        let octets = sent(config, Kind::ExtraPadding)?.len();
        let BitErrors { forward, backward } = &mut self.bit_errors;
        // More wrong bits than were sent: the count itself was damaged on its way.
        if kind == matcher::ReplyKind::Reply && counted as usize <= octets * 8 {
            let burst = answered(found, Kind::BitErrorBurst)
                .and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)))
                .filter(|burst| *burst <= counted);
            forward.add(octets, counted, burst);
        }
        let padding = only_padding(found)?;
        let (count, burst) = wrong_bits(padding, pattern);
        let is_first = count > 0 && backward.count == 0;
        backward.add(padding.len(), count, Some(burst));
        is_first.then(|| format!("bit errors on the way back: {count} in {} octets of padding", padding.len()))
    }
}

/// Returns the Value of the TLV of this kind that the reflector has filled in.
fn answered<'a>(found: &[ReplyTlv<'a>], kind: Kind) -> Option<&'a [u8]> {
    let is_it = |answer: &&ReplyTlv<'a>| answer.kind == Some(kind) && answer.outcome == TlvOutcome::Answered;
    found.iter().find(is_it).map(|answer| answer.value)
}

/// Returns the Value of the TLV of this kind that packets have.
fn sent(config: &SenderConfig, kind: Kind) -> Option<&[u8]> {
    config.tlvs.iter().find(|tlv| tlv.kind == Some(kind)).map(|tlv| tlv.value.as_slice())
}

/// Returns the Value of a reply's Extra Padding, if it has exactly one that is whole.
fn only_padding<'a>(found: &[ReplyTlv<'a>]) -> Option<&'a [u8]> {
    let mut paddings = found.iter().filter(|answer| answer.kind == Some(Kind::ExtraPadding));
    let (Some(padding), None) = (paddings.next(), paddings.next()) else { return None };
    // Its flags say nothing of its Value.
    let is_whole = !matches!(padding.outcome, TlvOutcome::Malformed | TlvOutcome::Skipped | TlvOutcome::NotAuthentic);
    is_whole.then_some(padding.value)
}

/// Returns how many bits of the padding differ from repetitions of the pattern, and the longest run of them.
fn wrong_bits(padding: &[u8], pattern: &[u8]) -> (u32, u32) {
    let (mut count, mut burst, mut run) = (0, 0, 0);
    for (octet, clean) in padding.iter().zip(pattern.iter().cycle()) {
        let wrong = octet ^ clean;
        count += wrong.count_ones();
        for bit in (0..8).rev() {
            run = if wrong >> bit & 1 != 0 { run + 1 } else { 0 };
            burst = burst.max(run);
        }
    }
    (count, burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::target::Target;
    use crate::sender::tlvs::request::RequestTlv;

    fn answer(kind: Kind, outcome: TlvOutcome, value: &[u8]) -> ReplyTlv<'_> {
        ReplyTlv { code: kind.entry().code, kind: Some(kind), outcome, value }
    }

    #[test]
    fn bits_that_differ_from_the_pattern_are_counted_with_their_longest_run() {
        assert_eq!(wrong_bits(&[0xff, 0, 0xff, 0], &[0xff, 0]), (0, 0));
        // The last bit of the first octet and the first two of the second one, and one bit of the last.
        assert_eq!(wrong_bits(&[0xfe, 0xc0, 0xff, 1], &[0xff, 0]), (4, 3));
        assert_eq!(wrong_bits(&[], &[0xff]), (0, 0));
    }

    #[test]
    fn errors_of_both_directions_add_up_and_each_packet_counts_once() {
        use matcher::ReplyKind::{Duplicate, Further, Late, Reply};
        let mut config =
            SenderConfig::new(vec![Target { name: "peer".into(), address: "192.0.2.1:862".parse().unwrap() }]);
        config.tlvs = RequestTlv::bit_errors(&[0xff, 0], 8).into();
        let mut session = SenderSession::new(&config, 0, 1, 0, 1).unwrap();
        let clean = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];
        let damaged = [0xff, 0x60, 0xff, 0, 0xff, 0, 0xff, 0];
        let mut note = |kind, outcome, count: u32, burst: u32, padding: &[u8]| {
            let (count, burst) = (count.to_be_bytes(), burst.to_be_bytes());
            let found = [
                answer(Kind::BitErrorCount, outcome, &count),
                answer(Kind::BitErrorBurst, outcome, &burst),
                answer(Kind::ExtraPadding, TlvOutcome::Answered, padding),
            ];
            session.note_bit_errors(&found, kind, &config).is_some()
        };
        let notices = [
            note(Reply, TlvOutcome::Answered, 3, 2, &clean),
            note(Reply, TlvOutcome::Answered, 1, 1, &damaged),
            // The same packet's count again, but another way back.
            note(Further, TlvOutcome::Answered, 1, 1, &damaged),
            note(Duplicate, TlvOutcome::Answered, 1, 1, &damaged),
            note(Late, TlvOutcome::Answered, 1, 1, &damaged),
            // Padding that was not repaired.
            note(Reply, TlvOutcome::Unrecognized, 0, 0, &damaged),
            note(Reply, TlvOutcome::NotConformant, 0, 0, &damaged),
            // 8 octets have no 65 bits.
            note(Reply, TlvOutcome::Answered, 65, 1, &clean),
        ];
        assert_eq!(notices, [false, true, false, false, false, false, false, false], "told once");
        let BitErrors { forward, backward } = session.bit_errors;
        assert_eq!(forward, WrongBits { octets: 16, count: 4, burst_max: Some(2) });
        assert_eq!(backward, WrongBits { octets: 32, count: 4, burst_max: Some(2) });
    }

    #[test]
    fn nothing_is_measured_where_nothing_was_asked() {
        let config = SenderConfig::new(vec![Target { name: "peer".into(), address: "192.0.2.1:862".parse().unwrap() }]);
        let mut session = SenderSession::new(&config, 0, 1, 0, 1).unwrap();
        let found = [answer(Kind::ExtraPadding, TlvOutcome::Answered, &[1, 2, 3, 4])];
        assert_eq!(session.note_bit_errors(&found, matcher::ReplyKind::Reply, &config), None);
        assert_eq!((session.bit_errors.forward, session.bit_errors.forward.measured()), (WrongBits::default(), None));
    }
}
