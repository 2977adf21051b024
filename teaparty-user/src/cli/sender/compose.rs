//! What arguments of the sender mean for its packets: where an HMAC TLV stands, padding to a size, extension headers.

use teaparty_common::tlv::{HEADER_LEN, Kind};
use teaparty_common::wire::Mode;

use crate::cli::tlvs::Chain;
use crate::crypto::Key;
use crate::exit::UsageError;
use crate::sender::schedule::{MANY_PPS, Plan};
use crate::sender::tlvs::request::Request;

/// Puts an HMAC TLV where it belongs and has to be (RFC 8972 §4.8); returns its key, if there is one in the packet.
pub(crate) fn place_hmac(
    chain: &mut Chain,
    mode: Mode,
    key: Option<&Key>,
    tlv_key: Option<Key>,
) -> Result<Option<Key>, UsageError> {
    let is_hmac = |tlv: &Request| tlv.kind == Some(Kind::Hmac);
    let is_asked_for = chain.tlvs.iter().any(is_hmac) || tlv_key.is_some();
    let padding = chain.tlvs.iter().filter(|tlv| tlv.kind == Some(Kind::ExtraPadding)).count();
    let is_lone_padding = chain.access_report.is_none() && chain.tlvs.len() == 1 && padding == 1;
    let has_tlvs = !chain.tlvs.is_empty() || chain.access_report.is_some();
    let is_mandatory = mode == Mode::Authenticated && has_tlvs && !is_lone_padding;
    if !is_asked_for && !is_mandatory {
        return Ok(None);
    }
    let key = tlv_key.or_else(|| key.cloned());
    let key = key.ok_or_else(|| UsageError::new("the HMAC TLV wants a key: --tlv-key-file"))?;
    chain.tlvs.retain(|tlv| !is_hmac(tlv));
    // Behind all others; but padding that may arrive damaged stays outside.
    let at = if chain.omit_checksum { chain.tlvs.len() - 1 } else { chain.tlvs.len() };
    chain.tlvs.insert(at, Request::hmac());
    Ok(Some(key))
}

/// Fills packets up to `size` octets with one Extra Padding TLV at the end.
pub(crate) fn pad(chain: &mut Chain, mode: Mode, size: u16, is_random: bool) -> Result<(), UsageError> {
    let report = chain.access_report.map_or(0, |_| 8);
    let present = mode.base_len() + report + chain.tlvs.iter().map(Request::len).sum::<usize>();
    let missing = usize::from(size).checked_sub(present);
    match missing {
        Some(0) => Ok(()),
        Some(missing) if missing >= HEADER_LEN => {
            chain.tlvs.push(Request::padding((missing - HEADER_LEN) as u16, is_random));
            Ok(())
        }
        _ => Err(UsageError::new(format!(
            "--size {size} can't be: packets have {present} octets without padding, and {} or more with it",
            present + HEADER_LEN
        ))),
    }
}

/// Whether asking the kernel about each packet costs little enough.
pub(crate) fn is_slow(plan: &Plan, targets: usize) -> bool {
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
