//! Packets whose TLVs are wrong in every way that can be counted, and what the rules say of their replies.
//!
//! Shares nothing with the code that it judges: the Lengths are written out here, from RFC 8972 §4, RFC 9503, RFC 9534,
//! RFC 10052 and the drafts.

const U: u8 = 0x80;
const M: u8 = 0x40;
const I: u8 = 0x20;
const FOLLOW_UP: u8 = 7;
const HMAC: u8 = 8;

/// Types with a meaning, one without, and the reserved one.
pub const CODES: [u8; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 179, 200, 240, 241, 242, 243, 244, 246, 247, 248, 255];

/// Returns true if a TLV of this type may have this Length; `None` for an unknown type.
fn is_right(code: u8, length: usize) -> Option<bool> {
    Some(match code {
        1 | 240 | 244 => true,
        2 | 10 => length >= 4,
        3 | 4 | 6 | 11 | 179 | 241 | 243 | 248 => length == 4,
        5 => length == 12,
        7 | 8 => length == 16,
        9 => length == 4 || length == 16,
        12 => length >= 12,
        242 => length == 4 || length == 8,
        246 => length >= 8 && length.is_multiple_of(8),
        247 => length == 20 || length == 40,
        _ => return None,
    })
}

/// A TLV whose Value is zeros.
pub fn tlv(code: u8, length: usize) -> Vec<u8> {
    lying(code, length as u16, length)
}

/// A TLV that says another Length than it has.
fn lying(code: u8, said: u16, length: usize) -> Vec<u8> {
    [&[U, code][..], &said.to_be_bytes(), &vec![0; length]].concat()
}

/// Returns all cases of octets after the base packet.
pub fn tails() -> Vec<Vec<u8>> {
    let time = tlv(3, 4);
    let mut tails = Vec::new();
    // In every position: alone, first, last, and between two that are well.
    let mut place = |one: &[u8]| {
        tails.extend([one.to_vec(), [one, &time].concat(), [&time, one].concat(), [&time, one, &time].concat()]);
    };
    for code in CODES {
        for length in 0..=64 {
            place(&tlv(code, length));
        }
        for (length, more) in (0..=8).flat_map(|length| [1, 4, 9, 60_000].map(|more| (length, more))) {
            place(&lying(code, length + more, length.into()));
        }
    }
    // Sub-TLVs of Location, Return Path and Reflected Test Packet Control, whole and too long for what holds them.
    for (code, head) in [(2, 4), (10, 0), (12, 8)] {
        for sub in (0..=12).chain([99, 240]) {
            for (length, said) in (0..=64).map(|n| (n, n)).chain([(4, 5), (4, 60_000), (0, 1), (16, 17)]) {
                let body = [vec![0; head], lying(sub, said as u16, length)].concat();
                place(&[&[U, code, 0, body.len() as u8][..], &body].concat());
            }
        }
    }
    // The same again and again: more than a kernel walks, and as many as a packet holds.
    for code in CODES {
        let length = (0..64).find(|length| is_right(code, *length) != Some(false)).unwrap_or(0);
        tails.extend((2..=12).map(|count| tlv(code, length).repeat(count)));
        tails.push(tlv(code, 0).repeat(300));
    }
    // Octets that no header fits into, zero and not.
    for stray in [&[1][..], &[0, 1], &[0, 0, 1], &[0], &[0, 0], &[0, 0, 0]] {
        for chain in [&[][..], &time, &tlv(200, 0), &tlv(1, 5)] {
            tails.push([chain, stray].concat());
        }
    }
    tails
}

/// Returns the faults of a reply to octets like these after the base packet of either.
///
/// For a reflector that has no keys, and obeys nothing that has to be allowed.
pub fn judge(request: &[u8], reply: &[u8]) -> Result<(), String> {
    if request.len() != reply.len() {
        return Err(format!("{} octets instead of {}", reply.len(), request.len()));
    }
    let is_voided = chain(request).any(|(at, whole)| whole && request[at + 1] == HMAC);
    let verbatim = |from: usize| {
        let same = request[from..] == reply[from..];
        if same { Ok(()) } else { Err(format!("octets from {from} on are not as they came")) }
    };
    for (at, is_whole) in chain(request) {
        let flags = reply[at];
        let wrong = |rule: &str| Err(format!("flags {flags:02x} of the TLV at {at}: {rule}"));
        let rest = (at + 1).min(request.len());
        let length = is_whole.then(|| usize::from(u16::from_be_bytes([request[at + 2], request[at + 3]])));
        let end = at + 4 + length.unwrap_or(0);
        if is_voided {
            if flags != I {
                return wrong("every TLV has I without integrity");
            }
            verbatim_range(request, reply, rest, if is_whole { end } else { request.len() })?;
            continue;
        }
        let right = length.map(|length| is_right(request[at + 1], length));
        // Of Class of Service v2 the reflector's own octets are to be zero.
        let is_filled =
            is_whole && request[at + 1] == 248 && end == at + 8 && (request[at + 5], request[at + 7]) != (0, 0);
        let right = if is_filled { Some(Some(false)) } else { right };
        match right {
            None | Some(Some(false)) => {
                if flags & !U != M {
                    return wrong("M and nothing else");
                }
                // Follow-Up Telemetry is cleared even so (RFC 8972 §4.7, erratum 8339).
                let is_cleared = is_whole && request[at + 1] == FOLLOW_UP;
                return verbatim(if is_cleared { end } else { rest });
            }
            Some(None) if flags != U => return wrong("U of an unknown type"),
            Some(Some(true)) if flags & (M | I | 0xf) != 0 => return wrong("neither M nor I, and no reserved flag"),
            Some(Some(true)) if matches!(request[at + 1], 1 | 3) && flags != 0 => return wrong("none"),
            Some(None) => verbatim_range(request, reply, rest, end)?,
            Some(Some(true)) => {}
        }
    }
    Ok(())
}

fn verbatim_range(request: &[u8], reply: &[u8], from: usize, to: usize) -> Result<(), String> {
    let same = request[from..to] == reply[from..to];
    if same { Ok(()) } else { Err(format!("octets {from} to {to} are not as they came")) }
}

/// Returns the offsets of TLVs, and if they are whole, until one is not, or all is zeros.
fn chain(request: &[u8]) -> impl Iterator<Item = (usize, bool)> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let here = at?;
        let rest = &request[here..];
        if rest.iter().all(|octet| *octet == 0) {
            return None;
        }
        let end = match rest {
            [_, _, high, low, ..] => here + 4 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => usize::MAX,
        };
        let is_whole = end <= request.len();
        at = is_whole.then_some(end);
        Some((here, is_whole))
    })
}
