//! The arguments of `teaparty sender`, and what runs with them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use teaparty_common::tlv::Kind;
use teaparty_common::wire::{Dscp, Ecn};

use super::tlvs::Tlvs;
use crate::crypto::KeySource;
use crate::exit_code::{Exit, UsageError};
use crate::sender::config::Malformed;
use crate::sender::output::report::ReportFormat;
use crate::sender::run::{self, Output};
use crate::sender::thresholds::{RttLimit, Thresholds};
use crate::units::{ecn_parser, parse_dscp, parse_duration, parse_percent, parse_picoseconds};

mod build;
pub(crate) mod compose;
mod inputs;
mod options;

use options::{SenderTlvProfile, StampFormat, TransmitStamps, extension_size, parse_code_point, parse_rate};

/// Runs up to this long have no live view unless it is asked for.
const SHORT_RUN: Duration = Duration::from_secs(3);

/// The arguments of `teaparty sender`.
#[derive(Args, Debug)]
#[command(subcommand_precedence_over_arg = true)]
#[command(
    after_help = "Several targets: teaparty sender a.example b.example 8862 [2001:db8::1]:862 [fe80::1%eth0]:862. \
    A number is the port of the target before it.\nCtrl-C stops sending and prints the summary; twice, it stops waiting too:\n\
    packets that may still be answered are unsettled then, and not lost."
)]
pub struct SenderArguments {
    /// Names or addresses of reflectors, each with its port after it where that is not 862. All names are looked up
    /// before the first packet is sent, and one that has no address ends the run. Of several addresses the first is
    /// measured.
    #[arg(value_name = "IP_ADDR [PORT]")]
    words: Vec<String>,
    /// More targets, one a line, from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,
    /// Only IPv4 addresses of names.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Only IPv6 addresses of names.
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Packets to each target, 0 for no limit [default: 10, or no limit with --duration].
    #[arg(short, long)]
    count: Option<u64>,
    /// Time between two packets to a target, exact to a picosecond (100ms, 20us, 1s).
    #[arg(short, long, default_value = "100ms", value_parser = parse_picoseconds)]
    interval: u128,
    /// Packets a second to each target, instead of an interval.
    #[arg(long, value_name = "PPS", conflicts_with = "interval", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Send no longer than this by the clock, whatever rate this host reaches.
    #[arg(short, long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Exponentially distributed intervals, --interval being their mean.
    #[arg(long, conflicts_with = "burst")]
    poisson: bool,
    /// This many packets at once, --interval being the time between bursts.
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    burst: Option<u32>,
    /// A packet is lost if its reply comes later than this, by T4 - T1.
    #[arg(short = 'W', long, default_value = "2s", value_parser = parse_duration)]
    timeout: Duration,
    /// Makes Poisson intervals and padding repeatable.
    #[arg(long)]
    seed: Option<u64>,

    /// SSID of the first session, the others count up from it; 0 for none, which TWAMP-Light reflectors that send noise
    /// in its place need [default: random].
    #[arg(long)]
    ssid: Option<u16>,
    /// Local address.
    #[arg(long, value_name = "ADDRESS")]
    src: Option<IpAddr>,
    /// Local port; 0 takes one between 49152 and 65535.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    src_port: u16,
    /// Network interface to use.
    #[arg(long)]
    interface: Option<String>,
    /// DSCP of the packets: 0 to 63, or a name such as ef, af21, cs6.
    #[arg(long, default_value = "cs0", value_parser = parse_dscp)]
    dscp: Dscp,
    /// ECN of the packets.
    #[arg(long, default_value = "not-ect", value_parser = ecn_parser())]
    ecn: Ecn,
    /// TTL or Hop Limit of the packets.
    #[arg(long, default_value_t = 255, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Forbid fragmentation.
    #[arg(long)]
    df: bool,
    /// Octets of UDP payload, filled up with an Extra Padding TLV [default: as many as needed].
    #[arg(short, long)]
    size: Option<u16>,
    /// Zeros in the padding of --size instead of random octets.
    #[arg(long)]
    zero_padding: bool,
    /// Format of our timestamps.
    #[arg(long, value_enum, default_value_t)]
    timestamp_format: StampFormat,
    /// An IPv6 hop-by-hop options header of this many octets (a multiple of 8), that asks for nothing. Takes CAP_NET_RAW.
    #[arg(long, value_name = "OCTETS", num_args = 0..=1, default_missing_value = "8", value_parser = extension_size)]
    hbh_ext: Option<u16>,
    /// An IPv6 destination options header, in the same form.
    #[arg(long, value_name = "OCTETS", num_args = 0..=1, default_missing_value = "8", value_parser = extension_size)]
    destination_ext: Option<u16>,
    /// Something wrong with every packet, to see what the reflector does.
    #[arg(long, value_enum)]
    malformed: Option<Malformed>,

    /// Authenticated mode, with the key from FILE, credential:NAME (systemd), env:NAME or fd:N.
    #[arg(long, value_name = "SOURCE")]
    auth_key_file: Option<KeySource>,
    /// Authenticated mode with this very key. Others may see it: prefer --auth-key-file.
    #[arg(long, value_name = "KEY", conflicts_with = "auth_key_file")]
    authenticated: Option<String>,
    /// Key of the HMAC TLV, in the same form [default: the one of --auth-key-file].
    #[arg(long, value_name = "SOURCE")]
    tlv_key_file: Option<KeySource>,

    /// The reflector counts its replies: trust its numbers for loss by direction even where they do not show it.
    #[arg(long)]
    stateful_reflector: bool,
    /// End a session whose replies come without our SSID.
    #[arg(long)]
    stop_on_zero_ssid: bool,
    /// Source of T1: the kernel as the packet leaves, or this process before it sends.
    #[arg(long, value_enum, default_value_t)]
    transmit_stamps: TransmitStamps,
    /// Have the network card of --interface stamp packets by its own clock, where it has one. Takes CAP_NET_ADMIN and
    /// read access to /dev/ptp*; the card is set back in the end. The kernel's timestamps are used where it can't be.
    #[arg(long, requires = "interface", conflicts_with = "segmentation_offload")]
    hardware_stamps: bool,
    /// Hand packets that are due to one target to the kernel in batches (UDP segmentation offload), with our own T1: half
    /// of the processor at rates above 100000/s. Not to reflectors on this host that have XDP in generic mode: they see
    /// a batch as one packet.
    #[arg(long)]
    segmentation_offload: bool,
    /// Have sending and taking in go before all other programs (SCHED_FIFO), so that a busy host does not make packets late.
    /// Takes root, CAP_SYS_NICE or `ulimit -r`. Above some 25000 packets/s it takes a whole processor.
    #[arg(long)]
    realtime: bool,
    /// Numbers of experimental TLVs.
    #[arg(long, value_enum, default_value_t)]
    tlv_profile: SenderTlvProfile,
    /// Number of one TLV, as in history=244. May repeat.
    #[arg(long, value_name = "NAME=TYPE", value_parser = parse_code_point)]
    code_point: Vec<(Kind, u8)>,

    /// Exit with 3 if a target loses more than this percentage.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    max_loss: Option<f64>,
    /// Exit with 3 if a target's round trip net of residence exceeds this: p99=5ms, mean=1ms, max=20ms. May repeat.
    #[arg(long, value_name = "METRIC=DURATION")]
    max_rtt: Vec<RttLimit>,
    /// Exit with 3 if a target's round-trip jitter (mean difference of consecutive packets, RFC 3393) exceeds this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_jitter: Option<Duration>,
    /// Form of the output [default: human].
    #[arg(short, long, value_enum)]
    format: Option<ReportFormat>,
    /// Show how it goes while it goes: targets, loss by direction, round trips; `q` stops. It is what a terminal shows
    /// anyway, unless --format or --output is given.
    #[arg(long, conflicts_with = "format")]
    live: bool,
    /// Lines instead of the live view at a terminal.
    #[arg(long, conflicts_with = "live")]
    plain: bool,
    /// Write the output to a file; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Write distributions of all targets to a file in HdrHistogram's log format.
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,

    #[command(subcommand)]
    tlvs: Option<SenderCommand>,
}

#[derive(Subcommand, Debug)]
enum SenderCommand {
    /// Put TLVs into the packets.
    Tlvs(Tlvs),
}

impl SenderArguments {
    /// Measures. `words` are targets that stood in front of the command; with `is_quiet` people see the summary alone.
    pub fn run(mut self, words: Vec<String>, is_quiet: bool) -> anyhow::Result<Exit> {
        // First of all: until then a key on the command line is there for others to see.
        let (key, tlv_key) = self.keys()?;
        let specs = self.specs(&words)?;
        let thresholds = Thresholds {
            max_loss: self.max_loss,
            max_rtt: std::mem::take(&mut self.max_rtt),
            max_jitter: self.max_jitter,
        };
        let output = Output {
            format: self.format.unwrap_or_default(),
            path: self.output.clone(),
            is_live: self.live
                || !self.plain
                    && !is_quiet
                    && self.format.is_none()
                    && self.output.as_os_str() == "-"
                    && self.is_long()?,
            is_quiet,
            hdr_log: self.hdr_log.clone(),
            thresholds,
        };
        let config = self.config(&specs, key, tlv_key)?;
        run::run(config, output)
    }

    /// Returns true if sending takes so long that a person wants to see how it goes.
    fn is_long(&self) -> Result<bool, UsageError> {
        let plan = self.plan()?;
        let of_count = |count: u64| {
            let ps = u128::from(plan.interval_ps) * u128::from(count) / u128::from(self.burst.unwrap_or(1));
            Duration::from_nanos(u64::try_from(ps / 1_000).unwrap_or(u64::MAX))
        };
        let limits = [plan.count.map(of_count), plan.duration_ns.map(Duration::from_nanos)];
        Ok(limits.into_iter().flatten().min().is_none_or(|length| length > SHORT_RUN))
    }
}

#[cfg(test)]
mod tests;
