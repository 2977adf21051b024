//! What is measured: our two engines, the other implementation, and the floors, each started as its users would.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::echo::Floor;
use super::packets::{KEY, Kinds};
use crate::frames::OUR_PORT;
use crate::net::{End, NEAR, NEAR_V4, Net};
use crate::running::Running;

/// The program that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answerer {
    /// The XDP program and the ring engine.
    Ring,
    /// The socket engine.
    Socket,
    /// The link engine.
    Link,
    /// `stamp-suite`.
    StampSuite,
    /// A floor.
    Floor(Floor),
}

/// One row of the table.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) answerer: Answerer,
    pub(crate) kind: Kinds,
}

pub(crate) const RING: &str = "ring engine, authenticated";
pub(crate) const SOCKET: &str = "socket engine, authenticated";
pub(crate) const LINK: &str = "link engine, authenticated";
pub(crate) const STAMP_SUITE: &str = "stamp-suite, authenticated";
pub(crate) const RING_HISTORY: &str = "ring engine, History";
pub(crate) const UDP: &str = "floor: recvmmsg/sendmmsg echo";
pub(crate) const PACKET: &str = "floor: packet ring echo";

pub(crate) fn all() -> Vec<Subject> {
    let subject = |name, answerer, kind| Subject { name, answerer, kind };
    vec![
        subject(RING, Answerer::Ring, Kinds::Authenticated),
        subject(SOCKET, Answerer::Socket, Kinds::Authenticated),
        subject(LINK, Answerer::Link, Kinds::Authenticated),
        subject(STAMP_SUITE, Answerer::StampSuite, Kinds::Authenticated),
        subject(UDP, Answerer::Floor(Floor::Udp), Kinds::Authenticated),
        subject(PACKET, Answerer::Floor(Floor::Packet), Kinds::Authenticated),
        subject(RING_HISTORY, Answerer::Ring, Kinds::History),
        subject("socket engine, History", Answerer::Socket, Kinds::History),
    ]
}

/// The programs.
pub(crate) struct Programs {
    pub(crate) teaparty: PathBuf,
    pub(crate) stamp_suite: PathBuf,
}

impl Subject {
    /// Returns true if the replies have timestamps.
    pub(crate) fn is_reflector(&self) -> bool {
        !matches!(self.answerer, Answerer::Floor(_))
    }

    /// Returns true if it brings an XDP program of its own.
    pub(crate) fn has_program(&self) -> bool {
        self.answerer == Answerer::Ring
    }

    /// Starts it on one processor. `folder` is for the key.
    pub(crate) fn start(&self, programs: &Programs, net: &Net, processor: usize, folder: &Path) -> Result<Running> {
        let mut command = match self.answerer {
            Answerer::Ring => self.teaparty(programs, &["native"], folder)?,
            Answerer::Socket => self.teaparty(programs, &["off"], folder)?,
            Answerer::Link => self.teaparty(programs, &["off", "--link-layer"], folder)?,
            Answerer::StampSuite => {
                let mut command = Command::new(&programs.stamp_suite);
                command.args(["--is-reflector", "--local-addr", &NEAR_V4.to_string()]);
                command.args(["--local-port", &OUR_PORT.to_string(), "-A", "A"]);
                command.arg("--hmac-key-file").arg(key_file(folder, "")?);
                command
            }
            Answerer::Floor(floor) => {
                use clap::ValueEnum;
                let mut command = Command::new(std::env::current_exe()?);
                let name = floor.to_possible_value().expect("no floor is hidden");
                command.args(["bench", "slow-path", "--floor", name.get_name()]);
                command
            }
        };
        net.place(&mut command, End::Near, Some(processor))?;
        let is_ours = matches!(self.answerer, Answerer::Ring | Answerer::Socket | Answerer::Link);
        let ready = is_ours.then_some("  sessions ");
        Running::start(command, ready).with_context(|| self.name)
    }

    fn teaparty(&self, programs: &Programs, mode: &[&str], folder: &Path) -> Result<Command> {
        let mut command = Command::new(&programs.teaparty);
        command.args(["-q", "reflector", "--iface", NEAR, "--api", "none", "--rate-limit", "0", "--xdp-mode"]);
        command.args(mode);
        if self.kind == Kinds::Authenticated {
            command.arg("--auth-key-file").arg(key_file(folder, "hex:")?);
        }
        Ok(command)
    }
}

/// The key in a file of its own, with `prefix` in front.
fn key_file(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let path = folder.join(format!("key{}", prefix.len()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(format!("{prefix}{KEY}").as_bytes())?;
    Ok(path)
}
