//! The programs under test and their maps: loaded, never attached, and run on packets by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, PerCpuArray, RingBuf};
use aya::programs::ProgramFd;
use teaparty_common::maps::capture::{CaptureConfig, MAX_SNAPLEN};
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{
    self, ABI_VERSION, Config, ControlBlock, Counters, KernelConfig, LocalAddress, SourcePrefix, TokenRate, name,
};
use teaparty_common::reflect::{Address, Policy, Reason};
use teaparty_lab::programs::{self, Cost};

use super::cases::{Capture, Case, Limit, OUR_V4, OUR_V6, Subject};
use super::frames::{self, OUR_MAC, OUR_PORT};
use super::harness::{self, Harness, Timed, XDP_DROP, XDP_PASS, XDP_TX};

/// Octets of the capture ring: room for the packets of a run.
const CAPTURE_RING: u32 = 8 << 20;

/// The two objects, loaded.
pub(super) struct Rig {
    reflector: Ebpf,
    harness: Harness,
    /// The table of sessions.
    table: TableLayout,
    /// The verifier's costs of the reflector's programs.
    pub(super) costs: Vec<Cost>,
}

impl Rig {
    /// Loads both and configures the reflector: one port, one address of each family.
    pub(super) fn new(reflector: &Path, floors: &Path) -> Result<Self> {
        let sizes = [(name::CAPTURED, CAPTURE_RING)];
        Self::of(programs::load_sized(reflector, &sizes)?, Harness::load(floors)?, shape(65_536))
    }

    /// Creates a rig for at most this many sessions.
    pub(super) fn sized(reflector: &Path, floors: &Path, sessions: u32) -> Result<Self> {
        let table = shape(sessions);
        let reflector = programs::load_sized(reflector, &[(name::SESSIONS, table.slots())])?;
        Self::of(reflector, Harness::sized(floors, sessions)?, table)
    }

    fn of(mut reflector: Ebpf, harness: Harness, table: TableLayout) -> Result<Self> {
        let costs = programs::costs(&mut reflector)?;
        programs::connect(&mut reflector)?;
        let mut rig = Self { reflector, harness, costs, table };
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
        let program = self.program(case)?;
        self.configure(case)?;
        if case.limit == Limit::Tight {
            // What the source may still send.
            self.harness.time(&program, &frame, 1)?;
        }
        self.checked(case, repeat, |harness| harness.time(&program, &frame, repeat))
    }

    /// Runs one case `repeat` times with packets of `sessions` sessions in no order, the first one again first. The mean of
    /// a run in nanoseconds, that of the harness included. Fails unless every run ended as the case says.
    pub(super) fn run_many(&mut self, case: &Case, sessions: u32, repeat: u32) -> Result<f64> {
        self.run_by(case, sessions, harness::stride(sessions), repeat)
    }

    /// Makes each session once, by number: made in the order of [`Rig::run_many`], they would lie in a map of the
    /// kernel's in the order in which they are then looked for, and that the processor does foresee.
    pub(super) fn make_many(&mut self, case: &Case, sessions: u32) -> Result<f64> {
        self.run_by(case, sessions, 1, sessions)
    }

    fn run_by(&mut self, case: &Case, sessions: u32, stride: u32, repeat: u32) -> Result<f64> {
        let frame = frames::without_checksum(&case.shape);
        let program = self.program(case)?;
        self.configure(case)?;
        self.checked(case, repeat, |harness| harness.time_many(&program, &frame, sessions, stride, repeat))
    }

    /// Runs something `repeat` times and looks how that ended.
    fn checked(&mut self, case: &Case, repeat: u32, run: impl FnOnce(&mut Harness) -> Result<Timed>) -> Result<f64> {
        let before = self.counters()?;
        let Timed { action, ns } = run(&mut self.harness)?;
        let Subject::Reflector(reason) = case.subject else {
            ensure!(action != 0, "{}: the floor program aborted", case.name);
            return Ok(ns);
        };
        if case.capture == Capture::OfAll {
            self.count_captured(repeat)?;
        }
        let after = self.counters()?;
        if reason.disposition() == teaparty_common::reflect::Disposition::Punt {
            self.drain()?;
        }
        check(case, reason, action, &before, &after, repeat)?;
        Ok(ns)
    }

    fn program(&self, case: &Case) -> Result<ProgramFd> {
        match case.subject {
            Subject::Floor(program) => self.harness.floor(program),
            Subject::Reflector(_) if case.capture == Capture::Off => self.reflector(),
            Subject::Reflector(_) => harness::program(&self.reflector, maps::program::CAPTURE),
        }
    }

    /// All programs that a packet may come through.
    pub(super) fn programs(&self) -> Result<Vec<ProgramFd>> {
        let steps = maps::TailCall::ALL.map(maps::TailCall::program);
        let names = [maps::program::REFLECT].into_iter().chain(steps);
        names.map(|name| harness::program(&self.reflector, name)).collect()
    }

    /// The reflector's program, where packets begin.
    pub(super) fn reflector(&self) -> Result<ProgramFd> {
        harness::program(&self.reflector, maps::program::REFLECT)
    }

    /// The map of the sessions made by packets.
    pub(super) fn sessions(&mut self) -> Result<&mut Map> {
        self.map(name::SESSIONS)
    }

    fn configure(&mut self, case: &Case) -> Result<()> {
        const HOUR: u64 = 3_600_000_000_000;
        let source_rate = match case.limit {
            Limit::Off => TokenRate::NONE,
            Limit::Wide => TokenRate { interval_ns: 1, burst_ns: HOUR },
            Limit::Tight => TokenRate { interval_ns: HOUR, burst_ns: 0 },
        };
        let config = Config {
            policy: Policy::DEFAULT,
            source_rate,
            flags: case.flags,
            history_rings: 1,
            mac: Config::mac(OUR_MAC),
            rate_prefix: SourcePrefix::DEFAULT,
            session_restart_s: 30,
            punt_rate: TokenRate::NONE,
        }
        .derived();
        let table = self.table;
        let mut control =
            ControlBlock { abi_version: ABI_VERSION, generation: 1, interface: 1, table, ..ControlBlock::default() };
        control.clock.error_estimate = 1;
        let mut kernel_config = KernelConfig::blank();
        kernel_config.listen(OUR_PORT);
        (kernel_config.control, kernel_config.configs[0]) = (control, config);
        Array::<_, KernelConfig>::try_from(self.map(name::CONFIG)?)?.set(0, kernel_config, 0)?;
        let mut capture = CaptureConfig { snaplen: MAX_SNAPLEN as u32, ..CaptureConfig::default() };
        capture.filters[0].reasons = u64::MAX;
        if case.capture == Capture::OfOthers {
            capture.filters[0].host = Address::v4([192, 0, 2, 99]);
        }
        if case.capture != Capture::Off {
            Array::<_, CaptureConfig>::try_from(self.map(name::CAPTURE_CONFIG)?)?.set(0, capture.derived(), 0)?;
        }
        Ok(())
    }

    /// Packets by reason, all processors together.
    fn counters(&mut self) -> Result<Vec<u64>> {
        let counters = PerCpuArray::<_, Counters>::try_from(self.map(name::COUNTERS)?)?;
        Ok(Counters::total(counters.get(&0, 0)?.iter()).to_vec())
    }

    /// Makes room in the capture ring. Fails unless it has each packet.
    fn count_captured(&mut self, repeat: u32) -> Result<()> {
        let mut ring = RingBuf::try_from(self.map(name::CAPTURED)?)?;
        let mut captured = 0;
        while ring.next().is_some() {
            captured += 1;
        }
        ensure!(captured == repeat, "{captured} of {repeat} packets were captured");
        Ok(())
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

/// A table for this many sessions. Its places are the same in each run.
fn shape(sessions: u32) -> TableLayout {
    TableLayout::new(sessions, [1, 2, 3, 4, 5].map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mapped(address: std::net::IpAddr) -> Address {
    match address {
        std::net::IpAddr::V4(address) => Address::v4(address.octets()),
        std::net::IpAddr::V6(address) => Address(address.octets()),
    }
}

/// A number that was measured on another path than the one it is called by would be worse than none.
fn check(case: &Case, reason: Reason, action: u32, before: &[u64], after: &[u64], repeat: u32) -> Result<()> {
    use teaparty_common::reflect::Disposition;
    let expected = match reason.disposition() {
        Disposition::Reflect => XDP_TX,
        Disposition::Pass => XDP_PASS,
        Disposition::Punt | Disposition::Drop => XDP_DROP,
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
