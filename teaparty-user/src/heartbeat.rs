//! Heartbeats: packets that a reflector sends unasked, so that others see that it is there.
//!
//! The format is the earlier implementation's: an unauthenticated test packet of a Session-Sender with Sequence Number
//! 0x22, Error Estimate 0x0001 and SSID 0, and a Heartbeat TLV (type 242) with the MAC address of the interface that it
//! leaves by. No document specifies it, and nobody answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use teaparty_common::reflect::HEARTBEAT_SEQUENCE;
use teaparty_common::tlv::header::{Flags, Header};
use teaparty_common::wire::sender::UnauthenticatedPacket;
use teaparty_common::wire::{DEFAULT_PORT, ErrorEstimate, Timestamp, TimestampFormat};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::net::batch::{Outgoing, SendBatch};
use crate::reflector::handle::ReflectorHandle;
use crate::sync::locked;
use crate::sys::clock::{ClockSource, SystemClock};

/// Type of the Heartbeat TLV.
const TYPE: u8 = 242;

/// A heartbeat, 56 octets.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HeartbeatPacket {
    base: UnauthenticatedPacket,
    header: Header,
    mac: [u8; 6],
    mbz: [u8; 2],
}

/// Longest interval, a day.
const MAX_SECONDS: u64 = 86_400;
/// Most targets.
const MAX_TARGETS: usize = 256;

/// Whom heartbeats go to, and how often: `[IP[:PORT]]@SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Heartbeat {
    /// Address and port.
    pub target: SocketAddr,
    /// Time from one to the next, whole seconds.
    pub interval: Duration,
}

/// The form of a [`Heartbeat`].
const FORM: &str = "write [IP[:PORT]]@SECONDS, such as 192.0.2.1@5, 192.0.2.1:8620@5 or [2001:db8::1]:862@5";

/// A text that is no [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeartbeat {
    /// The interval is missing.
    #[error("`@` and the interval are missing; {FORM}")]
    NoInterval,
    /// The interval is no number.
    #[error("the interval is no whole number of seconds; {FORM}")]
    Interval,
    /// The interval is too short or too long.
    #[error("the interval is not from 1 to 86400 seconds; {FORM}")]
    IntervalRange,
    /// The target is no address.
    #[error("the target is no IP address with or without a port; {FORM}")]
    Target,
}

impl FromStr for Heartbeat {
    type Err = InvalidHeartbeat;

    /// Without a port it is STAMP's own, without an address this host's (127.0.0.1).
    fn from_str(text: &str) -> Result<Self, InvalidHeartbeat> {
        let (target, seconds) = text.rsplit_once('@').ok_or(InvalidHeartbeat::NoInterval)?;
        let seconds: u64 = seconds.parse().map_err(|_| InvalidHeartbeat::Interval)?;
        Ok(Self {
            target: parse_target(target).ok_or(InvalidHeartbeat::Target)?,
            interval: interval(seconds).ok_or(InvalidHeartbeat::IntervalRange)?,
        })
    }
}

impl TryFrom<String> for Heartbeat {
    type Error = InvalidHeartbeat;

    fn try_from(text: String) -> Result<Self, InvalidHeartbeat> {
        text.parse()
    }
}

impl From<Heartbeat> for String {
    fn from(heartbeat: Heartbeat) -> Self {
        format!("{}@{}", heartbeat.target, heartbeat.interval.as_secs())
    }
}

/// A target without its interval.
pub fn parse_target(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let target = match bare {
        "" => SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
        _ => bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT)).or_else(|_| text.parse()).ok()?,
    };
    (target.port() != 0 && !target.ip().is_unspecified()).then_some(target)
}

/// An interval of this many seconds, if it may be one.
pub fn interval(seconds: u64) -> Option<Duration> {
    (1..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

impl HeartbeatPacket {
    /// With the MAC address of the interface that it leaves by, and the time that it leaves at.
    pub fn new(mac: [u8; 6], timestamp: Timestamp) -> Self {
        let base = UnauthenticatedPacket {
            sequence_number: HEARTBEAT_SEQUENCE.into(),
            timestamp,
            error_estimate: ErrorEstimate::from_bits(0x0001),
            ssid: 0.into(),
            mbz: [0; 28],
        };
        let length = (8_u16).into();
        // The U flag, as every TLV of a request has it (RFC 8972 §4).
        Self { base, header: Header { flags: Flags(0x80), code: TYPE, length }, mac, mbz: [0; 2] }
    }
}

/// The record of a target's heartbeats.
#[derive(Clone, Debug)]
pub struct HeartbeatStatus {
    /// Whom they go to.
    pub target: SocketAddr,
    /// The interval.
    pub interval: Duration,
    /// Heartbeats that were sent.
    pub sent: u64,
    /// Heartbeats that could not be sent.
    pub failed: u64,
    /// Time of the last one, in nanoseconds since 1970; `None` before the first.
    pub last_success_ns: Option<u64>,
    /// Why the last one did not go out; `None` if it did.
    pub last_error: Option<String>,
}

/// Why the targets were not changed.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// It is one already.
    #[error("heartbeats go to this target already")]
    Exists,
    /// There are too many.
    #[error("there are {MAX_TARGETS} targets already, which is the most")]
    Full,
    /// The targets are not those any more that the change is to.
    #[error("the targets have changed in the meantime")]
    Outdated,
}

/// The targets. Cheap to clone.
#[derive(Clone)]
pub struct Heartbeats {
    reflectors: Arc<[ReflectorHandle]>,
    targets: Arc<Mutex<Vec<HeartbeatTarget>>>,
}

struct HeartbeatTarget {
    status: Arc<Mutex<HeartbeatStatus>>,
    task: AbortHandle,
}

impl Heartbeats {
    /// No targets yet. What goes out leaves by the first of the reflectors that has the address to send from.
    pub fn new(reflectors: impl Into<Arc<[ReflectorHandle]>>) -> Self {
        Self { reflectors: reflectors.into(), targets: Arc::default() }
    }

    /// Sends to one more target from now on. To be called within a tokio runtime.
    pub fn add(&self, heartbeat: Heartbeat) -> Result<(), HeartbeatError> {
        self.add_if(heartbeat, |_| true)
    }

    /// Adds a heartbeat, if `may` agrees given the existing ones.
    pub fn add_if(&self, heartbeat: Heartbeat, may: impl FnOnce(&[Heartbeat]) -> bool) -> Result<(), HeartbeatError> {
        let mut targets = locked(&self.targets);
        if !may(&configured(&targets)) {
            return Err(HeartbeatError::Outdated);
        }
        if targets.iter().any(|target| locked(&target.status).target == heartbeat.target) {
            return Err(HeartbeatError::Exists);
        }
        if targets.len() >= MAX_TARGETS {
            return Err(HeartbeatError::Full);
        }
        let status = Arc::new(Mutex::new(HeartbeatStatus {
            target: heartbeat.target,
            interval: heartbeat.interval,
            sent: 0,
            failed: 0,
            last_success_ns: None,
            last_error: None,
        }));
        let task = tokio::spawn(send_heartbeats(self.reflectors.clone(), heartbeat, status.clone())).abort_handle();
        targets.push(HeartbeatTarget { status, task });
        Ok(())
    }

    /// Sends no more to a target; whether it was one.
    pub fn remove(&self, target: SocketAddr) -> bool {
        self.remove_if(target, |_| true).unwrap_or(false)
    }

    /// Adds a heartbeat, if `may` agrees given the existing ones.
    pub fn remove_if(
        &self,
        target: SocketAddr,
        may: impl FnOnce(&[Heartbeat]) -> bool,
    ) -> Result<bool, HeartbeatError> {
        let mut targets = locked(&self.targets);
        let Some(at) = targets.iter().position(|known| locked(&known.status).target == target) else {
            return Ok(false);
        };
        if !may(&configured(&targets)) {
            return Err(HeartbeatError::Outdated);
        }
        targets.remove(at).task.abort();
        Ok(true)
    }

    /// All targets, in the order they were added.
    pub fn list(&self) -> Vec<HeartbeatStatus> {
        locked(&self.targets).iter().map(|target| locked(&target.status).clone()).collect()
    }

    /// Sends no more at all.
    pub fn stop(&self) {
        locked(&self.targets).drain(..).for_each(|target| target.task.abort());
    }
}

/// Returns the heartbeats without their records.
fn configured(targets: &[HeartbeatTarget]) -> Vec<Heartbeat> {
    let one = |status: &HeartbeatStatus| Heartbeat { target: status.target, interval: status.interval };
    targets.iter().map(|target| one(&locked(&target.status))).collect()
}

/// Sends forever. A target that can't be reached is tried again at its next time.
async fn send_heartbeats(
    reflectors: Arc<[ReflectorHandle]>,
    heartbeat: Heartbeat,
    status: Arc<Mutex<HeartbeatStatus>>,
) {
    let Heartbeat { target, interval } = heartbeat;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = send(&reflectors, target);
        let mut status = locked(&status);
        match sent {
            Ok(at) => {
                if status.last_error.take().is_some() {
                    tracing::info!(%target, "heartbeats go out again");
                }
                status.sent += 1;
                status.last_success_ns = Some(at);
            }
            Err(error) => {
                // One line for each change, not for each packet.
                if status.last_error.is_none() {
                    tracing::warn!(%target, %error, "heartbeats do not go out, and are tried again");
                }
                status.failed += 1;
                status.last_error = Some(error.to_string());
            }
        }
    }
}

/// Sends one, and says when.
fn send(reflectors: &[ReflectorHandle], target: SocketAddr) -> io::Result<u64> {
    let by = local_address(target)?;
    let exit = reflectors.iter().find_map(|reflector| reflector.exit(by)).ok_or_else(|| {
        io::Error::other(format!("the way to it leaves from {by}, which is on no interface of the reflector"))
    })?;
    let now = SystemClock.realtime_ns();
    let packet = HeartbeatPacket::new(exit.mac, Timestamp::from_nanos(now, TimestampFormat::Ntp));
    let mut batch = SendBatch::new();
    batch.push(&Outgoing { source: Some(exit.source), ..Outgoing::to(target) }, packet.as_bytes());
    exit.socket.send(&mut batch)?;
    match batch.failed().first() {
        Some((_, error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None => Ok(now),
    }
}

/// The address that the system would send to a target from.
fn local_address(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Emitted by the earlier implementation; the time of day (octets 4 to 11) is its own.
    const EMITTED: &str = "00000022ebbd17884575e93f0001000000000000000000000000000000000000\
        00000000000000000000000080f2000802005e1000010000";

    #[test]
    fn the_packet_is_the_one_that_the_earlier_implementation_emits() {
        let time = Timestamp(0xebbd_1788_4575_e93f_u64.into());
        let packet = HeartbeatPacket::new([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01], time);
        let hex: String = packet.as_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, EMITTED);
    }

    #[test]
    fn targets_have_their_defaults() {
        let parse = |text: &str| text.parse::<Heartbeat>().map(|h| (h.target.to_string(), h.interval.as_secs()));
        assert_eq!(parse("8.8.8.8:8620@5").unwrap(), ("8.8.8.8:8620".into(), 5));
        assert_eq!(parse("192.0.2.1@60").unwrap(), ("192.0.2.1:862".into(), 60));
        assert_eq!(parse("@1").unwrap(), ("127.0.0.1:862".into(), 1));
        assert_eq!(parse("2001:db8::1@5").unwrap(), ("[2001:db8::1]:862".into(), 5));
        assert_eq!(parse("[2001:db8::1]@5").unwrap(), ("[2001:db8::1]:862".into(), 5));
        assert_eq!(parse("[2001:db8::1]:1@5").unwrap(), ("[2001:db8::1]:1".into(), 5));
        for wrong in
            ["", "192.0.2.1", "192.0.2.1@", "192.0.2.1@0", "192.0.2.1@86401", "x@1", "192.0.2.1:0@1", "0.0.0.0@1"]
        {
            assert!(parse(wrong).unwrap_err().to_string().contains("SECONDS"), "{wrong}");
        }
    }
}
