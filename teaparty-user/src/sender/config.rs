//! What a measurement needs to know, checked: made from the command line.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use teaparty_common::reflect::Policy;
use teaparty_common::wire::{Mode, TimestampFormat, TrafficClass};

use super::target::Target;
use super::tlvs::chain::AccessReportRequest;
use super::tlvs::request::RequestTlv;
use crate::crypto::HmacKey;
use crate::net::socket::Fragmentation;

/// Up to this many packets a second the kernel is asked about each; above it, single reports are expensive, and
/// replies are taken in beside sending.
pub const MANY_PPS: f64 = 100_000.0;

/// A measurement.
#[derive(Clone)]
pub struct SenderConfig {
    /// Whom to measure, each in a session of its own.
    pub targets: Vec<Target>,
    /// The schedule, for each target separately.
    pub plan: SchedulePlan,
    /// A packet without a reply is lost after this.
    pub timeout: Duration,
    /// SSID of the first session, the others count up from it; `None` for random ones, 0 for none at all.
    pub ssid: Option<u16>,
    /// Local address; `None` leaves it to routing.
    pub source: Option<IpAddr>,
    /// Local port; 0 for one between 49152 and 65535.
    pub source_port: u16,
    /// The interface to use.
    pub interface: Option<String>,
    /// DSCP and ECN of the packets.
    pub traffic_class: TrafficClass,
    /// TTL or Hop Limit of the packets.
    pub ttl: u8,
    /// The treatment of long packets.
    pub fragmentation: Fragmentation,
    /// Authenticated or not.
    pub mode: Mode,
    /// Key of the base packets; there in authenticated mode.
    pub key: Option<HmacKey>,
    /// Key of the HMAC TLV, if packets have one.
    pub tlv_key: Option<HmacKey>,
    /// The TLVs of every packet.
    pub tlvs: Vec<RequestTlv>,
    /// An Access Report, which goes with some packets only. It stands in front of the other TLVs.
    pub access_report: Option<AccessReportRequest>,
    /// Something wrong with every packet.
    pub malformed: Option<Malformed>,
    /// Code points; the rest of it is for reflectors.
    pub policy: Policy,
    /// Format of T1.
    pub timestamp_format: TimestampFormat,
    /// IPv6 hop-by-hop options header, whole, or nothing.
    pub hop_by_hop: Vec<u8>,
    /// IPv6 destination options header, whole, or nothing.
    pub destination_options: Vec<u8>,
    /// True if IPv4 packets go without a UDP checksum, so that bit errors arrive.
    pub omit_checksum: bool,
    /// True if the user vouches that the reflector counts its replies.
    pub is_stateful_reflector: bool,
    /// True if to ask the kernel when packets left.
    pub kernel_transmit_stamps: bool,
    /// True if to have the network card of `interface` stamp packets by its own clock.
    pub hardware_stamps: bool,
    /// True if packets to one target go to the kernel in GSO batches (UDP segmentation offload).
    pub has_trains: bool,
    /// True if the thread that sends goes before all others (SCHED_FIFO).
    pub is_realtime: bool,
    /// Replies that each packet asks for.
    pub replies_per_packet: u16,
    /// Between two of them, in nanoseconds.
    pub reply_interval_ns: u32,
    /// Another port of this sender that replies may be sent to.
    pub reply_port: Option<u16>,
    /// Further addresses that replies may come from.
    pub reply_sources: Vec<IpAddr>,
    /// Our member link, and the reflector's where known (RFC 9534).
    pub micro_session: Option<(u16, Option<u16>)>,
    /// True if a reply without our SSID ends the session (RFC 8972 §3 leaves that to us).
    pub stop_on_zero_ssid: bool,
    /// Seed of Poisson intervals and padding; `None` for one that differs from run to run.
    pub seed: Option<u64>,
}

impl SenderConfig {
    /// Ten unauthenticated packets without TLVs to each target, 100 ms apart.
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            plan: SchedulePlan {
                pattern: Pattern::Fixed,
                interval_ps: 100_000_000_000,
                count: Some(10),
                duration_ns: None,
            },
            timeout: Duration::from_secs(2),
            ssid: None,
            source: None,
            source_port: 0,
            interface: None,
            traffic_class: TrafficClass(0),
            ttl: 255,
            fragmentation: Fragmentation::System,
            mode: Mode::Unauthenticated,
            key: None,
            tlv_key: None,
            tlvs: Vec::new(),
            access_report: None,
            malformed: None,
            policy: Policy::DEFAULT,
            timestamp_format: TimestampFormat::Ntp,
            hop_by_hop: Vec::new(),
            destination_options: Vec::new(),
            omit_checksum: false,
            is_stateful_reflector: false,
            kernel_transmit_stamps: true,
            hardware_stamps: false,
            has_trains: false,
            is_realtime: false,
            replies_per_packet: 1,
            reply_interval_ns: 0,
            reply_port: None,
            reply_sources: Vec::new(),
            micro_session: None,
            stop_on_zero_ssid: false,
            seed: None,
        }
    }

    /// UDP payload of a packet without an Access Report, in octets.
    fn payload_octets(&self) -> usize {
        self.mode.base_len() + self.tlvs.iter().map(RequestTlv::len).sum::<usize>()
    }

    /// Returns the configuration for a report: everything that a reader needs to repeat the measurement, and no key.
    pub fn describe(&self) -> Value {
        let pattern = match self.plan.pattern {
            Pattern::Fixed => json!("fixed"),
            Pattern::Poisson => json!("poisson"),
            Pattern::Burst(size) => json!({ "burst": size }),
        };
        let tlvs: Vec<&str> =
            self.tlvs.iter().map(|tlv| tlv.kind.map_or("unrecognized", |kind| kind.entry().name)).collect();
        json!({
            "count": self.plan.count,
            "duration_ns": self.plan.duration_ns,
            "interval_ns": self.plan.interval_ps as f64 / 1_000.0,
            "pattern": pattern,
            "timeout_ns": self.timeout.as_nanos() as u64,
            "source": self.source,
            "source_port": self.source_port,
            "interface": self.interface,
            "ssid": self.ssid,
            "payload_octets": self.payload_octets(),
            "dont_fragment": self.fragmentation == Fragmentation::Forbid,
            "hop_by_hop_octets": self.hop_by_hop.len(),
            "destination_options_octets": self.destination_options.len(),
            "dscp": self.traffic_class.dscp().value(),
            "ecn": self.traffic_class.ecn().name(),
            "ttl": self.ttl,
            "authenticated": self.mode == Mode::Authenticated,
            "tlv_hmac": self.tlv_key.is_some(),
            "tlvs": tlvs,
            "access_report": self.access_report.map(|report| json!({
                "access_id": report.access.id, "return_code": report.access.return_code,
                "timer_ns": report.timer.as_nanos() as u64, "retransmissions": report.retransmissions,
            })),
            "malformed": self.malformed,
            "timestamp_format": match self.timestamp_format {
                TimestampFormat::Ntp => "ntp",
                TimestampFormat::Ptp => "ptp",
            },
            "kernel_transmit_stamps": self.kernel_transmit_stamps,
            "hardware_stamps": self.hardware_stamps,
            "segmentation_offload": self.has_trains,
            "realtime": self.is_realtime,
            "replies_per_packet": self.replies_per_packet,
            "reply_interval_ns": self.reply_interval_ns,
            "stateful_reflector": self.is_stateful_reflector,
            "seed": self.seed,
        })
    }
}

/// The distribution of packets over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// An equal interval between any two packets.
    Fixed,
    /// Exponentially distributed intervals around the mean (RFC 2330 §11.1.1).
    Poisson,
    /// This many packets at once, the interval between bursts.
    Burst(u32),
}

/// The limits of a schedule, and its density.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulePlan {
    /// Spread over time.
    pub pattern: Pattern,
    /// Interval (mean interval, interval between bursts) in picoseconds, so that 300,000 packets/s are not 300,300.
    pub interval_ps: u64,
    /// Packets in all; `None` for no limit.
    pub count: Option<u64>,
    /// Nothing is due so long after the start; `None` for no limit.
    pub duration_ns: Option<u64>,
}

impl SchedulePlan {
    /// Packets per second of this many sessions together.
    pub fn packets_per_second(&self, sessions: usize) -> f64 {
        let at_once = if let Pattern::Burst(size) = self.pattern { size.max(1) } else { 1 };
        1e12 / self.interval_ps as f64 * f64::from(at_once) * sessions as f64
    }
}

/// A packet made wrong on purpose, to see what a reflector does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Malformed {
    /// A further TLV with flags that no sender may set.
    BadFlags,
    /// A further TLV whose Length goes past the end of the packet.
    BadLength,
}
