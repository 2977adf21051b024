//! What a client asks to capture.

use std::net::IpAddr;
use std::time::Duration;

use teaparty_common::maps::capture::{CaptureFilter, MAX_SNAPLEN};
use teaparty_common::maps::{SessionKey, TokenRate};
use teaparty_common::reflect::{Address, Disposition, REASONS, Reason};

use super::packet::CapturedPacket;
use crate::net::address::address;
use crate::reflector::config::session_spec::SessionId;

/// Frames that a capture gets in a second where it does not say.
pub const DEFAULT_RATE: u32 = 10_000;
/// Most frames that a capture gets in a second.
pub const MAX_RATE: u32 = 1_000_000;
/// Most octets of a frame, and fewest.
pub const SNAPLEN: (u32, u32) = (14, MAX_SNAPLEN as u32);

/// The time whose right to frames is saved up.
const BURST: Duration = Duration::from_millis(10);

/// The frames that a capture gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CaptureDirection {
    /// As they arrived
    In,
    /// As they left
    Out,
    /// Both
    #[default]
    Both,
}

/// What is captured, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRequest {
    /// Only packets by the interface of this name.
    pub interface: Option<String>,
    /// The frames.
    pub direction: CaptureDirection,
    /// Only packets with one of these verdicts; all where there is none.
    pub verdicts: Vec<Disposition>,
    /// Only packets with one of these reasons; all where there is none.
    pub reasons: Vec<Reason>,
    /// Only packets from or to this address.
    pub host: Option<IpAddr>,
    /// Only packets of this session.
    pub session: Option<SessionId>,
    /// Only packets of authenticated sessions.
    pub is_authenticated: bool,
    /// Most octets of a frame.
    pub snaplen: u32,
    /// Frames after which it ends.
    pub count: Option<u64>,
    /// Time after which it ends.
    pub duration: Option<Duration>,
    /// Most frames in a second.
    pub rate: u32,
}

impl Default for CaptureRequest {
    fn default() -> Self {
        Self {
            interface: None,
            direction: CaptureDirection::Both,
            verdicts: Vec::new(),
            reasons: Vec::new(),
            host: None,
            session: None,
            is_authenticated: false,
            snaplen: SNAPLEN.1,
            count: None,
            duration: None,
            rate: DEFAULT_RATE,
        }
    }
}

impl CaptureRequest {
    /// Returns true if packets of an interface are wanted.
    pub fn is_of(&self, interface: &str) -> bool {
        self.interface.as_deref().is_none_or(|wanted| wanted == interface)
    }

    /// Returns true if a packet is wanted, whatever interface it came by.
    pub fn matches(&self, packet: &CapturedPacket) -> bool {
        let is_wanted = |reason: Reason| self.wants(reason);
        (is_wanted(packet.reason) || packet.punted.is_some_and(is_wanted))
            && self.host.is_none_or(|host| [packet.key.source, packet.key.destination].contains(&address(host)))
            && self.session.is_none_or(|session| is_of_session(&session, &packet.key))
            && (packet.is_authenticated || !self.is_authenticated)
            && match self.direction {
                CaptureDirection::In => packet.arrival.is_some(),
                CaptureDirection::Out => packet.reply.is_some(),
                CaptureDirection::Both => true,
            }
    }

    fn wants(&self, reason: Reason) -> bool {
        (self.verdicts.is_empty() || self.verdicts.contains(&reason.disposition()))
            && (self.reasons.is_empty() || self.reasons.contains(&reason))
    }

    /// Returns the token bucket of packets: with both directions one is two frames.
    pub fn token_rate(&self) -> TokenRate {
        let frames = if self.direction == CaptureDirection::Both { 2 } else { 1 };
        let interval_ns = (frames * 1_000_000_000 / u64::from(self.rate.max(1))).max(1);
        TokenRate { interval_ns, burst_ns: BURST.as_nanos() as u64 }
    }

    /// Returns what the program tells apart. It authenticates nothing, and what it punts the controller captures.
    pub(in crate::reflector) fn kernel_filter(&self) -> CaptureFilter {
        let wanted = REASONS.iter().filter(|reason| {
            let is_possible = match reason.disposition() {
                Disposition::Reflect => true,
                Disposition::Drop | Disposition::Pass => self.direction != CaptureDirection::Out,
                Disposition::Punt => false,
            };
            is_possible && !self.is_authenticated && self.wants(**reason)
        });
        let host = self.session.map(|session| session.source).or(self.host);
        CaptureFilter {
            reasons: wanted.fold(0, |all, reason| all | 1 << *reason as u32),
            rate: self.token_rate(),
            host: host.map_or(Address::UNSPECIFIED, address),
            source_port: self.session.map_or(0, |session| session.source_port),
            destination_port: self.session.map_or(0, |session| session.destination_port),
            reserved: 0,
        }
    }
}

/// Returns true if a packet with this key is of a session, whose wildcards are those of [`SessionId`].
fn is_of_session(session: &SessionId, key: &SessionKey) -> bool {
    address(session.source) == key.source
        && (session.source_port == 0 || session.source_port == key.source_port)
        && (session.destination.is_unspecified() || address(session.destination) == key.destination)
        && session.destination_port == key.destination_port
        && session.ssid == key.ssid
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::packet;
    use super::*;

    fn matches(request: CaptureRequest, packet: &CapturedPacket) -> bool {
        request.matches(packet)
    }

    #[test]
    fn filters_are_by_verdict_reason_host_session_and_direction() {
        let all = CaptureRequest::default;
        let reflected = packet(Reason::Reflected);
        let dropped = CapturedPacket { reply: None, ..packet(Reason::NotAllowed) };
        let punted =
            CapturedPacket { punted: Some(Reason::Authenticated), is_authenticated: true, ..packet(Reason::Reflected) };
        let verdict = |verdict| CaptureRequest { verdicts: vec![verdict], ..all() };
        let reason = |reason| CaptureRequest { reasons: vec![reason], ..all() };
        let host = |host: &str| CaptureRequest { host: Some(host.parse().unwrap()), ..all() };
        let direction = |direction| CaptureRequest { direction, ..all() };
        let session = |port, ssid| {
            let id = SessionId {
                source: "192.0.2.2".parse().unwrap(),
                source_port: port,
                destination: "0.0.0.0".parse().unwrap(),
                destination_port: 862,
                ssid,
            };
            CaptureRequest { session: Some(id), ..all() }
        };
        let rows = [
            (all(), [true, true, true]),
            (verdict(Disposition::Reflect), [true, false, true]),
            (verdict(Disposition::Drop), [false, true, false]),
            (verdict(Disposition::Punt), [false, false, true]),
            (reason(Reason::NotAllowed), [false, true, false]),
            (reason(Reason::Authenticated), [false, false, true]),
            (host("192.0.2.2"), [true; 3]),
            (host("192.0.2.1"), [true; 3]),
            (host("192.0.2.3"), [false; 3]),
            (session(0, 9), [true; 3]),
            (session(5000, 9), [true; 3]),
            (session(5001, 9), [false; 3]),
            (session(0, 8), [false; 3]),
            (direction(CaptureDirection::In), [true; 3]),
            (direction(CaptureDirection::Out), [true, false, true]),
            (CaptureRequest { is_authenticated: true, ..all() }, [false, false, true]),
        ];
        for (request, expected) in rows {
            let got = [&reflected, &dropped, &punted].map(|packet| matches(request.clone(), packet));
            assert_eq!(got, expected, "{request:?}");
        }
    }

    #[test]
    fn the_program_mirrors_what_it_ends_itself() {
        let filter = |request: CaptureRequest| request.kernel_filter();
        let has = |filter: CaptureFilter, reason: Reason| filter.reasons >> reason as u32 & 1 != 0;
        let all = filter(CaptureRequest::default());
        assert!(has(all, Reason::Reflected) && has(all, Reason::NotAllowed) && has(all, Reason::NotOurAddress));
        assert!(!has(all, Reason::Authenticated), "the controller captures it");
        assert_eq!(filter(CaptureRequest { is_authenticated: true, ..CaptureRequest::default() }).reasons, 0);
        let out = filter(CaptureRequest { direction: CaptureDirection::Out, ..CaptureRequest::default() });
        assert!(has(out, Reason::Reflected) && !has(out, Reason::NotAllowed));
    }
}
