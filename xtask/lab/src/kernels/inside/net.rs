//! Two network namespaces, the reflector's and its peer's, joined by what a row is about.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use teaparty_lab::programs;
use xtask::exec;

use crate::kernels::machine::{FAR_MAC, NEAR_MAC};

/// Addresses of the reflector, which are those that the vectors ask, and of its peer.
pub(super) const NEAR_V4: &str = "198.51.100.20";
pub(super) const NEAR_V6: &str = "2001:db8:1::20";
pub(super) const FAR_V4: &str = "198.51.100.2";
pub(super) const FAR_V6: &str = "2001:db8:1::2";

/// The senders of the vectors, and where V76 wants its reply: all have this MAC address.
const SENDERS: [&str; 3] = ["192.0.2.10", "203.0.113.5", "2001:db8::10"];
const SENDERS_MAC: &str = "02:00:5e:10:00:01";

/// Devices at both ends.
const NEAR: &str = "near0";
const FAR: &str = "far0";
/// The VLAN devices on them.
const NEAR_VLAN: &str = "near0.100";
pub(super) const FAR_VLAN: &str = "far0.100";

/// Most time for a card to return from a namespace that was deleted.
const RETURN: Duration = Duration::from_secs(20);

/// The interface of a row's reflector, and that of its peer.
pub(super) struct Link {
    /// The reflector's device.
    pub(super) near: String,
    /// The peer's.
    pub(super) far: String,
    /// The MAC address of the reflector's device.
    pub(super) mac: String,
    // Keeps the program at a veth's far end, without which frames sent by XDP_TX are dropped there.
    _pass: Option<Ebpf>,
}

/// The namespaces. Dropping it removes both, with all that is in them.
pub(super) struct Net(());

/// One of the two namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The reflector's.
    Near,
    /// Its peer's.
    Far,
}

impl End {
    fn name(self) -> &'static str {
        if self == Self::Near { "near" } else { "far" }
    }
}

impl Net {
    pub(super) fn new() -> Result<Self> {
        for end in [End::Near, End::Far] {
            ip(&format!("netns add {}", end.name()))?;
        }
        let net = Self(());
        for end in [End::Near, End::Far] {
            net.ip(end, "link set lo up")?;
        }
        Ok(net)
    }

    /// Runs `ip` in a namespace.
    pub(super) fn ip(&self, end: End, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", end.name()))
    }

    /// Returns the output of `ip` in a namespace.
    pub(super) fn ask(&self, end: End, arguments: &str) -> Result<String> {
        exec::capture(Command::new("ip").args(["-n", end.name()]).args(arguments.split(' ')))
    }

    /// Calls `f` on a thread of its own in a namespace.
    pub(super) fn inside<T: Send>(&self, end: End, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = file(end)?;
        std::thread::scope(|scope| {
            let run = || {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                f()
            };
            scope.spawn(run).join().expect("the thread hands its errors on")
        })
    }

    /// Has a command run in a namespace, and end with us.
    pub(super) fn place(&self, command: &mut Command, end: End) -> Result<()> {
        let file = file(end)?;
        let enter = move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: system calls alone; `file` stays open in the closure.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// The two cards of the emulated machine, one in each namespace.
    pub(super) fn virtio(&self, _: &Path) -> Result<Link> {
        self.cards()?;
        self.addressed(Link { near: NEAR.into(), far: FAR.into(), mac: NEAR_MAC.into(), _pass: None })
    }

    /// Moves the cards into the namespaces.
    fn cards(&self) -> Result<()> {
        for (end, mac, name) in [(End::Near, NEAR_MAC, NEAR), (End::Far, FAR_MAC, FAR)] {
            let card = card(mac)?;
            ip(&format!("link set {card} down"))?;
            ip(&format!("link set {card} netns {} name {name}", end.name()))?;
            self.ip(end, &format!("link set {name} up"))?;
        }
        Ok(())
    }

    /// The cards of the emulated machine without addresses, and VLAN 100 on both, whose addresses the cards are asked for.
    pub(super) fn virtio_vlan(&self, _: &Path) -> Result<Link> {
        self.cards()?;
        // The card lets in only VLANs that there are: 200 is another one.
        for (end, lower, name, id) in
            [(End::Near, NEAR, NEAR_VLAN, 100), (End::Near, NEAR, "near0.200", 200), (End::Far, FAR, FAR_VLAN, 100)]
        {
            self.ip(end, &format!("link add link {lower} name {name} type vlan id {id}"))?;
            self.ip(end, &format!("link set {name} up"))?;
        }
        let vlan = Link { near: NEAR_VLAN.into(), far: FAR_VLAN.into(), mac: NEAR_MAC.into(), _pass: None };
        let vlan = self.addressed(vlan)?;
        Ok(Link { near: NEAR.into(), far: FAR.into(), ..vlan })
    }

    /// A veth pair without addresses, and the program of the object at its far end that lets everything pass.
    fn pair(&self, object: &Path) -> Result<Link> {
        let peer = format!("peer name {FAR} address {FAR_MAC} netns {}", End::Far.name());
        self.ip(End::Near, &format!("link add {NEAR} address {NEAR_MAC} type veth {peer}"))?;
        for (end, name) in [(End::Near, NEAR), (End::Far, FAR)] {
            self.ip(end, &format!("link set {name} up"))?;
        }
        let mut ebpf = programs::load(object)?;
        self.inside(End::Far, || {
            let pass: &mut Xdp = ebpf.program_mut("teaparty_pass").context("no program teaparty_pass")?.try_into()?;
            pass.load()?;
            pass.attach(FAR, XdpMode::Driver).context("cannot attach to the far end of the pair")?;
            Ok(())
        })?;
        Ok(Link { near: NEAR.into(), far: FAR.into(), mac: NEAR_MAC.into(), _pass: Some(ebpf) })
    }

    /// A veth pair.
    pub(super) fn veth(&self, object: &Path) -> Result<Link> {
        self.addressed(self.pair(object)?)
    }

    /// VLAN 100 on both ends of a veth pair.
    pub(super) fn vlan(&self, object: &Path) -> Result<Link> {
        self.on_pair(object, |near, far| {
            [(End::Near, near, "near100"), (End::Far, far, "far100")]
                .map(|(end, lower, name)| (end, name, format!("link {lower} name {name} type vlan id 100")))
        })
    }

    /// VLAN 10 in a service VLAN (802.1ad) 20, on both ends of a veth pair.
    pub(super) fn double_vlan(&self, object: &Path) -> Result<Link> {
        let mut link = self.pair(object)?;
        for (end, lower, outer, inner) in [(End::Near, NEAR, "near20", "near10"), (End::Far, FAR, "far20", "far10")] {
            self.ip(end, &format!("link add link {lower} name {outer} type vlan proto 802.1ad id 20"))?;
            self.ip(end, &format!("link add link {outer} name {inner} type vlan id 10"))?;
            self.ip(end, &format!("link set {outer} up"))?;
            self.ip(end, &format!("link set {inner} up"))?;
        }
        (link.near, link.far) = ("near10".into(), "far10".into());
        self.addressed(link)
    }

    /// A macvlan on the reflector's end of a veth pair.
    pub(super) fn macvlan(&self, object: &Path) -> Result<Link> {
        let mut link = self.pair(object)?;
        link.near = "mac0".into();
        link.mac = "02:00:00:00:00:03".into();
        let mac = &link.mac;
        self.ip(End::Near, &format!("link add link {NEAR} name mac0 address {mac} type macvlan mode bridge"))?;
        self.ip(End::Near, "link set mac0 up")?;
        self.addressed(link)
    }

    /// A bridge with the reflector's end of a veth pair as its port.
    pub(super) fn bridge(&self, object: &Path) -> Result<Link> {
        let link = self.pair(object)?;
        self.ip(End::Near, &format!("link add bridge0 address {NEAR_MAC} type bridge forward_delay 0 stp_state 0"))?;
        self.over(link, "bridge0")
    }

    /// A bond with the reflector's end of a veth pair as its member.
    pub(super) fn bond(&self, object: &Path) -> Result<Link> {
        let link = self.pair(object)?;
        self.ip(End::Near, &format!("link add bond0 address {NEAR_MAC} type bond mode active-backup miimon 10"))?;
        self.ip(End::Near, &format!("link set {NEAR} down"))?;
        self.over(link, "bond0")
    }

    /// Has a device take the reflector's end of the pair.
    fn over(&self, mut link: Link, name: &str) -> Result<Link> {
        self.ip(End::Near, &format!("link set {NEAR} master {name}"))?;
        self.ip(End::Near, &format!("link set {NEAR} up"))?;
        self.ip(End::Near, &format!("link set {name} up"))?;
        link.near = name.into();
        self.addressed(link)
    }

    /// A dummy device: nothing comes in by it.
    pub(super) fn dummy(&self, _: &Path) -> Result<Link> {
        self.ip(End::Near, &format!("link add {NEAR} address {NEAR_MAC} type dummy"))?;
        self.ip(End::Near, &format!("link set {NEAR} up"))?;
        self.ip(End::Near, &format!("address add {NEAR_V4}/24 dev {NEAR}"))?;
        Ok(Link { near: NEAR.into(), far: NEAR.into(), mac: NEAR_MAC.into(), _pass: None })
    }

    /// The loopback.
    #[expect(clippy::unnecessary_wraps, reason = "one of several ways to make a link")]
    pub(super) fn loopback(&self, _: &Path) -> Result<Link> {
        Ok(Link { near: "lo".into(), far: "lo".into(), mac: "00:00:00:00:00:00".into(), _pass: None })
    }

    fn on_pair(&self, object: &Path, devices: impl Fn(&str, &str) -> [(End, &'static str, String); 2]) -> Result<Link> {
        let mut link = self.pair(object)?;
        let [near, far] = devices(NEAR, FAR);
        for (end, name, what) in [&near, &far] {
            self.ip(*end, &format!("link add {what}"))?;
            self.ip(*end, &format!("link set {name} up"))?;
        }
        (link.near, link.far) = (near.1.into(), far.1.into());
        self.addressed(link)
    }

    /// Gives both ends their addresses, and neighbours that nobody need ask for.
    fn addressed(&self, link: Link) -> Result<Link> {
        let Link { near, far, mac, .. } = &link;
        for (end, device, addresses) in [(End::Near, near, [NEAR_V4, NEAR_V6]), (End::Far, far, [FAR_V4, FAR_V6])] {
            let [v4, v6] = addresses;
            self.ip(end, &format!("address add {v4}/24 dev {device}"))?;
            self.ip(end, &format!("address add {v6}/64 dev {device} nodad"))?;
        }
        for (end, device, mac, others) in
            [(End::Near, near, FAR_MAC, [FAR_V4, FAR_V6]), (End::Far, far, mac.as_str(), [NEAR_V4, NEAR_V6])]
        {
            for other in others {
                self.ip(end, &format!("neigh replace {other} lladdr {mac} nud permanent dev {device}"))?;
            }
        }
        for sender in SENDERS {
            self.ip(End::Near, &format!("route add {sender} dev {near}"))?;
            self.ip(End::Near, &format!("neigh replace {sender} lladdr {SENDERS_MAC} nud permanent dev {near}"))?;
        }
        // Replies to the vectors' senders are for another MAC address than the peer's.
        self.ip(End::Far, &format!("link set {far} promisc on"))?;
        Ok(link)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for end in [End::Near, End::Far] {
            let _ = ip(&format!("netns delete {}", end.name()));
        }
    }
}

fn file(end: End) -> Result<File> {
    File::open(format!("/run/netns/{}", end.name())).context("no such namespace")
}

fn ip(arguments: &str) -> Result<()> {
    exec::capture(Command::new("ip").args(arguments.split(' '))).map(drop)
}

/// The name of the card with this MAC address, which may be on its way back from a namespace.
fn card(mac: &str) -> Result<String> {
    let until = Instant::now() + RETURN;
    while Instant::now() < until {
        for entry in std::fs::read_dir("/sys/class/net")? {
            let entry = entry?;
            let address = std::fs::read_to_string(entry.path().join("address")).unwrap_or_default();
            if address.trim() == mac {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no network card has the MAC address {mac}")
}
