//! Who answers: our two engines, the other implementation, and the floors, each started as its users would.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::Array;
use clap::ValueEnum;
use teaparty_lab::programs;

use super::super::frames::OUR_PORT;
use super::super::net::{End, NEAR, NEAR_V4, Net};
use super::super::running;
use super::super::slow_path::echo::Floor;
use super::super::slow_path::load::tai_offset_ns;
use super::super::slow_path::packets::Kinds;

/// One row of the table.
pub(super) struct Subject {
    pub(super) name: &'static str,
    answerer: Answerer,
    /// The packets that it gets.
    pub(super) kind: Kinds,
    /// True if its replies have timestamps to be looked at.
    pub(super) has_timestamps: bool,
}

enum Answerer {
    /// `teaparty reflector` in this XDP mode.
    Teaparty(&'static str),
    StampSuite,
    /// Another process, that sends back what it gets.
    Echo(Floor),
    /// A program of the floors on the interface.
    Program(&'static str),
}

pub(super) const XDP: &str = "teaparty, XDP";
pub(super) const RING: &str = "teaparty, ring (History)";
pub(super) const SOCKET: &str = "teaparty, sockets";
pub(super) const STAMP_SUITE: &str = "stamp-suite";
pub(super) const CLOCKS: &str = "floor: swap, two clocks";
pub(super) const ARRAY: &str = "floor: that and an array";
pub(super) const MAP: &str = "floor: that and a hash map";
pub(super) const REPLY: &str = "floor: minimal stateless reply";

const fn floor(name: &'static str, program: &'static str, has_timestamps: bool) -> Subject {
    Subject { name, answerer: Answerer::Program(program), kind: Kinds::Base, has_timestamps }
}

const fn reflector(name: &'static str, answerer: Answerer, kind: Kinds) -> Subject {
    Subject { name, answerer, kind, has_timestamps: true }
}

pub(super) static ALL: [Subject; 10] = [
    floor("floor: swap", "floor_swap", false),
    floor(CLOCKS, "floor_clocks", false),
    floor(ARRAY, "floor_array", false),
    floor(MAP, "floor_session", false),
    floor(REPLY, "floor_reply", true),
    reflector(XDP, Answerer::Teaparty("native"), Kinds::Base),
    // The controller answers what the program can't.
    reflector(RING, Answerer::Teaparty("native"), Kinds::History),
    reflector(SOCKET, Answerer::Teaparty("off"), Kinds::Base),
    Subject {
        has_timestamps: false,
        ..reflector("floor: recvmmsg/sendmmsg echo", Answerer::Echo(Floor::Udp), Kinds::Base)
    },
    reflector(STAMP_SUITE, Answerer::StampSuite, Kinds::Base),
];

/// The programs of subjects, and the processor for those that are processes.
pub(super) struct Programs {
    pub(super) teaparty: PathBuf,
    pub(super) stamp_suite: PathBuf,
    pub(super) load: PathBuf,
    pub(super) floors: PathBuf,
    pub(super) processor: usize,
}

/// A subject that answers. Dropping it ends it.
pub(super) struct Running {
    process: Option<running::Running>,
    _program: Option<Ebpf>,
}

impl Running {
    /// The process, where it is one that answers.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(running::Running::pid)
    }
}

impl Subject {
    /// Returns true if packets are answered by a program on the interface.
    pub(super) fn is_in_kernel(&self) -> bool {
        self.kind == Kinds::Base && self.has_program()
    }

    /// Returns true if it brings a program for the interface.
    fn has_program(&self) -> bool {
        matches!(self.answerer, Answerer::Teaparty("native") | Answerer::Program(_))
    }

    pub(super) fn start(&self, programs: &Programs, net: &Net) -> Result<Running> {
        let (mut command, ready) = match self.answerer {
            Answerer::Program(name) => return attach(programs, net, name),
            Answerer::Teaparty(mode) => {
                let mut command = Command::new(&programs.teaparty);
                command.args(["-q", "reflector", "--iface", NEAR, "--api", "none", "--rate-limit", "0"]);
                command.args(["--xdp-mode", mode]);
                (command, Some("  sessions "))
            }
            Answerer::StampSuite => {
                let mut command = Command::new(&programs.stamp_suite);
                command.args(["--is-reflector", "--local-addr", &NEAR_V4.to_string()]);
                command.args(["--local-port", &OUR_PORT.to_string()]);
                (command, None)
            }
            Answerer::Echo(floor) => {
                let mut command = Command::new(std::env::current_exe()?);
                let name = floor.to_possible_value().context("no floor is hidden")?;
                command.args(["bench", "slow-path", "--floor", name.get_name()]);
                (command, None)
            }
        };
        // XDP_TX frames of the load reach only an end with a program.
        let program = if self.has_program() { None } else { Some(net.attach_pass(End::Near, &programs.load)?) };
        net.place(&mut command, End::Near, Some(programs.processor))?;
        let process = running::Running::start(command, ready).with_context(|| self.name)?;
        Ok(Running { process: Some(process), _program: program })
    }
}

fn attach(programs: &Programs, net: &Net, name: &str) -> Result<Running> {
    let mut object = programs::load(&programs.floors)?;
    let offset = object.map_mut("tai_offset").context("no map `tai_offset`")?;
    Array::<_, u64>::try_from(offset)?.set(0, tai_offset_ns()?, 0)?;
    Ok(Running { process: None, _program: Some(net.attach(End::Near, object, name)?) })
}
