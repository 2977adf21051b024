//! From arguments to a [`SenderConfig`].

use teaparty_common::reflect::Policy;
use teaparty_common::tlv::{CodePoints, Kind, Profile};
use teaparty_common::wire::{DEFAULT_PORT, Mode, TimestampFormat, TrafficClass};

use super::compose::{is_slow, options_header};
use super::options::{SenderTlvProfile, StampFormat, TransmitStamps};
use super::{SenderArguments, SenderCommand};
use crate::crypto::HmacKey;
use crate::exit_code::UsageError;
use crate::net::socket::Fragmentation;
use crate::sender::config::{Pattern, SchedulePlan, SenderConfig};
use crate::sender::target::{AddressFamily, Spec, Target};
use crate::sender::tlvs::chain::{Chain, pad, place_hmac};

/// Packets that are sent where nothing says how many: a first impression in a second.
pub(super) const DEFAULT_COUNT: u64 = 10;

impl SenderArguments {
    /// Returns the measurement that the arguments ask for.
    pub(super) fn config(
        mut self,
        specs: &[Spec],
        key: Option<HmacKey>,
        tlv_key: Option<HmacKey>,
    ) -> anyhow::Result<SenderConfig> {
        let traffic_class = TrafficClass::new(self.dscp, self.ecn);
        let plan = self.plan()?;
        let mode = if key.is_some() { Mode::Authenticated } else { Mode::Unauthenticated };
        let targets = self.resolve(specs)?;
        let mut chain = self.chain(&targets, traffic_class)?;
        let tlv_key = place_hmac(&mut chain, mode, key.as_ref(), tlv_key)?;
        if let Some(size) = self.size {
            pad(&mut chain, mode, size, !self.zero_padding)?;
        }
        let kernel_transmit_stamps = self.has_kernel_stamps(&plan, targets.len())?;
        let policy = Policy { code_points: self.code_points(), ..Policy::DEFAULT };
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
            policy,
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

    /// Looks the targets up. IPv6 headers need a target with an IPv6 address.
    fn resolve(&self, specs: &[Spec]) -> anyhow::Result<Vec<Target>> {
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => AddressFamily::V4,
            (_, true) => AddressFamily::V6,
            _ => self
                .src
                .map_or(AddressFamily::Any, |src| if src.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 }),
        };
        let targets: Vec<Target> =
            specs.iter().map(|spec| spec.resolve(DEFAULT_PORT, family)).collect::<anyhow::Result<_>>()?;
        for (option, size) in [("--hbh-ext", self.hbh_ext), ("--destination-ext", self.destination_ext)] {
            if size.is_some() && !targets.iter().any(is_v6) {
                return Err(UsageError::new(format!("{option} is for IPv6, and no target has an IPv6 address")).into());
            }
        }
        Ok(targets)
    }

    /// Takes the TLVs out of the arguments, and checks them against the rest.
    fn chain(&mut self, targets: &[Target], traffic_class: TrafficClass) -> anyhow::Result<Chain> {
        let chain = match self.tlvs.take() {
            Some(SenderCommand::Tlvs(tlvs)) => tlvs.chain(traffic_class, targets.iter().all(is_v6))?,
            None => Chain::default(),
        };
        check_headers(&chain, [self.hbh_ext, self.destination_ext])?;
        // RFC 9503 §3: the reflector must be able to tell sessions apart.
        let has = |kind| chain.tlvs.iter().any(|tlv| tlv.kind == Some(kind));
        if has(Kind::DestinationNodeAddress) && self.ssid == Some(0) {
            return Err(UsageError::new("destination-address goes with an SSID only (RFC 9503 §3)").into());
        }
        Ok(chain)
    }

    /// Returns true if the kernel is asked for T1.
    fn has_kernel_stamps(&self, plan: &SchedulePlan, targets: usize) -> Result<bool, UsageError> {
        if self.segmentation_offload && self.transmit_stamps == TransmitStamps::Kernel {
            let text =
                "--segmentation-offload leaves the kernel no T1 of single packets: without --transmit-stamps kernel";
            return Err(UsageError::new(text));
        }
        Ok(match self.transmit_stamps {
            TransmitStamps::Kernel => true,
            TransmitStamps::User => false,
            TransmitStamps::Auto => !self.segmentation_offload && is_slow(plan, targets),
        })
    }

    fn code_points(&self) -> CodePoints {
        let mut code_points = CodePoints::new(match self.tlv_profile {
            SenderTlvProfile::Current => Profile::Current,
            SenderTlvProfile::Earlier => Profile::Earlier,
        });
        self.code_point.iter().for_each(|(kind, code)| code_points.assign(*kind, *code));
        code_points
    }

    /// Returns the schedule that the arguments ask for.
    pub(super) fn plan(&self) -> Result<SchedulePlan, UsageError> {
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

fn is_v6(target: &Target) -> bool {
    target.address.is_ipv6()
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
