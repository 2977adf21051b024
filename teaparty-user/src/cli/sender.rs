//! The arguments of `teaparty sender`, and how they become a [`SenderConfig`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use teaparty_common::reflect::Policy;
use teaparty_common::tlv::{CodePoints, Kind, Profile};
use teaparty_common::wire::{DEFAULT_PORT, Dscp, Ecn, Mode, TimestampFormat, TrafficClass};
use zeroize::Zeroize;

use super::tlvs::Tlvs;
use crate::config::plan::is_standard_input;
use crate::crypto::{HmacKey, KeySource};
use crate::exit_code::{Exit, UsageError};
use crate::net::socket::Fragmentation;
use crate::sender::config::Malformed;
use crate::sender::config::SenderConfig;
use crate::sender::config::{Pattern, SchedulePlan};
use crate::sender::output::report::ReportFormat;
use crate::sender::run::{self, Output};
use crate::sender::target::{AddressFamily, Spec, Target, parse_file, parse_words};
use crate::sender::thresholds::{RttLimit, Thresholds};
use crate::sender::tlvs::chain::{Chain, pad, place_hmac};
use crate::sys::hardening;
use crate::units::{ecn_parser, parse_dscp, parse_duration, parse_percent, parse_picoseconds};

pub(crate) mod compose;
mod options;

use compose::{is_slow, options_header};
use options::{SenderTlvProfile, StampFormat, TransmitStamps, extension_size, parse_code_point, parse_rate};

/// Packets that are sent where nothing says how many: a first impression in a second.
const DEFAULT_COUNT: u64 = 10;

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

/// Refuses TLVs that ask for an extension header which is not among those `sent` (ext-hdr-15 §4: no more TLVs than headers).
fn check_headers(chain: &Chain, sent: [Option<u16>; 2]) -> Result<(), UsageError> {
    let mut sent: Vec<usize> = sent.into_iter().flatten().map(usize::from).collect();
    for tlv in chain.tlvs.iter().filter(|tlv| tlv.kind == Some(Kind::ReflectedExtensionHeader)) {
        let size = tlv.value.len();
        let Some(at) = sent.iter().position(|header| *header == size) else {
            return Err(UsageError::new(format!(
                "{} asks for an extension header of {size} octets that is not sent; add --hbh-ext {size} or \
                     --destination-ext {size}",
                Kind::ReflectedExtensionHeader.entry().name
            )));
        };
        sent.swap_remove(at);
    }
    Ok(())
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
        let config = self.config(specs, key, tlv_key)?;
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

    fn specs(&self, words: &[String]) -> anyhow::Result<Vec<Spec>> {
        let mut specs = parse_words(words.iter().chain(&self.words).map(String::as_str))?;
        if let Some(path) = &self.targets {
            let content = if is_standard_input(path) {
                std::io::read_to_string(std::io::stdin()).context("cannot read targets from standard input")?
            } else {
                std::fs::read_to_string(path)
                    .map_err(|error| UsageError::new(format!("cannot read {}: {error}", path.display())))?
            };
            specs.extend(parse_file(&content).with_context(|| path.display().to_string())?);
        }
        if specs.is_empty() {
            return Err(UsageError::new(
                "no target given: pass a host name or an address, as in teaparty sender 192.0.2.1",
            )
            .into());
        }
        if specs.len() > 60_000 {
            return Err(UsageError::new("more than 60000 targets do not fit into one process's SSIDs").into());
        }
        Ok(specs)
    }

    /// Takes the keys from where they are, and what can be seen of them out of sight.
    fn keys(&mut self) -> anyhow::Result<(Option<HmacKey>, Option<HmacKey>)> {
        if self.auth_key_file.is_none() && self.authenticated.is_none() && self.tlv_key_file.is_none() {
            return Ok((None, None));
        }
        if let Err(error) = hardening::forbid_dumps() {
            tracing::warn!(%error, "cannot forbid core dumps, which would hold the key");
        }
        let load = |source: &KeySource| source.load().map_err(|error| UsageError::new(error.to_string()));
        let mut key = self.auth_key_file.as_ref().map(load).transpose()?;
        if let Some(mut text) = self.authenticated.take() {
            let hidden = hardening::hide_argument(text.as_bytes());
            let is_hidden = matches!(hidden, Ok(1..));
            key = Some(
                HmacKey::new(text.as_bytes()).map_err(|error| UsageError::new(format!("--authenticated: {error}")))?,
            );
            if let Some(key) = &key {
                key.warn_if_short(&"--authenticated");
            }
            text.zeroize();
            tracing::warn!(
                "a key on the command line can be seen by others on this host and stays in the shell's history{}; \
                 use --auth-key-file",
                if is_hidden { " (it is overwritten in the process list now)" } else { "" }
            );
        }
        let tlv_key = self.tlv_key_file.as_ref().map(load).transpose()?;
        Ok((key, tlv_key))
    }

    fn config(self, specs: Vec<Spec>, key: Option<HmacKey>, tlv_key: Option<HmacKey>) -> anyhow::Result<SenderConfig> {
        let traffic_class = TrafficClass::new(self.dscp, self.ecn);
        let plan = self.plan()?;
        let mode = if key.is_some() { Mode::Authenticated } else { Mode::Unauthenticated };
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => AddressFamily::V4,
            (_, true) => AddressFamily::V6,
            _ => self
                .src
                .map_or(AddressFamily::Any, |src| if src.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 }),
        };
        let targets: Vec<Target> =
            specs.iter().map(|spec| spec.resolve(DEFAULT_PORT, family)).collect::<anyhow::Result<_>>()?;
        let is_v6 = |target: &Target| target.address.is_ipv6();
        for (option, size) in [("--hbh-ext", self.hbh_ext), ("--destination-ext", self.destination_ext)] {
            if size.is_some() && !targets.iter().any(is_v6) {
                return Err(UsageError::new(format!("{option} is for IPv6, and no target has an IPv6 address")).into());
            }
        }
        let mut chain = match self.tlvs {
            Some(SenderCommand::Tlvs(tlvs)) => tlvs.chain(traffic_class, targets.iter().all(is_v6))?,
            None => Chain::default(),
        };
        check_headers(&chain, [self.hbh_ext, self.destination_ext])?;
        // RFC 9503 §3: the reflector must be able to tell sessions apart.
        let has = |chain: &Chain, kind| chain.tlvs.iter().any(|tlv| tlv.kind == Some(kind));
        if has(&chain, Kind::DestinationNodeAddress) && self.ssid == Some(0) {
            return Err(UsageError::new("destination-address goes with an SSID only (RFC 9503 §3)").into());
        }
        let tlv_key = place_hmac(&mut chain, mode, key.as_ref(), tlv_key)?;
        if let Some(size) = self.size {
            pad(&mut chain, mode, size, !self.zero_padding)?;
        }
        if self.segmentation_offload && self.transmit_stamps == TransmitStamps::Kernel {
            let text =
                "--segmentation-offload leaves the kernel no T1 of single packets: without --transmit-stamps kernel";
            return Err(UsageError::new(text).into());
        }
        let kernel_transmit_stamps = match self.transmit_stamps {
            TransmitStamps::Kernel => true,
            TransmitStamps::User => false,
            TransmitStamps::Auto => !self.segmentation_offload && is_slow(&plan, targets.len()),
        };
        let mut code_points = CodePoints::new(match self.tlv_profile {
            SenderTlvProfile::Current => Profile::Current,
            SenderTlvProfile::Earlier => Profile::Earlier,
        });
        self.code_point.iter().for_each(|(kind, code)| code_points.assign(*kind, *code));
        Ok(SenderConfig {
            targets,
            plan,
            timeout: self.timeout,
            ssid: self.ssid,
            source: self.src,
            source_port: self.src_port,
            interface: self.interface,
            traffic_class,
            ttl: self.ttl,
            fragmentation: if self.df { Fragmentation::Forbid } else { Fragmentation::System },
            mode,
            key,
            tlv_key,
            tlvs: chain.tlvs,
            access_report: chain.access_report,
            malformed: self.malformed,
            policy: Policy { code_points, ..Policy::DEFAULT },
            timestamp_format: match self.timestamp_format {
                StampFormat::Ntp => TimestampFormat::Ntp,
                StampFormat::Ptp => TimestampFormat::Ptp,
            },
            hop_by_hop: options_header(self.hbh_ext),
            destination_options: options_header(self.destination_ext),
            omit_checksum: chain.omit_checksum,
            is_stateful_reflector: self.stateful_reflector,
            kernel_transmit_stamps,
            hardware_stamps: self.hardware_stamps,
            has_trains: self.segmentation_offload,
            is_realtime: self.realtime,
            replies_per_packet: chain.replies_per_packet,
            reply_interval_ns: chain.reply_interval_ns,
            reply_port: chain.reply_port,
            reply_sources: chain.reply_sources,
            micro_session: chain.micro_session,
            stop_on_zero_ssid: self.stop_on_zero_ssid,
            seed: self.seed,
        })
    }

    fn plan(&self) -> Result<SchedulePlan, UsageError> {
        let interval_ps = match self.rate {
            Some(rate) => (1e12 / rate).round() as u64,
            None => u64::try_from(self.interval).map_err(|_| UsageError::new("--interval is over half a year"))?,
        };
        if interval_ps < 100_000 {
            return Err(UsageError::new("--interval is under 100ns: more than anybody can send"));
        }
        if self.duration.is_some_and(|duration| duration.is_zero()) {
            return Err(UsageError::new("--duration 0 sends nothing; leave it out, or say how long"));
        }
        let pattern = match self.burst {
            Some(size) => Pattern::Burst(size),
            None if self.poisson => Pattern::Poisson,
            None => Pattern::Fixed,
        };
        let count = match self.count {
            Some(0) => None,
            Some(count) => Some(count),
            None if self.duration.is_some() => None,
            None => Some(DEFAULT_COUNT),
        };
        let duration_ns = self.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        Ok(SchedulePlan { pattern, interval_ps, count, duration_ns })
    }
}

#[cfg(test)]
mod tests;
