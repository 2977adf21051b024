//! The TLVs of a sender's packets together, and the rules about their combinations.

use std::net::IpAddr;
use std::time::Duration;

use teaparty_common::tlv::{HEADER_LEN, Kind};
use teaparty_common::wire::Mode;

use super::request::{AccessReportContent, RequestTlv};
use crate::crypto::HmacKey;
use crate::exit_code::UsageError;

/// An Access Report and how persistently it is reported (RFC 8972 §4.6).
#[derive(Clone, Copy, Debug)]
pub struct AccessReportRequest {
    /// The report.
    pub access: AccessReportContent,
    /// It is sent again when no reply has held it for so long.
    pub timer: Duration,
    /// Times that it is sent again at most.
    pub retransmissions: u32,
}

/// The requests of a chain of TLVs.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The TLVs of every packet, in order.
    pub tlvs: Vec<RequestTlv>,
    /// The Access Report, which not every packet carries.
    pub access_report: Option<AccessReportRequest>,
    /// Replies that each packet asks for.
    pub replies_per_packet: u16,
    /// Between two of them, in nanoseconds.
    pub reply_interval_ns: u32,
    /// Another port that replies go to.
    pub reply_port: Option<u16>,
    /// Another address that replies may come from.
    pub reply_sources: Vec<IpAddr>,
    /// Member links.
    pub micro_session: Option<(u16, Option<u16>)>,
    /// True if bit errors are to be seen.
    pub omit_checksum: bool,
    /// True if all targets have IPv6 addresses.
    pub is_v6: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            tlvs: Vec::new(),
            access_report: None,
            replies_per_packet: 1,
            reply_interval_ns: 0,
            reply_port: None,
            reply_sources: Vec::new(),
            micro_session: None,
            omit_checksum: false,
            is_v6: false,
        }
    }
}

impl Chain {
    /// The rules about a sender's combinations of TLVs.
    pub fn check(&self) -> Result<(), UsageError> {
        let count = |kind: Kind| self.tlvs.iter().filter(|tlv| tlv.kind == Some(kind)).count();
        for kind in [Kind::ReturnPath, Kind::Hmac, Kind::BitErrorPattern, Kind::MicroSessionId, Kind::ReflectedControl]
        {
            if count(kind) > 1 {
                return Err(UsageError::new(format!("a packet has one {} TLV at most", kind.entry().name)));
            }
        }
        if count(Kind::BitErrorPattern) == 1 && count(Kind::ExtraPadding) != 1 {
            let text = "bit-error-rate brings its own padding, and there may be no other (stamp-ber-07 §4)";
            return Err(UsageError::new(text));
        }
        // RFC 10052 §4.3.
        let wants_no_reply = self.tlvs.contains(&RequestTlv::control_code(false));
        if wants_no_reply && count(Kind::ReflectedControl) > 0 {
            return Err(UsageError::new("return-path --no-reply and reflected-control contradict each other"));
        }
        // ext-hdr-15: all fixed headers come before any extension header.
        let place = |kind: Kind| self.tlvs.iter().position(|tlv| tlv.kind == Some(kind));
        let last_fixed = self.tlvs.iter().rposition(|tlv| tlv.kind == Some(Kind::ReflectedFixedHeader));
        if let (Some(extension), Some(fixed)) = (place(Kind::ReflectedExtensionHeader), last_fixed)
            && extension < fixed
        {
            let text = "reflected-fixed-header-data comes before reflected-v6-extension-header-data (ext-hdr-15 §3.3)";
            return Err(UsageError::new(text));
        }
        Ok(())
    }
}

/// Puts an HMAC TLV where it belongs and has to be (RFC 8972 §4.8); returns its key, if there is one in the packet.
pub fn place_hmac(
    chain: &mut Chain,
    mode: Mode,
    key: Option<&HmacKey>,
    tlv_key: Option<HmacKey>,
) -> Result<Option<HmacKey>, UsageError> {
    let is_hmac = |tlv: &RequestTlv| tlv.kind == Some(Kind::Hmac);
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
    chain.tlvs.insert(at, RequestTlv::hmac());
    Ok(Some(key))
}

/// Fills packets up to `size` octets with one Extra Padding TLV at the end.
pub fn pad(chain: &mut Chain, mode: Mode, size: u16, is_random: bool) -> Result<(), UsageError> {
    let report = chain.access_report.map_or(0, |_| 8);
    let present = mode.base_len() + report + chain.tlvs.iter().map(RequestTlv::len).sum::<usize>();
    let missing = usize::from(size).checked_sub(present);
    match missing {
        Some(0) => Ok(()),
        Some(missing) if missing >= HEADER_LEN => {
            chain.tlvs.push(RequestTlv::padding((missing - HEADER_LEN) as u16, is_random));
            Ok(())
        }
        _ => Err(UsageError::new(format!(
            "--size {size} can't be: packets have {present} octets without padding, and {} or more with it",
            present + HEADER_LEN
        ))),
    }
}
