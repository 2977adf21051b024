//! Authenticated packets as a Session-Sender makes them, with OpenSSL for the digests: our own code neither signs nor
//! verifies.

use std::io::Write;
use std::process::{Command, Stdio};

/// Octets of an authenticated base packet, and of those that its HMAC covers (RFC 8762 §4.2.2, §4.4).
pub(crate) const BASE: usize = 112;
const COVERED: usize = 96;
/// Offset of the request's Sequence Number in the reply.
const SENDER_SEQUENCE: usize = 48;

/// A key as octets, and as what `--auth-key-file` takes.
pub(crate) struct SharedKey {
    pub(crate) octets: [u8; 32],
    file: tempfile::NamedTempFile,
}

impl SharedKey {
    /// A key that is all its own by `seed`.
    pub(crate) fn new(seed: u8) -> Self {
        Self::of_octets(std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(seed).wrapping_mul(151) ^ 0x5a))
    }

    /// This key.
    pub(crate) fn of_octets(octets: [u8; 32]) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hex:{}", hex(&octets)).unwrap();
        Self { octets, file }
    }

    pub(crate) fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// HMAC-SHA-256/128 by OpenSSL.
    pub(crate) fn hmac(&self, octets: &[u8]) -> [u8; 16] {
        let mut child = Command::new("openssl")
            .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{}", hex(&self.octets)), "-binary"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(octets).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout[..16].try_into().unwrap()
    }

    /// A base packet of this number, with these TLVs after it and, where there are some, an HMAC TLV by `tlv_key`.
    pub(crate) fn packet(&self, sequence: u32, tlvs: &[u8], tlv_key: &SharedKey) -> Vec<u8> {
        let mut packet = vec![0; BASE];
        packet[..4].copy_from_slice(&sequence.to_be_bytes());
        packet[16..26].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
        packet[26..28].copy_from_slice(&[0x12, 0x34]);
        self.sign(&mut packet);
        packet.extend(tlvs);
        if !tlvs.is_empty() {
            packet.extend(tlv_key.hmac_tlv(&packet, BASE));
        }
        packet
    }

    /// Writes the HMAC of a base packet into it.
    pub(crate) fn sign(&self, packet: &mut [u8]) {
        let hmac = self.hmac(&packet[..COVERED]);
        packet[COVERED..BASE].copy_from_slice(&hmac);
    }

    /// The HMAC TLV that goes after a packet whose TLVs begin at `tlvs`.
    pub(crate) fn hmac_tlv(&self, packet: &[u8], tlvs: usize) -> Vec<u8> {
        let hmac = self.hmac(&[&packet[..4], &packet[tlvs..]].concat());
        [&[0x80, 8, 0, 16][..], &hmac].concat()
    }

    /// Returns true if a reply's base packet is signed by this key.
    pub(crate) fn has_signed(&self, reply: &[u8]) -> bool {
        reply[COVERED..BASE] == self.hmac(&reply[..COVERED])
    }
}

/// Returns an error if the tests cannot run: OpenSSL is the witness.
pub(crate) fn witness() -> Result<(), String> {
    Command::new("openssl").arg("version").output().map(drop).map_err(|error| format!("openssl: {error}"))
}

/// The request's Sequence Number in an authenticated reply.
pub(crate) fn echoed(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[SENDER_SEQUENCE..SENDER_SEQUENCE + 4].try_into().unwrap())
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
