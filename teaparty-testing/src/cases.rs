//! Reads `testing_data/vectors/tlvs.toml`: TLVs and what comes back, worked out by hand.

use std::path::Path;

use serde::Deserialize;
use teaparty_common::reflect::Policy;

/// One line of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Rows of the conformance list that it shows.
    pub rows: Vec<String>,
    request: String,
    reply: Option<String>,
    /// Label of the end of a packet that is not answered.
    pub end: Option<String>,
    #[serde(default)]
    undefined_u: Vec<usize>,
    /// TOS of the reply, where a TLV asks for one.
    pub tos: Option<u8>,
    #[serde(default)]
    location_hidden: u8,
    #[serde(default)]
    micro_session_id: u16,
    /// Access Reports to the controller.
    #[serde(default)]
    pub reports: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

impl Case {
    /// UDP payload of the request.
    pub fn request(&self) -> Vec<u8> {
        [BASE.as_slice(), &hex(&self.request)].concat()
    }

    /// Returns the octets after the base packet of the reply and the bits that count; `None` where there is no reply.
    pub fn reply_tail(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let reply = hex(self.reply.as_ref()?);
        let mut mask = vec![0xff; reply.len()];
        for at in &self.undefined_u {
            mask[*at] = 0x7f;
        }
        Some((reply, mask))
    }

    /// Rules of the reflector.
    pub fn policy(&self) -> Policy {
        Policy { location_hidden: self.location_hidden, micro_session_id: self.micro_session_id, ..Policy::DEFAULT }
    }
}

/// An unauthenticated packet with Sequence Number 1, a time, the Error Estimate 0x8a05 and SSID 5.
pub const BASE: [u8; 44] = {
    let mut base = [0; 44];
    let head = [0, 0, 0, 1, 0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 5, 0, 5];
    let mut i = 0;
    while i < head.len() {
        base[i] = head[i];
        i += 1;
    }
    base
};

/// All cases. Panics where the file is not as it should be.
pub fn all() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/vectors/tlvs.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for case in &file.case {
        assert!(case.reply.is_some() != case.end.is_some(), "{}: a reply, or an end", case.name);
    }
    file.case
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{text}: {c} is no hexadecimal digit")) as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "{text}: an odd number of digits");
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
