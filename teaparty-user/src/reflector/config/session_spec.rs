//! Sessions as the rest of the program names them and provisions them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use teaparty_common::maps::{Session, SessionKey};

use super::TimestampFormatSetting;
use crate::net::address::{address, ip};
use crate::reflector::keys::SessionKeys;
use crate::reflector::provisioned::{Provisioned, ProvisionedSet};

/// A session's addresses, ports and SSID, as in the packets that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SessionId {
    /// Address of the Session-Sender.
    pub source: IpAddr,
    /// Its port; 0 in a provisioned session for any.
    pub source_port: u16,
    /// Our address; unspecified in a provisioned session for any.
    pub destination: IpAddr,
    /// Our port.
    pub destination_port: u16,
    /// Session-Sender Identifier; 0 for none.
    pub ssid: u16,
}

/// A session to be provisioned. It holds keys, and so is never serialised.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// Its key; wildcards as in [`SessionId`].
    pub id: SessionId,
    /// Its keys; one for base packets makes it authenticated.
    pub keys: SessionKeys,
    /// The octets after the base packet are padding.
    pub no_tlv: bool,
    /// The loop guard does not apply.
    pub is_loop_exempt: bool,
    /// Format of timestamps, where it is not the reflector's.
    pub format: Option<TimestampFormatSetting>,
    /// Pattern that Extra Padding is compared with where a packet states no Bit Error Pattern; `None` for ff00.
    pub bit_error_pattern: Option<Arc<[u8]>>,
}

/// Why a session was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is provisioned already.
    #[error("this session exists")]
    Exists,
    /// There is none such.
    #[error("there is no such session")]
    Unknown,
    /// It stands for many, and has no state.
    #[error("this session stands for many")]
    Wildcard,
    /// It is not the one any more that the change is to.
    #[error("the session has changed in the meantime")]
    Outdated,
    /// The two addresses are of different families.
    #[error("source and destination are not of one address family")]
    Families,
    /// There is no room for one more.
    #[error("all {0} places for provisioned sessions are taken")]
    Full(usize),
    /// A map refused it.
    #[error("the kernel does not take the session: {0}")]
    Kernel(String),
}

impl From<&SessionKey> for SessionId {
    fn from(key: &SessionKey) -> Self {
        let source = ip(&key.source);
        // The wildcard is written in the family of the source.
        let destination = match (ip(&key.destination), source) {
            (any, IpAddr::V4(_)) if any.is_unspecified() => std::net::Ipv4Addr::UNSPECIFIED.into(),
            (other, _) => other,
        };
        Self {
            source,
            source_port: key.source_port,
            destination,
            destination_port: key.destination_port,
            ssid: key.ssid,
        }
    }
}

impl TryFrom<SessionId> for SessionKey {
    type Error = SessionError;

    fn try_from(id: SessionId) -> Result<Self, SessionError> {
        if id.source.is_ipv4() != id.destination.is_ipv4() {
            return Err(SessionError::Families);
        }
        let any = teaparty_common::reflect::Address::UNSPECIFIED;
        Ok(Self {
            source: address(id.source),
            destination: if id.destination.is_unspecified() { any } else { address(id.destination) },
            source_port: id.source_port,
            destination_port: id.destination_port,
            ssid: id.ssid,
            reserved: 0,
        })
    }
}

/// Sessions as the engines have them.
pub(crate) fn provisioned(sessions: &[SessionSpec]) -> ProvisionedSet {
    let mut set = ProvisionedSet::default();
    for spec in sessions {
        if let Ok(key) = SessionKey::try_from(spec.id) {
            set.insert(key, spec.provisioned());
        }
    }
    set
}

impl SessionSpec {
    /// A session without keys, of the reflector's own format.
    pub fn new(id: SessionId) -> Self {
        let keys = SessionKeys::default();
        Self { id, keys, no_tlv: false, is_loop_exempt: false, format: None, bit_error_pattern: None }
    }

    /// Returns the session as the engines need it.
    pub fn provisioned(&self) -> Provisioned {
        let mut flags = 0;
        for (flag, is_set) in [
            (Session::NO_TLV, self.no_tlv),
            (Session::LOOP_EXEMPT, self.is_loop_exempt),
            (Session::PTP, self.format == Some(TimestampFormatSetting::Ptp)),
            (Session::NTP, self.format == Some(TimestampFormatSetting::Ntp)),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        let bit_error_pattern = self.bit_error_pattern.clone();
        Provisioned { flags, bit_error_pattern, ..Provisioned::default() }.with_keys(self.keys.clone())
    }
}
