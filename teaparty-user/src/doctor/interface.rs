//! What an interface is like: its driver, what XDP can do there, and what offloads do to packets before the program.

use teaparty_common::maps::MAX_PUNT_FRAME;

use super::{DoctorFinding, DoctorVerdict};
use crate::net::ethtool::{self, Offloads};
use crate::net::host::Host;
use crate::net::interface::{Interface, XdpState, xdp_state};
use crate::net::transmit_errors::TransmitErrors;
use crate::net::xdp_features::{self, XdpFeatures};
use crate::reflector::kernel::pins;

/// Longest frame that the XDP program sees in one piece everywhere: a page less what the kernel keeps of it.
const ONE_BUFFER: u32 = 3498;

/// Looks at all of it.
pub(super) fn inspect(found: &Interface) -> Vec<DoctorFinding> {
    let name = &found.name;
    let driver = ethtool::driver(name).ok();
    let features = xdp_features::of(found.index).ok().flatten();
    let state = xdp_state(found.index).ok().flatten();
    let queues = |kind: &str| {
        let entries = std::fs::read_dir(format!("/sys/class/net/{name}/queues")).ok()?;
        Some(entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(kind)).count())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kind = match (found.has_ethernet_header(), found.is_loopback) {
        (false, _) => FrameKind::Bare(found.link_type),
        (_, true) => FrameKind::Loopback,
        _ => FrameKind::Ethernet,
    };
    let mut findings = vec![link(found), xdp(driver.as_deref(), features, kind)];
    findings.push(program(state, pins::has_left(found.index)));
    if let Ok(offloads) = ethtool::offloads(name) {
        let host = Host::read().unwrap_or_default();
        let vlans: Vec<String> = host.vlans_of(found.index).into_iter().map(|(_, link)| link.name.clone()).collect();
        findings.extend(lro(name, offloads).into_iter().chain(gro(offloads)).chain([vlan(name, offloads, &vlans)]));
    }
    let lost = TransmitErrors::default().read(name).ok().flatten();
    findings.extend(lost.filter(|lost| *lost > 0).map(transmit));
    findings.push(mtu(found.mtu, features));
    findings.extend(queues("rx-").map(|receive| queue(receive, processors)));
    findings
}

fn link(found: &Interface) -> DoctorFinding {
    let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
    match (found.is_up, addresses.is_empty()) {
        (true, false) => DoctorFinding::good("link", format!("up, {}", addresses.join(", "))),
        (true, true) => DoctorFinding::new("link", DoctorVerdict::Warning, "up, without an address")
            .remedy(format!("ip address add ADDRESS/LENGTH dev {}: a reflector follows within a second", found.name)),
        (false, _) => {
            DoctorFinding::new("link", DoctorVerdict::Warning, "down").remedy(format!("ip link set {} up", found.name))
        }
    }
}

/// The link-layer header of an interface's frames.
#[derive(Clone, Copy)]
enum FrameKind {
    Ethernet,
    Loopback,
    /// No Ethernet header; the link type (`ARPHRD_…`).
    Bare(u16),
}

fn xdp(driver: Option<&str>, features: Option<XdpFeatures>, kind: FrameKind) -> DoctorFinding {
    let by = driver.map_or_else(String::new, |driver| format!("driver {driver}: "));
    if let FrameKind::Bare(link_type) = kind {
        let found = format!(
            "{by}sockets answer: frames have no Ethernet header (link type {link_type}), so XDP sees no packet"
        );
        return DoctorFinding::new("XDP", DoctorVerdict::Note, found);
    }
    if driver == Some("veth") {
        return DoctorFinding::new(
            "XDP",
            DoctorVerdict::Note,
            format!("{by}generic mode (skb): native replies are lost unless the far end runs an XDP program"),
        )
        .remedy("--xdp-mode native, if the far end of the veth runs an XDP program");
    }
    match features {
        Some(features) if features.has_basic() => {
            let more = if features.has_fragments() { ", also in several buffers" } else { "" };
            DoctorFinding::good("XDP", format!("{by}native{more}"))
        }
        _ if matches!(kind, FrameKind::Loopback) => {
            DoctorFinding::new("XDP", DoctorVerdict::Note, "generic only, as always on loopback")
        }
        Some(_) => DoctorFinding::new(
            "XDP",
            DoctorVerdict::Warning,
            format!("{by}no native XDP now; generic mode (skb) works, slower"),
        )
        .remedy("a newer driver, fewer queues (ethtool -L) or a smaller MTU may bring it; else nothing is to be done"),
        None => DoctorFinding::new(
            "XDP",
            DoctorVerdict::Note,
            format!("{by}the kernel does not tell what it can (it does from Linux 6.3)"),
        )
        .remedy("start the reflector with --xdp-mode native: it says whether that can be"),
    }
}

fn program(state: Option<XdpState>, is_ours: bool) -> DoctorFinding {
    match state {
        None => DoctorFinding::good("program", "no XDP program in the way"),
        Some(state) => {
            let mode = if state.is_native { "native" } else { "skb" };
            let found = format!("XDP program {} is attached in mode {mode}", state.program_id);
            if is_ours {
                return DoctorFinding::good("program", format!("{found}, which is teaparty's"));
            }
            DoctorFinding::new("program", DoctorVerdict::Failure, format!("{found}, which is not teaparty's"))
                .remedy("`bpftool net` shows whose it is; stop that, or let sockets answer: --xdp-mode off")
        }
    }
}

fn transmit(lost: u64) -> DoctorFinding {
    DoctorFinding::new(
        "transmit",
        DoctorVerdict::Warning,
        format!("{lost} frames of XDP programs could not be sent, since it exists"),
    )
    .remedy("watch `ethtool -S`; on a veth whose far end runs no XDP program take --xdp-mode skb, or auto")
}

fn lro(name: &str, offloads: Offloads) -> Option<DoctorFinding> {
    offloads.lro.then(|| {
        DoctorFinding::new(
            "LRO",
            DoctorVerdict::Warning,
            "on: packets are joined before the program sees them, and drivers refuse XDP",
        )
        .remedy(format!("ethtool -K {name} lro off"))
    })
}

fn gro(offloads: Offloads) -> Option<DoctorFinding> {
    let found = "on: no concern in native mode; in generic mode joined (TCP) packets are first copied into one buffer";
    offloads.gro.then(|| DoctorFinding::new("GRO", DoctorVerdict::Note, found))
}

/// `vlans` are the VLAN devices on the interface.
fn vlan(name: &str, offloads: Offloads, vlans: &[String]) -> DoctorFinding {
    if offloads.receive_vlan {
        return DoctorFinding::new(
            "VLAN",
            DoctorVerdict::Note,
            "tags are taken out of received frames: the program does not see them, and takes such frames for untagged ones",
        )
        .remedy(format!("to answer tagged packets in the kernel by their VLAN: ethtool -K {name} rxvlan off"));
    }
    let found = if vlans.is_empty() {
        "no VLAN device is on it, so tagged ones go to the stack, unless with --any-vlan".to_owned()
    } else {
        format!("the program answers those to an address of {}, or of any VLAN with --any-vlan", vlans.join(", "))
    };
    DoctorFinding::good("VLAN", format!("tags stay in the frames: {found}"))
}

fn mtu(mtu: u32, features: Option<XdpFeatures>) -> DoctorFinding {
    let takes_fragments = features.is_some_and(XdpFeatures::has_fragments);
    if mtu as usize > MAX_PUNT_FRAME {
        return DoctorFinding::new(
            "MTU",
            DoctorVerdict::Note,
            format!("{mtu}: packets over {MAX_PUNT_FRAME} octets that need the controller go by sockets"),
        );
    }
    if mtu > ONE_BUFFER && !takes_fragments {
        return DoctorFinding::new(
            "MTU",
            DoctorVerdict::Warning,
            format!("{mtu}: longer than one buffer, which the driver may refuse with XDP"),
        )
        .remedy(format!("an MTU of {ONE_BUFFER} or less, or a driver with XDP in several buffers"));
    }
    DoctorFinding::good("MTU", mtu.to_string())
}

fn queue(receive: usize, processors: usize) -> DoctorFinding {
    let found = format!("{receive} to receive by, {processors} processors");
    if receive >= processors || processors == 1 {
        return DoctorFinding::good("queues", found);
    }
    DoctorFinding::new(
        "queues",
        DoctorVerdict::Note,
        format!("{found}: the program runs on no more of them than there are queues"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_failures_and_our_own_are_not() {
        let state = Some(XdpState { is_native: true, program_id: 7 });
        assert_eq!(program(state, false).verdict, DoctorVerdict::Failure);
        assert!(program(state, false).found.contains("program 7"));
        assert_eq!(program(state, true).verdict, DoctorVerdict::Good);
        assert_eq!(program(None, false).verdict, DoctorVerdict::Good);
    }

    #[test]
    fn what_becomes_of_tagged_frames_is_told_for_each_case() {
        let [taken, left] = [true, false].map(|receive_vlan| Offloads { lro: false, gro: false, receive_vlan });
        let vlans = ["eth0.5".to_owned(), "eth0.7".to_owned()];
        for vlans in [&[][..], &vlans] {
            let found = vlan("eth0", taken, vlans);
            assert!(
                found.verdict == DoctorVerdict::Note && found.found.contains("takes such frames for untagged"),
                "{found:?}"
            );
            assert!(!found.found.contains("stack"), "it may be the program that answers them: {found:?}");
        }
        let (none, some) = (vlan("eth0", left, &[]), vlan("eth0", left, &vlans));
        assert_eq!((none.verdict, some.verdict), (DoctorVerdict::Good, DoctorVerdict::Good));
        assert!(none.found.contains("go to the stack, unless with --any-vlan"), "{none:?}");
        assert!(some.found.contains("the program answers those to an address of eth0.5, eth0.7"), "{some:?}");
    }

    #[test]
    fn what_costs_packets_is_a_warning_with_the_command_that_mends_it() {
        let on = Offloads { lro: true, gro: true, receive_vlan: true };
        let found = lro("eth0", on).unwrap();
        assert_eq!((found.verdict, found.remedy.as_deref()), (DoctorVerdict::Warning, Some("ethtool -K eth0 lro off")));
        assert!(vlan("eth0", on, &[]).remedy.unwrap().contains("ethtool -K eth0 rxvlan off"));
        let off = Offloads { lro: false, gro: false, receive_vlan: false };
        assert!(lro("eth0", off).is_none() && gro(off).is_none());
        let [none, basic, all] = [0, 1, 1 | 32].map(|bits| Some(XdpFeatures(bits)));
        assert_eq!(xdp(Some("ixgbe"), none, FrameKind::Ethernet).verdict, DoctorVerdict::Warning);
        assert_eq!(xdp(Some("ixgbe"), basic, FrameKind::Ethernet).verdict, DoctorVerdict::Good);
        let veth = xdp(Some("veth"), basic, FrameKind::Ethernet);
        assert!(veth.verdict == DoctorVerdict::Note && veth.found.contains("generic mode (skb)"), "{veth:?}");
        assert!(veth.remedy.is_some_and(|remedy| remedy.contains("--xdp-mode native")));
        let tun = xdp(Some("tun"), basic, FrameKind::Bare(libc::ARPHRD_NONE));
        assert!(tun.verdict == DoctorVerdict::Note && tun.found.contains("sockets answer"), "{tun:?}");
        assert_eq!((mtu(9000, basic).verdict, mtu(9000, all).verdict), (DoctorVerdict::Warning, DoctorVerdict::Good));
        assert_eq!((mtu(1500, None).verdict, mtu(65_536, all).verdict), (DoctorVerdict::Good, DoctorVerdict::Note));
        assert_eq!((queue(1, 8).verdict, queue(8, 8).verdict), (DoctorVerdict::Note, DoctorVerdict::Good));
    }
}
