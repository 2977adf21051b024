//! The unit files as systemd's own tools judge them, and what a service manager hears from reflector and probe.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::local::free_port;
use teaparty_testing::skip::or_skip;

/// The highest exposure that is put up with, in tenths.
const THRESHOLD: &str = "--threshold=25";

/// The unit files.
const UNITS: [&str; 2] = ["teaparty.service", "teaparty-probe.service"];

/// A unit file with the program that was built in place of the one that will be installed, in a folder of its own.
fn unit(name: &str) -> (tempfile::TempDir, PathBuf) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name)).unwrap();
    let installed = "ExecStart=/usr/bin/teaparty ";
    assert!(text.contains(installed));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let built = format!("ExecStart={} ", env!("CARGO_BIN_EXE_teaparty"));
    std::fs::write(&path, text.replace(installed, &built)).unwrap();
    (folder, path)
}

/// Runs systemd-analyze on a unit file.
fn analyze(name: &str, arguments: &[&str]) -> Result<(bool, String), String> {
    let (_folder, unit) = unit(name);
    let output = Command::new("systemd-analyze").arg("--man=no").args(arguments).arg(unit).output();
    let output = output.map_err(|error| format!("systemd-analyze: {error}"))?;
    let said = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    Ok((output.status.success(), said))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    for unit in UNITS {
        let verified = analyze(unit, &["verify"]);
        let Some((is_good, said)) = or_skip(verified) else { return };
        assert!(is_good, "{said}");
        // It may have something to say of other units of this machine.
        assert!(!said.contains("teaparty"), "{said}");
    }
}

#[test]
fn the_units_are_exposed_as_little_as_can_be() {
    for unit in UNITS {
        let judged = analyze(unit, &["security", "--offline=true", "--no-pager", THRESHOLD]);
        let Some((is_good, said)) = or_skip(judged) else { return };
        println!("{}", said.lines().last().unwrap_or_default());
        assert!(is_good, "{said}");
    }
}

#[test]
fn the_unit_gives_the_capabilities_that_the_program_keeps() {
    let (_folder, path) = unit("teaparty.service");
    let text = std::fs::read_to_string(path).unwrap();
    let settings =
        teaparty_user::reflector::config::ReflectorSettings { iface: vec!["lo".into()], ..Default::default() };
    let config = teaparty_user::reflector::config::ReflectorConfig::try_from(settings).unwrap();
    let needed = config.needed_capabilities();
    let mut expected: Vec<String> = needed.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    expected.sort_unstable();
    for key in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let mut given: Vec<&str> = line.split(' ').collect();
        given.sort_unstable();
        assert_eq!(given, expected, "{key}");
    }
}

/// Killed when the test ends, however it does. Without XDP nothing is left behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_manager_hears_of_start_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("teaparty-test-{}", std::process::id());
    let sockets = [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()),
    ];
    for (address, socket) in sockets {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let port = free_port().to_string();
        let reflector = ["reflector", "--iface", "lo", "--xdp-mode", "off", "--api", "none", "--port", &port];
        hears(&address, &socket, &reflector, "answering on lo");
        let file = folder.path().join("probe.toml");
        let text = format!("api = \"none\"\n[[target]]\naddress = \"127.0.0.1:{port}\"\n");
        std::fs::write(&file, text).unwrap();
        hears(&address, &socket, &["probe", "--config", file.to_str().unwrap()], "measuring");
    }
}

/// Starts the program, and takes from the service manager's socket what it has to say until it ends.
fn hears(address: &str, socket: &UnixDatagram, arguments: &[&str], status: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(arguments);
    command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "30000000").stdout(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let hear = || {
        let mut octets = [0; 256];
        let len = socket.recv(&mut octets).expect("something to hear");
        String::from_utf8(octets[..len].to_vec()).unwrap()
    };
    assert_eq!(hear(), format!("READY=1\nSTATUS={status}\n"), "{address}");
    assert_eq!(hear(), "WATCHDOG=1\n", "{address}");
    kill(Pid::from_raw(running.0.id() as i32), Signal::SIGTERM).unwrap();
    // It may have lived for another second.
    let last = std::iter::repeat_with(hear).find(|said| said != "WATCHDOG=1\n");
    assert_eq!(last.as_deref(), Some("STOPPING=1\n"), "{address}");
    assert!(running.0.wait().unwrap().success());
}
