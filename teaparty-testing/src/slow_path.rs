//! The controller's slow path with a packet's facts given: what it would have answered in the program's place.

use std::sync::Arc;

use teaparty_common::maps::{Clock, HistoryRing, HistorySlot, SessionKey};
use teaparty_common::reflect::{PacketMeta, Policy, Reason};
use teaparty_common::wire::sender::ReflectedFields;
use teaparty_common::wire::{Timestamp, TimestampFormat};
use teaparty_user::net::host::{Host, HostAddress};
use teaparty_user::net::interface::Interface;
use teaparty_user::reflector::config::{DestinationNode, ReflectorConfig, ReflectorSettings};
use teaparty_user::reflector::pipeline::burst_limits::BurstLimiter;
use teaparty_user::reflector::pipeline::slow_path::{TestPacket, process};
use teaparty_user::reflector::pipeline::test_packet_control::BurstStage;
use teaparty_user::reflector::pipeline::tlv_env::Headers;
use teaparty_user::reflector::session::session_store::SessionStore;
use teaparty_user::reflector::snapshot::ConfigSnapshot;

/// The slow path under one configuration.
pub struct Slow {
    view: ConfigSnapshot,
    clock: Clock,
    bursts: Arc<BurstLimiter>,
}

/// A session store for packets whose numbers are assigned: it is asked nothing that matters.
struct Assigned;

impl SessionStore for Assigned {
    fn claim(
        &self,
        _: &SessionKey,
        _: u32,
        _: &ConfigSnapshot,
        _: &ReflectedFields,
        _: &mut PacketMeta,
    ) -> Result<(), Reason> {
        panic!("the packet has its number")
    }
    fn claim_again(&self, _: &SessionKey, _: &mut PacketMeta) -> Result<(), Reason> {
        panic!("nothing asks for a second reply")
    }
    fn unanswered(&self, _: &SessionKey, _: &PacketMeta) {}
    fn record_exchange(&self, _: &SessionKey, _: &PacketMeta, _: HistorySlot) {}
    fn history_ring(&self, _: u32) -> Option<HistoryRing> {
        None
    }
}

impl Slow {
    /// With these rules and clock, at the addresses that the random frames are sent to and ask for.
    pub fn new(policy: Policy, is_stateful: bool, clock: Clock) -> Self {
        let settings =
            ReflectorSettings { iface: vec!["t0".into()], stateless: !is_stateful, ..ReflectorSettings::default() };
        let mut config = ReflectorConfig::try_from(settings).unwrap_or_else(|error| panic!("{}", error.problem));
        config.policy = policy;
        let addresses = ["198.51.100.20", "198.51.100.21", "2001:db8:1::20", "2001:db8:1::21"];
        let addresses: Vec<std::net::IpAddr> = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        let others = ["198.51.100.22", "2001:db8:1::22"].map(|ip| ip.parse().expect("an address"));
        let interface = Interface {
            name: "t0".into(),
            index: 7,
            mac: crate::frame::OUR_MAC,
            mtu: 1500,
            link_type: libc::ARPHRD_ETHER,
            is_loopback: false,
            is_up: true,
            addresses,
            ..Interface::default()
        };
        config.destination_node = DestinationNode::Any;
        let others = others.map(|ip| HostAddress { index: 8, ip, broadcast: None, is_global: true });
        let host = Host { addresses: others.to_vec(), ..Host::default() };
        Self { view: ConfigSnapshot::new(Arc::new(config), interface, &Arc::new(host)), clock, bursts: Arc::default() }
    }

    /// The reply's payload and traffic class, with T3 as it stands in `timestamp`.
    pub fn reply(
        &self,
        request: &[u8],
        ip_header: &[u8],
        meta: &PacketMeta,
        timestamp: u64,
    ) -> Result<(Vec<u8>, u8), Reason> {
        let key = SessionKey {
            source: meta.source,
            destination: meta.destination,
            source_port: meta.source_port,
            destination_port: meta.destination_port,
            ..SessionKey::default()
        };
        let headers = Headers { fixed: Some(ip_header), ..Headers::default() };
        let control = BurstStage::First(&self.bursts);
        let job = TestPacket { key, session_flags: 0, meta: *meta, headers, has_segments: &|| false, control };
        let mut payload = request.to_vec();
        let answer = process(job, &mut payload, &self.view, &Assigned)?;
        let format = self.view.config.policy.format();
        let near = meta.received_ns.max(1_700_000_000_000_000_000);
        let nanos = Timestamp::from_bits(timestamp).to_nanos(format, near);
        let realtime = match format {
            TimestampFormat::Ntp => nanos,
            TimestampFormat::Ptp => nanos - self.clock.tai_offset_ns,
        };
        answer.finalize(&mut payload, || realtime, &self.clock);
        Ok((payload, answer.reply_options.traffic_class.0))
    }
}
