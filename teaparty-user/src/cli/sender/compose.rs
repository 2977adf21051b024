//! What arguments of the sender mean for its packets: where an HMAC TLV stands, padding to a size, extension headers.

use crate::sender::config::{MANY_PPS, SchedulePlan};

/// Returns true if asking the kernel about each packet costs little enough.
pub(crate) fn is_slow(plan: &SchedulePlan, targets: usize) -> bool {
    plan.packets_per_second(targets) <= MANY_PPS
}

/// An options header that asks for nothing (RFC 8200 §4.2); its Next Header is the kernel's to fill in.
pub(crate) fn options_header(octets: Option<u16>) -> Vec<u8> {
    /// Experimental option that is skipped where it is unknown (RFC 4727 §3.6).
    const EXPERIMENT: u8 = 0x1e;
    const PAD_N: u8 = 1;
    let Some(octets) = octets else { return Vec::new() };
    let mut header = vec![0; octets.into()];
    header[1] = (octets / 8 - 1) as u8;
    // Linux drops packets with more than seven octets of padding in a row, so longer ones hold an option.
    header[2] = if octets == 8 { PAD_N } else { EXPERIMENT };
    // Of what is left behind type and length.
    header[3] = (octets - 4) as u8;
    header
}
