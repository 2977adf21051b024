//! A reflector's health in one line, and what is not as it should be.

use serde::Serialize;
use teaparty_common::reflect::Reason;

use crate::layout::count as plural;
use crate::reflector::handle::{Count, InterfaceStatus};
use crate::sys::clock::ClockState;

/// Reasons that say that the reflector, and not its clients, lacks something.
const OWN_FAULTS: [Reason; 5] =
    [Reason::RingFull, Reason::TableFull, Reason::SendFailed, Reason::NoKey, Reason::PuntLimited];

/// The health of a reflector.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
pub(crate) struct ReflectorHealth {
    /// One line: where and how packets are answered, and the number of warnings.
    #[schema(example = "answering in the kernel on eth0; 2 warnings")]
    summary: String,
    /// What is not as it should be.
    warnings: Vec<HealthWarning>,
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct HealthWarning {
    /// The interface, or `clock`.
    subject: String,
    /// The finding.
    found: String,
    /// The remedy; null where `found` has it.
    remedy: Option<String>,
}

impl HealthWarning {
    fn new(subject: &str, found: impl Into<String>, remedy: impl Into<Option<String>>) -> Self {
        Self { subject: subject.into(), found: found.into(), remedy: remedy.into() }
    }
}

impl ReflectorHealth {
    /// Judges what a reflector says of itself.
    pub(crate) fn new(interfaces: &[InterfaceStatus], clock: &ClockState, counters: &[Count]) -> Self {
        let mut warnings: Vec<HealthWarning> = interfaces.iter().flat_map(of_interface).collect();
        warnings.extend(counters.iter().filter_map(of_counter));
        if !clock.is_synchronized {
            let remedy = "run an NTP or PTP client, such as chrony; one-way delays are unreliable until then";
            warnings.push(HealthWarning::new("clock", "not synchronised", remedy.to_owned()));
        }
        let mut summary = places(interfaces);
        if !warnings.is_empty() {
            summary.push_str(&format!("; {}", plural(warnings.len() as u64, "warning")));
        }
        Self { summary, warnings }
    }
}

/// Returns where packets are answered, and how.
fn places(interfaces: &[InterfaceStatus]) -> String {
    let named = |wanted: &dyn Fn(&InterfaceStatus) -> bool| {
        let names: Vec<&str> = interfaces.iter().filter(|one| wanted(one)).map(|one| one.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let kernel = named(&|one| one.is_present && one.xdp_mode != "off").map(|names| format!("in the kernel on {names}"));
    let sockets = named(&|one| one.is_present && one.xdp_mode == "off").map(|names| format!("by sockets on {names}"));
    let answering: Vec<String> = kernel.into_iter().chain(sockets).collect();
    let answering = match answering.is_empty() {
        true => "not answering".to_owned(),
        false => format!("answering {}", answering.join(" and ")),
    };
    match named(&|one| !one.is_present) {
        Some(away) => format!("{answering}; away: {away}"),
        None => answering,
    }
}

fn of_interface(interface: &InterfaceStatus) -> Vec<HealthWarning> {
    let name = &interface.name;
    if !interface.is_present {
        let remedy = format!("`ip link show {name}`; it is answered on as soon as it comes back");
        return vec![HealthWarning::new(name, "away", remedy)];
    }
    let mode = interface.xdp_reason.as_ref();
    let mode = mode.map(|reason| HealthWarning::new(name, format!("XDP mode {}: {reason}", interface.xdp_mode), None));
    let lost = (interface.transmit_errors > 0).then(|| {
        let replies = plural(interface.transmit_errors, "reply");
        let remedy = format!(
            "`ethtool -S {name}` shows the counters; on a veth whose far end runs no XDP program take --xdp-mode skb"
        );
        HealthWarning::new(name, format!("the driver could not send {replies}"), remedy)
    });
    mode.into_iter().chain(lost).collect()
}

fn of_counter(count: &Count) -> Option<HealthWarning> {
    OWN_FAULTS.iter().find(|reason| reason.label() == count.reason && count.packets > 0)?;
    let found = format!("{}: {} so far", count.reason, plural(count.packets, "packet"));
    Some(HealthWarning::new(&count.interface, found, count.remedy.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reflector::handle::CounterPath;

    fn interface(name: &str, is_present: bool, xdp_mode: &'static str) -> InterfaceStatus {
        InterfaceStatus {
            name: name.into(),
            is_present,
            xdp_mode,
            xdp_reason: None,
            transmit_errors: 0,
            program_id: None,
            is_adopted: false,
            ports: vec![862],
            addresses: Vec::new(),
        }
    }

    const SYNCHRONIZED: ClockState = ClockState { is_synchronized: true, ..ClockState::UNKNOWN };

    fn summary(interfaces: &[InterfaceStatus], clock: ClockState) -> String {
        ReflectorHealth::new(interfaces, &clock, &[]).summary
    }

    #[test]
    fn one_line_says_where_packets_are_answered_and_how_many_warnings_there_are() {
        let kernel = || interface("eth0", true, "native");
        assert_eq!(summary(&[kernel()], SYNCHRONIZED), "answering in the kernel on eth0");
        assert_eq!(summary(&[kernel()], ClockState::UNKNOWN), "answering in the kernel on eth0; 1 warning");
        let all = [kernel(), interface("lo", true, "off"), interface("eth1", false, "off")];
        let expected = "answering in the kernel on eth0 and by sockets on lo; away: eth1; 2 warnings";
        assert_eq!(summary(&all, ClockState::UNKNOWN), expected);
        assert_eq!(summary(&all[2..], SYNCHRONIZED), "not answering; away: eth1; 1 warning");
    }

    #[test]
    fn what_the_reflector_lacks_is_a_warning_and_what_clients_do_wrong_is_none() {
        let count = |reason: Reason| Count {
            interface: "eth0".into(),
            path: CounterPath::Xdp,
            verdict: reason.disposition().label(),
            reason: reason.label(),
            help: reason.help(),
            remedy: reason.remedy(),
            packets: 3,
            last_source: None,
        };
        let lost = InterfaceStatus { transmit_errors: 1, ..interface("eth0", true, "native") };
        let counts = [count(Reason::TableFull), count(Reason::NotAllowed)];
        let health = ReflectorHealth::new(&[lost], &SYNCHRONIZED, &counts);
        let found: Vec<&str> = health.warnings.iter().map(|one| one.found.as_str()).collect();
        assert_eq!(found, ["the driver could not send 1 reply", "table-full: 3 packets so far"]);
        assert!(health.warnings.iter().all(|one| one.remedy.is_some()));
        assert!(OWN_FAULTS.iter().all(|reason| reason.remedy().is_some()));
    }
}
