//! What the API shows. Apart from the reflector's own types, so that those may change and these don't.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;

use crate::reflector::handle::{SessionId, SessionStatus};

/// A session in the API: what it is, and its state on every interface that it comes by.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// Last segment of its path.
    pub id: String,
    /// Address of the Session-Sender.
    pub source: IpAddr,
    /// Its port; 0 for any.
    pub source_port: u16,
    /// Address of ours; unspecified for any.
    pub destination: IpAddr,
    /// Port of ours.
    pub destination_port: u16,
    /// Session-Sender Identifier; 0 for none.
    pub ssid: u16,
    /// Whether it, or the wildcard it was made from, was configured.
    pub provisioned: bool,
    /// Whether it is authenticated.
    pub authenticated: bool,
    /// Where it was seen; empty for one that was configured and has not been.
    pub seen: Vec<Seen>,
}

/// A session's state on one interface.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// The interface.
    pub interface: String,
    /// Who keeps the state: `kernel` or `controller`.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instant {
    /// Seconds since 1970.
    pub secs_since_epoch: u64,
    /// Nanoseconds behind that.
    pub nanos_since_epoch: u32,
}

impl Instant {
    /// From nanoseconds since 1970.
    pub const fn from_ns(ns: u64) -> Self {
        Self { secs_since_epoch: ns / 1_000_000_000, nanos_since_epoch: (ns % 1_000_000_000) as u32 }
    }

    /// From nanoseconds of CLOCK_TAI, which is ahead of UTC by `offset_ns`; 0 stays 0.
    pub const fn from_tai_ns(ns: u64, offset_ns: i64) -> Self {
        Self::from_ns(if ns == 0 { 0 } else { ns.saturating_add_signed(-offset_ns) })
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
        let id = SessionId {
            source: part()?.parse().map_err(drop)?,
            source_port: part()?.parse().map_err(drop)?,
            destination: part()?.parse().map_err(drop)?,
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

/// Brings sessions in order and joins what several interfaces know of the same one.
pub fn join(mut all: Vec<SessionStatus>, tai_offset_ns: i64) -> Vec<SessionView> {
    all.sort_unstable_by_key(|status| order(&status.id));
    let mut joined: Vec<SessionView> = Vec::new();
    let mut last: Option<SessionId> = None;
    for status in all {
        if last != Some(status.id) {
            let SessionId { source, source_port, destination, destination_port, ssid } = status.id;
            joined.push(SessionView {
                id: PathId(status.id).to_string(),
                source,
                source_port,
                destination,
                destination_port,
                ssid,
                provisioned: false,
                authenticated: false,
                seen: Vec::new(),
            });
            last = Some(status.id);
        }
        let Some(view) = joined.last_mut() else { continue };
        view.provisioned |= status.is_provisioned;
        view.authenticated |= status.is_authenticated;
        if let Some(interface) = status.interface {
            view.seen.push(Seen {
                interface,
                owner: if status.is_kernel_owned { "kernel" } else { "controller" },
                received: status.received,
                replies: status.replies,
                last_sender_sequence: status.last_sender_sequence,
                last_received: Instant::from_tai_ns(status.last_received_ns, tai_offset_ns),
            });
        }
    }
    joined
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
            last_received_ns: 1_700_000_037_500_000_000,
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
        let all = vec![status("192.0.2.9", "a", 1), status("192.0.2.1", "a", 2), status("192.0.2.9", "b", 3)];
        let joined = join(all, 37_000_000_000);
        let counts: Vec<Vec<u64>> = joined.iter().map(|s| s.seen.iter().map(|seen| seen.received).collect()).collect();
        assert_eq!(counts[0], [2]);
        assert_eq!(counts[1].iter().sum::<u64>(), 4);
        assert_eq!(joined.len(), 2);
        let at = joined[0].seen[0].last_received;
        assert_eq!((at.secs_since_epoch, at.nanos_since_epoch), (1_700_000_000, 500_000_000));
        assert_eq!(Instant::from_tai_ns(0, 37_000_000_000).secs_since_epoch, 0);
    }
}
