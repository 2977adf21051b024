//! Heartbeats: what reflectors send unasked from their listening port, to say that they are there (the namesake's; no document
//! specifies it).

use super::Policy;
use crate::packet_buf::PacketBuf;
use crate::tlv::{HEADER_LEN, Header, Kind};
use crate::wire::UNAUTHENTICATED_LEN;

/// Sequence Number of every heartbeat.
pub const HEARTBEAT_SEQUENCE: u32 = 0x22;

/// Octets of the Value of a Heartbeat TLV.
const VALUE: usize = 8;

/// Returns true if a payload of `len` octets is a heartbeat: a base packet with the Sequence Number of all of them, and behind
/// it a Heartbeat TLV alone. From a listening port it is no loop, since nobody answers it.
#[inline(always)]
pub fn is_heartbeat<B: PacketBuf>(payload: &B, len: usize, policy: &Policy) -> bool {
    if len != UNAUTHENTICATED_LEN + HEADER_LEN + VALUE || payload.get::<4>(0) != Some(HEARTBEAT_SEQUENCE.to_be_bytes())
    {
        return false;
    }
    let Some(octets) = payload.get::<HEADER_LEN>(UNAUTHENTICATED_LEN) else { return false };
    let header: Header = zerocopy::transmute!(octets);
    let length = header.length.get();
    usize::from(length) == VALUE && policy.code_points.kind(header.code, length) == Kind::Heartbeat as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_buf::ReadOnlyBuf;
    use crate::tlv::{CodePoints, Profile};

    #[test]
    fn a_heartbeat_is_known_by_its_number_and_its_tlv() {
        let mut octets = [0; 56];
        octets[3] = 0x22;
        octets[44..48].copy_from_slice(&[0x80, 242, 0, 8]);
        let is = |octets: &[u8], policy: &Policy| is_heartbeat(&ReadOnlyBuf(octets), octets.len(), policy);
        assert!(is(&octets, &Policy::DEFAULT));
        assert!(!is(&octets[..55], &Policy::DEFAULT));
        for (at, octet) in [(3, 0x23), (45, 243), (47, 4)] {
            let mut other = octets;
            other[at] = octet;
            assert!(!is(&other, &Policy::DEFAULT), "{at}");
        }
        octets[45] = 176;
        let earlier = Policy { code_points: CodePoints::new(Profile::Earlier), ..Policy::DEFAULT };
        assert!(is(&octets, &earlier) && !is(&octets, &Policy::DEFAULT));
    }
}
