//! What a running reflector says of itself: its interfaces, what became of packets, and how long they stayed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use teaparty_common::reflect::{Address, Disposition, REASON_SLOTS, REASONS, Reason};

use super::ReflectorHandle;
use crate::net::address::ip;
use crate::reflector::config::ReflectorConfig;
use crate::reflector::engine::context::{EngineCounters, InterfaceCounters, KernelCounts};
use crate::reflector::engine::residence_histogram::ResidenceSnapshot;
use crate::reflector::interface_reflector::InterfaceReflector;
pub use crate::reflector::path::CounterPath;
use crate::sync::locked;

/// An interface that is, or will be, answered on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// True if it is present.
    pub is_present: bool,
    /// `native`, `skb` or `off`.
    pub xdp_mode: &'static str,
    /// Why it is that mode, where another one was to be expected.
    pub xdp_reason: Option<String>,
    /// Replies of the XDP program that the driver could not send (`xdp_tx_errors` of `ethtool -S` and their like).
    pub transmit_errors: u64,
    /// The XDP program's number in the kernel.
    pub program_id: Option<u32>,
    /// True if maps of an earlier controller were adopted.
    pub is_adopted: bool,
    /// Listening ports.
    pub ports: Vec<u16>,
    /// Addresses that are answered at.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// A counter.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Count {
    /// Interface.
    pub interface: String,
    /// The part that counted.
    pub path: CounterPath,
    /// `reflect`, `punt`, `drop` or `pass`.
    pub verdict: &'static str,
    /// Why, as a label.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub help: &'static str,
    /// What to do about it; null where nothing is to be done.
    pub remedy: Option<&'static str>,
    /// Packets.
    pub packets: u64,
    /// The source of the last packet that was dropped so. Only there if it is known and the client may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_source: Option<IpAddr>,
}

/// Packets that ended for one reason, and the source of the last one.
type ReasonCount = (u64, Option<Address>);

impl ReflectorHandle {
    /// The interfaces, in the order of the configuration.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let state = locked(&self.state);
        let of_one = |(name, instance): &(String, Option<InterfaceReflector>)| {
            let transmit_errors = match instance {
                Some(instance) => instance.transmit_errors(),
                None => state.away.get(name).map_or(0, |away| away.counters.transmit_errors.load(Ordering::Relaxed)),
            };
            InterfaceStatus { transmit_errors, ..status(name, instance.as_ref(), &state.config) }
        };
        state.slots.iter().map(of_one).collect()
    }

    /// All counters that are not zero, and `reflected` of every path even so. They name no source.
    pub fn counters(&self) -> Vec<Count> {
        let mut counts = self.counters_with_sources();
        counts.iter_mut().for_each(|count| count.last_source = None);
        counts
    }

    /// Returns the same with the source of the last packet that was dropped for each reason: for clients that may write.
    pub fn counters_with_sources(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        let state = locked(&self.state);
        for (interface, instance) in &state.slots {
            let (counters, kernel) = match (instance, state.away.get(interface)) {
                (Some(instance), _) => (&instance.context.counters, instance.reader().map(|reader| reader.counters())),
                (None, Some(away)) => (&away.counters, away.xdp),
                (None, None) => continue,
            };
            let of = |counters: &EngineCounters| {
                REASONS.iter().map(|reason| (counters.get(*reason), counters.last_source(*reason))).collect()
            };
            let sources = instance.as_ref().and_then(InterfaceReflector::reader).map(|reader| reader.last_sources());
            let kernel = add(kernel, &locked(&counters.earlier_xdp));
            let mut paths: Vec<(CounterPath, Vec<ReasonCount>)> = Vec::new();
            if let Some(kernel) = kernel {
                let source = |number: usize| sources.and_then(|sources| sources[number]);
                let counts = REASONS.iter().map(|reason| (kernel[*reason as usize], source(*reason as usize)));
                paths.push((CounterPath::Xdp, counts.collect()));
                paths.push((CounterPath::Ring, of(&counters.ring)));
            }
            paths.push((CounterPath::Socket, of(&counters.socket)));
            for (path, values) in paths {
                for (reason, (packets, source)) in REASONS.iter().zip(values) {
                    if packets != 0 || *reason == Reason::Reflected {
                        counts.push(Count {
                            interface: interface.clone(),
                            path,
                            verdict: reason.disposition().label(),
                            reason: reason.label(),
                            help: reason.help(),
                            remedy: reason.remedy(),
                            packets,
                            last_source: source
                                .filter(|_| reason.disposition() == Disposition::Drop)
                                .map(|one| ip(&one)),
                        });
                    }
                }
            }
        }
        counts
    }

    /// Returns the residence times of packets in the controller, by interface and path.
    pub fn residences(&self) -> Vec<(String, CounterPath, ResidenceSnapshot)> {
        let state = locked(&self.state);
        let present = state.slots.iter().filter_map(|(name, instance)| Some((name, instance.as_ref()?)));
        let of_one = |(name, instance): (&String, &InterfaceReflector)| {
            let context = &instance.context;
            let ring = instance.attachment().map(|_| (CounterPath::Ring, &context.counters.ring));
            let engines = ring.into_iter().chain([(CounterPath::Socket, &context.counters.socket)]);
            engines.map(|(path, counters)| (name.clone(), path, counters.residence.get())).collect::<Vec<_>>()
        };
        present.flat_map(of_one).collect()
    }
}

/// The counts of an interface that is away.
pub(in crate::reflector) struct Away {
    /// By the controller.
    pub(in crate::reflector) counters: Arc<InterfaceCounters>,
    /// By the kernel; `None` if it had no program.
    xdp: Option<KernelCounts>,
}

impl Away {
    /// Of an interface that is about to end because it is gone.
    pub(in crate::reflector) fn new(instance: &InterfaceReflector) -> Self {
        let xdp = instance.reader().map(|reader| reader.counters());
        Self { counters: instance.context.counters.clone(), xdp }
    }

    /// The interface is back: maps that were not taken over count from 0, and are added to what was counted before.
    pub(in crate::reflector) fn end(&self, instance: &InterfaceReflector) {
        if !instance.attachment().is_some_and(|attachment| attachment.is_adopted) {
            let mut earlier = locked(&self.counters.earlier_xdp);
            *earlier = add(self.xdp, &earlier).unwrap_or([0; REASON_SLOTS]);
        }
    }
}

/// The sum; `None` where the kernel has not counted.
fn add(kernel: Option<KernelCounts>, earlier: &KernelCounts) -> Option<KernelCounts> {
    let is_counted = kernel.is_some() || earlier.iter().any(|packets| *packets != 0);
    let mut sum = kernel.unwrap_or([0; REASON_SLOTS]);
    sum.iter_mut().zip(earlier).for_each(|(sum, earlier)| *sum += earlier);
    is_counted.then_some(sum)
}

fn status(name: &str, instance: Option<&InterfaceReflector>, config: &ReflectorConfig) -> InterfaceStatus {
    let snapshot = instance.map(|instance| instance.context.snapshot());
    let attachment = instance.and_then(InterfaceReflector::attachment);
    let mut addresses: Vec<IpAddr> =
        snapshot.iter().flat_map(|snapshot| snapshot.addresses.iter().map(ip).collect::<Vec<_>>()).collect();
    addresses.sort_unstable();
    InterfaceStatus {
        name: name.into(),
        is_present: instance.is_some(),
        xdp_mode: instance.map_or("off", |instance| instance.mode().name()),
        xdp_reason: instance.and_then(InterfaceReflector::mode_reason).map(str::to_owned),
        transmit_errors: 0,
        program_id: attachment.filter(|found| found.lost.is_none()).map(|attachment| attachment.program_id),
        is_adopted: attachment.is_some_and(|attachment| attachment.is_adopted),
        ports: config.ports.clone(),
        addresses,
    }
}
