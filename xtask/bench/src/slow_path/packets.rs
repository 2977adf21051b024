//! The frames of the load: authenticated packets with a right HMAC, unauthenticated ones with a History TLV, and those without.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use teaparty_common::tlv::{Kind, REGISTRY};
use teaparty_common::wire::{AUTHENTICATED_LEN, HMAC_COVERS, HMAC_LEN, UNAUTHENTICATED_LEN, checksum};

use crate::frames::{OUR_PORT, tlv};
use crate::net::{FAR_MAC, FAR_V4, NEAR_MAC, NEAR_V4};

/// The key of the authenticated sessions, in hexadecimal as `stamp-suite` wants it in a file.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Returns the key in octets.
pub(crate) fn key() -> Vec<u8> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    KEY.as_bytes().chunks(2).map(octet).collect()
}

const SENDER_PORT: u16 = 40_000;
const HEADERS: usize = 14 + 20 + 8;

/// Packets that differ. As in `xtask/bench/ebpf/src/bin/traffic_gen.rs`.
pub(crate) const PACKETS: u32 = 65_536;

/// The fields that differ from packet to packet. As in `xtask/bench/ebpf/src/bin/traffic_gen.rs`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    hmac: [u8; HMAC_LEN],
    sequence: [u8; 4],
    checksum: [u8; 2],
    reserved: [u8; 2],
}

// SAFETY: plain octets without padding between them.
unsafe impl aya::Pod for Fresh {}

/// The packets of the load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Authenticated base packets of 112 octets.
    Authenticated,
    /// Open base packets.
    Base,
    /// Open base packets with room for the last four exchanges.
    History,
}

/// A frame of the load, to be brought up to date for each packet.
pub(crate) struct Template {
    kind: Kinds,
    key: Hmac<Sha256>,
    frame: Vec<u8>,
}

impl Template {
    pub(crate) fn new(kind: Kinds) -> Self {
        let key = key();
        let payload = match kind {
            Kinds::Authenticated => vec![0; AUTHENTICATED_LEN],
            Kinds::Base => vec![0; UNAUTHENTICATED_LEN],
            Kinds::History => {
                let code = REGISTRY.iter().find(|entry| entry.kind == Kind::History).expect("it is known").code;
                [vec![0; UNAUTHENTICATED_LEN], tlv(code, &[0; 4 * 32])].concat()
            }
        };
        let mut this = Self {
            kind,
            key: Hmac::new_from_slice(&key).expect("HMAC takes keys of every length"),
            frame: [headers(payload.len()), payload].concat(),
        };
        let at = HEADERS + if kind == Kinds::Authenticated { 16 } else { 4 };
        // Some time of 2026, and an Error Estimate with Multiplier 1.
        this.frame[at..at + 10].copy_from_slice(&[0xee, 0, 0, 0, 0x80, 0, 0, 0, 0, 1]);
        this.number(0);
        this
    }

    /// Gives the frame a Sequence Number, signs and sums it. Returns what changed.
    pub(crate) fn number(&mut self, sequence: u32) -> Fresh {
        let payload = &mut self.frame[HEADERS..];
        payload[..4].copy_from_slice(&sequence.to_be_bytes());
        let mut fresh =
            Fresh { hmac: [0; HMAC_LEN], sequence: sequence.to_be_bytes(), checksum: [0; 2], reserved: [0; 2] };
        if self.kind == Kinds::Authenticated {
            let mut hmac = self.key.clone();
            hmac.update(&payload[..HMAC_COVERS]);
            let digest = hmac.finalize().into_bytes();
            fresh.hmac.copy_from_slice(&digest[..HMAC_LEN]);
            payload[HMAC_COVERS..AUTHENTICATED_LEN].copy_from_slice(&fresh.hmac);
        }
        let udp = &mut self.frame[HEADERS - 8..];
        udp[6..8].fill(0);
        let addresses = checksum::sum(&FAR_V4.octets()) + checksum::sum(&NEAR_V4.octets());
        let sum = !checksum::fold(checksum::pseudo_header(addresses, udp.len() as u16) + checksum::sum(udp));
        fresh.checksum = if sum == 0 { [0xff; 2] } else { sum.to_ne_bytes() };
        udp[6..8].copy_from_slice(&fresh.checksum);
        fresh
    }

    pub(crate) fn kind(&self) -> Kinds {
        self.kind
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }
}

fn headers(payload_len: usize) -> Vec<u8> {
    let mut frame = [NEAR_MAC, FAR_MAC].concat();
    frame.extend([0x08, 0x00]);
    let mut ip = vec![0x45, 0];
    ip.extend(((20 + 8 + payload_len) as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(FAR_V4.octets());
    ip.extend(NEAR_V4.octets());
    let sum = !checksum::fold(checksum::sum(&ip));
    ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    frame.extend(ip);
    frame.extend(SENDER_PORT.to_be_bytes());
    frame.extend(OUR_PORT.to_be_bytes());
    frame.extend(((8 + payload_len) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_signed_and_summed() {
        let mut template = Template::new(Kinds::Authenticated);
        template.number(9);
        let frame = template.frame().to_vec();
        // python3: hmac.new(bytes(range(32)), frame[42:138], hashlib.sha256).digest()[:16]
        let hmac = u128::from_be_bytes(frame[138..].try_into().unwrap());
        assert_eq!(hmac, 0xe0ae_eae0_1af0_0657_f331_9afa_fc24_ea9e);
        // The sum over the pseudo header and all of the datagram comes out as ones.
        let addresses = checksum::sum(&frame[26..34]);
        let sum = checksum::pseudo_header(addresses, (frame.len() - 34) as u16) + checksum::sum(&frame[34..]);
        assert_eq!(checksum::fold(sum), 0xffff);
    }
}
