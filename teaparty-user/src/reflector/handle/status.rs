//! What a running reflector says of itself: its interfaces, what became of packets, and how long they stayed.

use std::net::IpAddr;

use serde::Serialize;
use teaparty_common::reflect::{REASON_SLOTS, REASONS, Reason};

use super::ReflectorHandle;
use crate::reflector::config::{Config, ip};
use crate::reflector::instance::Instance;
use crate::reflector::residence::Residences;
use crate::reflector::shared::Counters;
use crate::reflector::slow_path::locked;

/// An interface that is, or will be, answered on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub is_present: bool,
    /// `native`, `skb` or `off`.
    pub xdp_mode: &'static str,
    /// The XDP program's number in the kernel.
    pub program_id: Option<u32>,
    /// Whether maps of an earlier controller were taken over.
    pub is_adopted: bool,
    /// Listening ports.
    pub ports: Vec<u16>,
    /// Addresses that are answered at.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// Which part of the reflector dealt with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The XDP program.
    Xdp,
    /// The controller, from the punt ring.
    Ring,
    /// The controller, from a socket.
    Socket,
}

impl Path {
    /// As metrics, JSON and the summary spell it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ring => "ring",
            Self::Socket => "socket",
        }
    }
}

/// A counter.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Count {
    /// Interface.
    pub interface: String,
    /// Who counted.
    pub path: Path,
    /// `reflect`, `punt`, `drop` or `pass`.
    pub verdict: &'static str,
    /// Why, as a label.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub help: &'static str,
    /// Packets.
    pub packets: u64,
}

impl ReflectorHandle {
    /// The interfaces, in the order of the configuration.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let state = locked(&self.state);
        state.slots.iter().map(|(name, instance)| status(name, instance.as_ref(), &state.config)).collect()
    }

    /// All counters that are not zero, and `reflected` of every path even so.
    pub fn counters(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for (interface, instance) in &locked(&self.state).slots {
            let Some(instance) = instance else { continue };
            let shared = &instance.shared;
            let of = |counters: &Counters| REASONS.iter().map(|r| counters.get(*r)).collect();
            let kernel: Option<[u64; REASON_SLOTS]> = instance.reader().map(|reader| reader.counters());
            let mut paths: Vec<(Path, Vec<u64>)> = Vec::new();
            if let Some(kernel) = kernel {
                paths.push((Path::Xdp, REASONS.iter().map(|reason| kernel[*reason as usize]).collect()));
                paths.push((Path::Ring, of(&shared.ring)));
            }
            paths.push((Path::Socket, of(&shared.socket)));
            for (path, values) in paths {
                for (reason, packets) in REASONS.iter().zip(values) {
                    if packets != 0 || *reason == Reason::Reflected {
                        counts.push(Count {
                            interface: interface.clone(),
                            path,
                            verdict: reason.class().label(),
                            reason: reason.label(),
                            help: reason.help(),
                            packets,
                        });
                    }
                }
            }
        }
        counts
    }

    /// How long packets stayed in the controller, by interface and path.
    pub fn residences(&self) -> Vec<(String, Path, Residences)> {
        let state = locked(&self.state);
        let present = state.slots.iter().filter_map(|(name, instance)| Some((name, instance.as_ref()?)));
        let of_one = |(name, instance): (&String, &Instance)| {
            let shared = &instance.shared;
            let ring = instance.attachment().map(|_| (Path::Ring, &shared.ring));
            let engines = ring.into_iter().chain([(Path::Socket, &shared.socket)]);
            engines.map(|(path, counters)| (name.clone(), path, counters.residence.get())).collect::<Vec<_>>()
        };
        present.flat_map(of_one).collect()
    }
}

fn status(name: &str, instance: Option<&Instance>, config: &Config) -> InterfaceStatus {
    let view = instance.map(|instance| instance.shared.view());
    let attachment = instance.and_then(Instance::attachment);
    let mut addresses: Vec<IpAddr> =
        view.iter().flat_map(|view| view.addresses.iter().map(ip).collect::<Vec<_>>()).collect();
    addresses.sort_unstable();
    InterfaceStatus {
        name: name.into(),
        is_present: instance.is_some(),
        xdp_mode: instance.map_or("off", |instance| instance.mode().name()),
        program_id: attachment.map(|attachment| attachment.program_id),
        is_adopted: attachment.is_some_and(|attachment| attachment.is_adopted),
        ports: config.ports.clone(),
        addresses,
    }
}
