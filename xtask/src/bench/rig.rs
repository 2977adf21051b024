//! The programs under test and their maps: loaded, never attached, and run on packets by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use teaparty_common::maps::{self, ABI_VERSION, Config, Control, LocalAddress, name};
use teaparty_common::reflect::{Address, Policy, REASON_SLOTS, Reason};

use super::cases::{Case, Limit, OUR_V4, OUR_V6, Subject};
use super::frames::{self, OUR_MAC, OUR_PORT};
use crate::verify::{self, Cost};

/// As in `teaparty-ebpf/src/bin/floors.rs`.
pub(super) const TEMPLATE_LEN: usize = 2048;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;

/// The two objects, loaded.
pub(super) struct Rig {
    reflector: Ebpf,
    floors: Ebpf,
    /// What the verifier said of the reflector's programs.
    pub(super) costs: Vec<Cost>,
}

impl Rig {
    /// Loads both and configures the reflector: one port, one address of each family.
    pub(super) fn new(reflector: &Path, floors: &Path) -> Result<Self> {
        Self::of(verify::load(reflector)?, verify::load(floors)?)
    }

    /// The same for so many sessions at most.
    pub(super) fn sized(reflector: &Path, floors: &Path, sessions: u32) -> Result<Self> {
        let reflector = verify::load_sized(reflector, &[(name::SESSIONS, sessions)])?;
        Self::of(reflector, verify::load_sized(floors, &[("floor_sessions", sessions)])?)
    }

    fn of(mut reflector: Ebpf, mut floors: Ebpf) -> Result<Self> {
        let costs = verify::costs(&mut reflector)?;
        verify::costs(&mut floors)?;
        let mut rig = Self { reflector, floors, costs };
        let mut ports = Array::<_, u64>::try_from(rig.map(name::PORTS)?)?;
        ports.set(u32::from(OUR_PORT) / 64, 1 << (OUR_PORT % 64), 0)?;
        let mut addresses = HashMap::<_, Address, LocalAddress>::try_from(rig.map(name::ADDRESSES)?)?;
        for address in [OUR_V4, OUR_V6] {
            addresses.insert(mapped(address), LocalAddress { flags: LocalAddress::ANSWERED }, 0)?;
        }
        Ok(rig)
    }

    /// Runs one case `repeat` times and returns the mean of a run in nanoseconds, that of the harness included.
    ///
    /// Fails unless every run ended as the case says.
    pub(super) fn run(&mut self, case: &Case, repeat: u32) -> Result<f64> {
        let frame = frames::frame(&case.shape);
        self.configure(case)?;
        self.prepare(&frame, case)?;
        if case.limit == Limit::Tight {
            // What the source may still send.
            self.test_run(&frame, 1)?;
        }
        let Subject::Reflector(reason) = case.subject else {
            let (action, ns) = self.test_run(&frame, repeat)?;
            ensure!(action != 0, "{}: the floor program aborted", case.name);
            return Ok(ns);
        };
        let before = self.counters()?;
        let (action, ns) = self.test_run(&frame, repeat)?;
        let after = self.counters()?;
        if reason.class() == teaparty_common::reflect::Class::Punt {
            self.drain()?;
        }
        check(case, reason, action, &before, &after, repeat)?;
        Ok(ns)
    }

    /// Runs one case `repeat` times with packets of `sessions` sessions, a power of two, the first one again first. The mean
    /// of a run in nanoseconds, that of the harness included. Fails unless every run ended as the case says.
    pub(super) fn run_many(&mut self, case: &Case, sessions: u32, repeat: u32) -> Result<f64> {
        let mut frame = frames::frame(&case.shape);
        // Without a UDP checksum, which the addresses would be part of.
        frame[40..42].fill(0);
        self.configure(case)?;
        self.prepare(&frame, case)?;
        let many = self.floors.map_mut("many").context("no map `many`")?;
        Array::<_, [u64; 2]>::try_from(many)?.set(0, [0, u64::from(sessions) - 1], 0)?;
        let before = self.counters()?;
        let (action, ns) = self.test_run_by("harness_many", &frame, repeat)?;
        if let Subject::Reflector(reason) = case.subject {
            check(case, reason, action, &before, &self.counters()?, repeat)?;
        }
        Ok(ns)
    }

    /// The map of the sessions made by packets.
    pub(super) fn sessions(&mut self) -> Result<&mut Map> {
        self.map(name::SESSIONS)
    }

    fn configure(&mut self, case: &Case) -> Result<()> {
        const HOUR: u64 = 3_600_000_000_000;
        let (rate_interval_ns, rate_burst_ns) = match case.limit {
            Limit::Off => (0, 0),
            Limit::Wide => (1, HOUR),
            Limit::Tight => (HOUR, 0),
        };
        let config = Config {
            policy: Policy::DEFAULT,
            rate_interval_ns,
            rate_burst_ns,
            flags: case.flags,
            history_rings: 1,
            mac: OUR_MAC,
            reserved: [0; 2],
        };
        Array::<_, Config>::try_from(self.map(name::CONFIG)?)?.set(0, config, 0)?;
        let mut control = Control { abi_version: ABI_VERSION, generation: 1, interface: 1, ..Control::default() };
        control.clock.error_estimate = 1;
        Array::<_, Control>::try_from(self.map(name::CONTROL)?)?.set(0, control, 0)?;
        Ok(())
    }

    /// Tells the harness what to restore and what to run.
    fn prepare(&mut self, frame: &[u8], case: &Case) -> Result<()> {
        let mut template = [0; TEMPLATE_LEN];
        template
            .get_mut(..frame.len())
            .context("the frame is longer than the harness can restore")?
            .copy_from_slice(frame);
        let map = self.floors.map_mut("template").context("no map `template`")?;
        Array::<_, [u8; TEMPLATE_LEN]>::try_from(map)?.set(0, template, 0)?;
        let map = self.floors.map_mut("template_len").context("no map `template_len`")?;
        Array::<_, u32>::try_from(map)?.set(0, frame.len() as u32, 0)?;
        let fd: ProgramFd = match case.subject {
            Subject::Floor(program) => xdp(&mut self.floors, program)?.fd()?.try_clone()?,
            Subject::Reflector(_) => xdp(&mut self.reflector, maps::program::REFLECT)?.fd()?.try_clone()?,
        };
        let map = self.floors.map_mut("under_test").context("no map `under_test`")?;
        ProgramArray::try_from(map)?.set(0, &fd, 0)?;
        Ok(())
    }

    fn test_run(&mut self, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
        self.test_run_by("harness", frame, repeat)
    }

    fn test_run_by(&mut self, harness: &str, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
        let harness = xdp(&mut self.floors, harness)?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = harness.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
        Ok((result.return_value, result.duration.as_nanos() as f64))
    }

    /// Packets by reason, all processors together.
    fn counters(&mut self) -> Result<Vec<u64>> {
        let counters = PerCpuArray::<_, u64>::try_from(self.map(name::COUNTERS)?)?;
        (0..REASON_SLOTS as u32).map(|slot| Ok(counters.get(&slot, 0)?.iter().sum())).collect()
    }

    /// Makes room in the punt ring.
    fn drain(&mut self) -> Result<()> {
        let mut ring = RingBuf::try_from(self.map(name::PUNTS)?)?;
        while ring.next().is_some() {}
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.reflector.map_mut(name).with_context(|| format!("the object has no map `{name}`"))
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

fn mapped(address: std::net::IpAddr) -> Address {
    match address {
        std::net::IpAddr::V4(address) => Address::v4(address.octets()),
        std::net::IpAddr::V6(address) => Address(address.octets()),
    }
}

/// A number that was measured on another path than the one it is called by would be worse than none.
fn check(case: &Case, reason: Reason, action: u32, before: &[u64], after: &[u64], repeat: u32) -> Result<()> {
    use teaparty_common::reflect::Class;
    let expected = match reason.class() {
        Class::Reflect => XDP_TX,
        Class::Pass => XDP_PASS,
        Class::Punt | Class::Drop => XDP_DROP,
    };
    let ended: Vec<String> = (0..)
        .zip(before.iter().zip(after))
        .filter(|(_, (before, after))| before != after)
        .map(|(slot, (before, after))| {
            let label = Reason::from_number(slot).map_or("?", Reason::label);
            format!("{} {label}", after - before)
        })
        .collect();
    if action != expected || ended != [format!("{repeat} {}", reason.label())] {
        bail!(
            "{}: expected {repeat} {} and action {expected}; got {} and action {action}",
            case.name,
            reason.label(),
            ended.join(", ")
        );
    }
    Ok(())
}
