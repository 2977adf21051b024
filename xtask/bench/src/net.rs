//! Two network namespaces joined by a veth pair: reflectors live in `near`, what loads or measures them in `far`.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, setsid};
use teaparty_lab::programs;
use xtask::exec;

/// The reflector's interface, its MAC address and its address.
pub(super) const NEAR: &str = "veth0";
pub(super) const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const NEAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The load's end.
pub(super) const FAR: &str = "veth1";
pub(super) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// The namespaces. Dropping it removes both.
pub(super) struct Net {
    near: String,
    far: String,
}

/// One of the two namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Near,
    Far,
}

impl Net {
    pub(super) fn new() -> Result<Self> {
        let id = std::process::id();
        let net = Self { near: format!("tpb{id}n"), far: format!("tpb{id}f") };
        ip(&format!("netns add {}", net.near))?;
        ip(&format!("netns add {}", net.far))?;
        let (near, far) = (&net.near, &net.far);
        let (near_mac, far_mac) = (colons(NEAR_MAC), colons(FAR_MAC));
        ip(&format!(
            "-n {near} link add {NEAR} address {near_mac} type veth peer name {FAR} address {far_mac} netns {far}"
        ))?;
        for (namespace, device, own, other, mac) in
            [(near, NEAR, NEAR_V4, FAR_V4, far_mac), (far, FAR, FAR_V4, NEAR_V4, near_mac)]
        {
            ip(&format!("-n {namespace} address add {own}/24 dev {device}"))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
            // Nobody is to ask for it while something is measured.
            ip(&format!("-n {namespace} neigh replace {other} lladdr {mac} nud permanent dev {device}"))?;
        }
        Ok(net)
    }

    fn file(&self, end: End) -> Result<File> {
        let name = if end == End::Near { &self.near } else { &self.far };
        File::open(format!("/run/netns/{name}")).with_context(|| format!("no namespace {name}"))
    }

    /// Calls `f` on a thread of its own in a namespace, on one processor where that is said.
    pub(super) fn inside<T: Send>(
        &self,
        end: End,
        processor: Option<usize>,
        f: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let file = self.file(end)?;
        std::thread::scope(|scope| {
            let run = || {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                if let Some(processor) = processor {
                    prefer();
                    pin(processor)?;
                }
                f()
            };
            scope.spawn(run).join().expect("the thread hands its errors on")
        })
    }

    /// Has a command run in a namespace, on one processor where that is said, and before whatever else would run.
    pub(super) fn place(&self, command: &mut Command, end: End, processor: Option<usize>) -> Result<()> {
        let file = self.file(end)?;
        let enter = move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            // A session of its own has an autogroup of its own. A terminal's Ctrl-C does not reach it any more.
            setsid()?;
            set_pdeathsig(Signal::SIGTERM)?;
            prefer();
            // For as long as it lives.
            std::mem::forget(Priority::raise());
            processor.map_or(Ok(()), |processor| pin(processor).map_err(Into::into))
        };
        // SAFETY: system calls and one write of a file that is closed at once; `file` stays open in the closure.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Has the kernel join what one end receives (GRO), where a socket asks for that: on for every network card, and off
    /// for a veth pair.
    pub(super) fn join_received(&self, end: End) -> Result<()> {
        // linux/sockios.h, linux/ethtool.h and its `struct ethtool_value`.
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        const ETHTOOL_SGRO: u32 = 0x2c;
        let device = if end == End::Near { NEAR } else { FAR };
        self.inside(end, None, || {
            let mut value = [ETHTOOL_SGRO, 1];
            // SAFETY: all-zero is a valid `ifreq`.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (place, octet) in request.ifr_name.iter_mut().zip(device.as_bytes()) {
                *place = *octet as libc::c_char;
            }
            request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            // SAFETY: the request and what it points at outlive the call, and are laid out as the command wants.
            if unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) } < 0 {
                return Err(std::io::Error::last_os_error()).context("cannot have received packets joined");
            }
            Ok(())
        })
    }

    /// Attaches what lets everything pass to one end, while the guard lives: XDP_TX frames of the other end reach only an
    /// end with a program.
    pub(super) fn attach_pass(&self, end: End, object: &Path) -> Result<Ebpf> {
        self.attach(end, programs::load(object)?, "traffic_pass")
    }

    /// Attaches a program of an object to one end, while the guard lives.
    pub(super) fn attach(&self, end: End, mut object: Ebpf, name: &str) -> Result<Ebpf> {
        self.inside(end, None, || {
            let program = object.program_mut(name).with_context(|| format!("no program `{name}`"))?;
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
            let device = if end == End::Near { NEAR } else { FAR };
            program.attach(device, XdpMode::Driver).with_context(|| format!("cannot attach to {device}"))?;
            Ok(())
        })?;
        Ok(object)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

/// The share of other sessions' processes, where the kernel shares the processor among sessions first
/// (sched(7), autogroup): priorities count within a session only. Dropping it puts back what was.
pub(super) struct Priority(Option<String>);

const AUTOGROUP: &str = "/proc/self/autogroup";

impl Priority {
    /// Has this session go before all others. Kernels without autogroups have no such file, and need none.
    pub(super) fn raise() -> Self {
        // "/autogroup-13 nice 0"
        let before = std::fs::read_to_string(AUTOGROUP).ok();
        let before = before.and_then(|text| text.split_whitespace().last().map(str::to_owned));
        // Without it the figures noisier, not wrong.
        let _ = std::fs::write(AUTOGROUP, "-20");
        Self(before)
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = std::fs::write(AUTOGROUP, before);
        }
    }
}

/// Puts the caller before whatever else would run: a busy machine disturbs less then.
pub(super) fn prefer() {
    // SAFETY: takes no pointers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Keeps the caller on one processor.
fn pin(processor: usize) -> nix::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &only)
}

fn ip(arguments: &str) -> Result<()> {
    exec::capture(Command::new("ip").args(arguments.split(' '))).map(drop)
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
