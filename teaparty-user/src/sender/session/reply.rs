//! The base packet of a reply (RFC 8762 §4.3), from STAMP and from TWAMP-Light reflectors. Never panics, for any bytes.

use teaparty_common::wire::{ErrorEstimate, Mode, Timestamp, reflector};
use zerocopy::FromBytes;

use crate::crypto::HmacKey;

/// The fields of a reply that a sender uses; what must be zero is ignored (C035, C038).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply's own Sequence Number.
    pub sequence_number: u32,
    /// T3, in the format of `error_estimate`.
    pub timestamp: Timestamp,
    /// Of the reflector's clock.
    pub error_estimate: ErrorEstimate,
    /// Ours; 0 from a reflector that knows RFC 8762 only.
    pub ssid: u16,
    /// T2, in the format of `error_estimate`.
    pub receive_timestamp: Timestamp,
    /// Sequence Number of our packet.
    pub sender_sequence_number: u32,
    /// T1 as we sent it.
    pub sender_timestamp: Timestamp,
    /// TTL or Hop Limit that our packet arrived with; `None` from a TWAMP-Light reflector that does not tell.
    pub sender_ttl: Option<u8>,
}

/// Why a datagram is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAReply {
    /// Too short to say what it replies to.
    TooShort,
    /// Its HMAC is wrong (RFC 8762 §4.4).
    NotAuthentic,
}

/// The fields of either layout, which have the same names in both.
macro_rules! fields {
    ($packet:ident, $ttl:expr) => {
        Self {
            sequence_number: $packet.sequence_number.get(),
            timestamp: $packet.timestamp,
            error_estimate: $packet.error_estimate,
            ssid: $packet.ssid.get(),
            receive_timestamp: $packet.receive_timestamp,
            sender_sequence_number: $packet.sender_sequence_number.get(),
            sender_timestamp: $packet.sender_timestamp,
            sender_ttl: $ttl,
        }
    };
}

impl Reply {
    /// The reply in a UDP payload. In authenticated mode nothing is looked at before the HMAC is verified.
    ///
    /// Open replies may be as short as TWAMP-Light's: the TTL may be missing, all in front of it may not.
    pub fn parse(payload: &[u8], mode: Mode, key: Option<&HmacKey>) -> Result<Self, NotAReply> {
        match mode {
            Mode::Unauthenticated => Self::open(payload),
            Mode::Authenticated => {
                let (packet, _) =
                    reflector::AuthenticatedReply::read_from_prefix(payload).map_err(|_| NotAReply::TooShort)?;
                if !key.is_some_and(|key| key.verify_base(payload)) {
                    return Err(NotAReply::NotAuthentic);
                }
                Ok(fields!(packet, Some(packet.sender_ttl)))
            }
        }
    }

    fn open(payload: &[u8]) -> Result<Self, NotAReply> {
        const LEN: usize = size_of::<reflector::UnauthenticatedReply>();
        let least = std::mem::offset_of!(reflector::UnauthenticatedReply, mbz_after_error_estimate);
        let ttl_at = std::mem::offset_of!(reflector::UnauthenticatedReply, sender_ttl);
        if payload.len() < least {
            return Err(NotAReply::TooShort);
        }
        let mut octets = [0; LEN];
        let present = payload.len().min(LEN);
        octets[..present].copy_from_slice(&payload[..present]);
        let packet: reflector::UnauthenticatedReply = zerocopy::transmute!(octets);
        Ok(fields!(packet, (payload.len() > ttl_at).then_some(packet.sender_ttl)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every octet its own offset.
    fn numbered(len: u8) -> Vec<u8> {
        (0..len).collect()
    }

    #[test]
    fn open_reply_fields_are_where_the_rfc_has_them() {
        let reply = Reply::parse(&numbered(44), Mode::Unauthenticated, None).unwrap();
        assert_eq!(reply.sequence_number, 0x0001_0203);
        assert_eq!(reply.timestamp.bits(), 0x0405_0607_0809_0a0b);
        assert_eq!((reply.error_estimate.bits(), reply.ssid), (0x0c0d, 0x0e0f));
        assert_eq!(reply.receive_timestamp.bits(), 0x1011_1213_1415_1617);
        assert_eq!(reply.sender_sequence_number, 0x1819_1a1b);
        assert_eq!(reply.sender_timestamp.bits(), 0x1c1d_1e1f_2021_2223);
        assert_eq!(reply.sender_ttl, Some(40));
    }

    #[test]
    fn twamp_light_replies_are_accepted_and_shorter_ones_are_not() {
        assert_eq!(Reply::parse(&numbered(41), Mode::Unauthenticated, None).unwrap().sender_ttl, Some(40));
        assert_eq!(Reply::parse(&numbered(38), Mode::Unauthenticated, None).unwrap().sender_ttl, None);
        assert_eq!(Reply::parse(&numbered(37), Mode::Unauthenticated, None), Err(NotAReply::TooShort));
    }

    #[test]
    fn a_reply_with_a_wrong_hmac_is_none_c042() {
        let key = HmacKey::new(b"key").unwrap();
        let mut payload = numbered(112);
        assert_eq!(Reply::parse(&payload, Mode::Authenticated, Some(&key)), Err(NotAReply::NotAuthentic));
        key.sign_base(&mut payload);
        let reply = Reply::parse(&payload, Mode::Authenticated, Some(&key)).unwrap();
        assert_eq!((reply.receive_timestamp.bits() >> 56, reply.sender_sequence_number >> 24), (32, 48));
        assert_eq!((reply.sender_timestamp.bits() >> 56, reply.sender_ttl), (64, Some(80)));
        assert_eq!(Reply::parse(&payload, Mode::Authenticated, None), Err(NotAReply::NotAuthentic));
        assert_eq!(Reply::parse(&payload[..111], Mode::Authenticated, Some(&key)), Err(NotAReply::TooShort));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..150)) {
            let key = HmacKey::new(b"key").unwrap();
            let _ = Reply::parse(&payload, Mode::Unauthenticated, None);
            let _ = Reply::parse(&payload, Mode::Authenticated, Some(&key));
        }
    }
}
