//! What the API shows. Apart from the reflector's own types, so that those may change and these don't.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;
use teaparty_common::maps::Session;

use crate::reflector::config::TimestampFormatSetting;
use crate::reflector::handle::{SessionId, SessionStatus};
use crate::reflector::provisioned::Provisioned;

/// A session in the API: what it is, and its state on every interface that it uses.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// Last segment of its path.
    #[schema(example = "192.0.2.1,0,0.0.0.0,862,61183")]
    pub id: String,
    /// Address of the Session-Sender.
    #[schema(value_type = String, example = "192.0.2.1")]
    pub source: IpAddr,
    /// Its port; 0 for any.
    pub source_port: u16,
    /// Our address; unspecified for any.
    #[schema(value_type = String, example = "0.0.0.0")]
    pub destination: IpAddr,
    /// Our port.
    pub destination_port: u16,
    /// Session-Sender Identifier; 0 for none.
    pub ssid: u16,
    /// True if it, or the wildcard it was made from, was configured.
    pub provisioned: bool,
    /// True if it is authenticated.
    pub authenticated: bool,
    /// Its configuration without the keys; null for one that packets made.
    pub configuration: Option<SessionConfiguration>,
    /// The interfaces that saw it; empty for one that was configured and has no packets yet.
    pub seen: Vec<InterfaceSessionView>,
}

/// Reads the configuration of a session, without its keys.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SessionConfiguration {
    /// True if the octets after the base packet are padding, never TLVs.
    pub no_tlv: bool,
    /// True if the loop guard does not apply.
    pub loop_exempt: bool,
    /// Format of its timestamps; null for the reflector's.
    #[schema(value_type = Option<String>, pattern = "^(ntp|ptp)$")]
    pub timestamp_format: Option<TimestampFormatSetting>,
    /// Pattern that padding is compared with where a packet states no Bit Error Pattern, in hex; null for ff00.
    pub bit_error_pattern: Option<String>,
}

/// A session's state on one interface.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Seen)]
pub struct InterfaceSessionView {
    /// The interface.
    pub interface: String,
    /// The owner of the state: `kernel` or `controller`.
    #[schema(pattern = "^(kernel|controller)$", example = "kernel")]
    pub owner: &'static str,
    /// Packets received.
    pub received: u64,
    /// Replies sent: modulo 2^32, the next reply's Sequence Number.
    pub replies: u64,
    /// Sequence Number of the last request.
    pub last_sender_sequence: u32,
    /// T2 of the last packet, UTC.
    pub last_received: Instant,
}

/// A point in time, UTC, in the form that the namesake uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Instant {
    /// Seconds since 1970.
    pub secs_since_epoch: u64,
    /// Nanoseconds within the second.
    pub nanos_since_epoch: u32,
}

impl Instant {
    /// From nanoseconds since 1970.
    pub const fn from_ns(ns: u64) -> Self {
        Self { secs_since_epoch: ns / 1_000_000_000, nanos_since_epoch: (ns % 1_000_000_000) as u32 }
    }
}

/// A [`SessionId`] as a segment of a path: `source,port,destination,port,ssid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathId(pub SessionId);

impl std::fmt::Display for PathId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SessionId { source, source_port, destination, destination_port, ssid } = self.0;
        write!(f, "{source},{source_port},{destination},{destination_port},{ssid}")
    }
}

impl FromStr for PathId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(',');
        let mut part = || parts.next().ok_or(());
        // An IPv4-mapped address is the IPv4 address: packets come with that one.
        let address = |text: &str| text.parse().map(|ip: IpAddr| ip.to_canonical()).map_err(drop);
        let id = SessionId {
            source: address(part()?)?,
            source_port: part()?.parse().map_err(drop)?,
            destination: address(part()?)?,
            destination_port: part()?.parse().map_err(drop)?,
            ssid: part()?.parse().map_err(drop)?,
        };
        if parts.next().is_some() { Err(()) } else { Ok(Self(id)) }
    }
}

/// The order of sessions in lists.
pub type Order = (IpAddr, u16, IpAddr, u16, u16);

/// A session's place in lists.
pub fn order(id: &SessionId) -> Order {
    (id.source, id.source_port, id.destination, id.destination_port, id.ssid)
}

/// Brings sessions in order, so that what several interfaces know of the same one is side by side.
pub fn sort(all: &mut [SessionStatus]) {
    all.sort_unstable_by_key(|status| order(&status.id));
}

/// Sorted sessions, each with all that is known of it.
pub fn groups(sorted: &[SessionStatus]) -> impl Iterator<Item = &[SessionStatus]> {
    sorted.chunk_by(|one, other| one.id == other.id)
}

impl SessionView {
    /// A session as all interfaces know it; `None` where none does. `provisioned` is what was configured of it.
    pub fn new(group: &[SessionStatus], provisioned: Option<&Provisioned>) -> Option<Self> {
        let SessionId { source, source_port, destination, destination_port, ssid } = group.first()?.id;
        let seen = group.iter().filter_map(|status| {
            Some(InterfaceSessionView {
                interface: status.interface.as_deref()?.to_owned(),
                owner: if status.is_kernel_owned { "kernel" } else { "controller" },
                received: status.received,
                replies: status.replies,
                last_sender_sequence: status.last_sender_sequence,
                last_received: Instant::from_ns(status.last_received_ns),
            })
        });
        Some(Self {
            id: PathId(group[0].id).to_string(),
            source,
            source_port,
            destination,
            destination_port,
            ssid,
            provisioned: group.iter().any(|status| status.is_provisioned),
            authenticated: group.iter().any(|status| status.is_authenticated),
            configuration: provisioned.map(SessionConfiguration::from),
            seen: seen.collect(),
        })
    }
}

impl From<&Provisioned> for SessionConfiguration {
    fn from(session: &Provisioned) -> Self {
        let has = |flag| session.flags & flag != 0;
        let timestamp_format = if has(Session::PTP) {
            Some(TimestampFormatSetting::Ptp)
        } else if has(Session::NTP) {
            Some(TimestampFormatSetting::Ntp)
        } else {
            None
        };
        let pattern = session.bit_error_pattern.as_deref();
        Self {
            no_tlv: has(Session::NO_TLV),
            loop_exempt: has(Session::LOOP_EXEMPT),
            timestamp_format,
            bit_error_pattern: pattern.map(|octets| octets.iter().map(|octet| format!("{octet:02x}")).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(source: &str, interface: &str, received: u64) -> SessionStatus {
        SessionStatus {
            interface: Some(interface.into()),
            id: SessionId {
                source: source.parse().unwrap(),
                source_port: 5001,
                destination: "192.0.2.2".parse().unwrap(),
                destination_port: 862,
                ssid: 7,
            },
            is_provisioned: false,
            is_authenticated: false,
            is_kernel_owned: interface == "a",
            received,
            replies: received,
            last_sender_sequence: 3,
            last_received_ns: 1_700_000_000_500_000_000,
        }
    }

    #[test]
    fn path_segments_name_sessions_both_ways() {
        let id = "2001:db8::1,0,::,862,61183".parse::<PathId>().unwrap();
        assert_eq!((id.0.source_port, id.0.destination_port, id.0.ssid), (0, 862, 61183));
        assert_eq!(id.to_string(), "2001:db8::1,0,::,862,61183");
        for wrong in ["", "x", "192.0.2.1,1,192.0.2.2,862", "192.0.2.1,1,192.0.2.2,862,1,1", "192.0.2.1,65536,::,1,1"] {
            assert!(wrong.parse::<PathId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_session_on_two_interfaces_is_one_entry() {
        let mut all = vec![status("192.0.2.9", "a", 1), status("192.0.2.1", "a", 2), status("192.0.2.9", "b", 3)];
        sort(&mut all);
        let joined: Vec<SessionView> = groups(&all).filter_map(|group| SessionView::new(group, None)).collect();
        let counts: Vec<Vec<u64>> = joined.iter().map(|s| s.seen.iter().map(|seen| seen.received).collect()).collect();
        assert_eq!(counts[0], [2]);
        assert_eq!(counts[1].iter().sum::<u64>(), 4);
        assert_eq!(joined.len(), 2);
        let at = joined[0].seen[0].last_received;
        assert_eq!((at.secs_since_epoch, at.nanos_since_epoch), (1_700_000_000, 500_000_000));
    }
}
