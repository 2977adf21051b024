//! The command line as a user meets it: closed pipes and full disks, mistakes and what is said of them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use clap::CommandFactory;
use teaparty_testing::sender::{Behaviour, Reflector, teaparty};
use teaparty_user::cli::Teaparty;

fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(arguments.split_whitespace()).env_remove("TEAPARTY_LOG").env_remove("COLUMNS");
    command
}

/// Exit status and standard error of a program whose standard output is /dev/full.
fn at_a_full_disk(arguments: &str) -> (i32, String) {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program(arguments).stdout(full).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Exit status and standard error of a program whose reader has gone before it writes.
fn at_a_closed_pipe(arguments: &str) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program(arguments).stdout(writer).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Files that commands read, and a reflector that senders measure.
struct Subjects {
    folder: tempfile::TempDir,
    peer: Reflector,
}

impl Subjects {
    fn new() -> Self {
        let subjects =
            Self { folder: tempfile::tempdir().unwrap(), peer: Reflector::start("127.0.0.1", Behaviour::default()) };
        std::fs::write(subjects.path("reflector.toml"), "iface = [\"lo\"]\n").unwrap();
        std::fs::write(subjects.path("probe.toml"), "[[target]]\naddress = \"127.0.0.1\"\n").unwrap();
        std::fs::write(subjects.path("old.yaml"), "- general:\n    name: a\n").unwrap();
        let run = format!("{} --format json -o {}", subjects.sender(), subjects.path("run.json"));
        let (code, _, error) = teaparty(&run);
        assert_eq!(code, 0, "{error}");
        subjects
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn sender(&self) -> String {
        format!("sender {} -c 5 -i 10ms -W 1s", self.peer.address)
    }

    /// Each command that prints and ends by itself.
    fn commands(&self) -> Vec<String> {
        let fixed = [
            "--help",
            "-h",
            "--version",
            "help",
            "sender --help",
            "completions bash",
            "completions zsh",
            "completions fish",
            "completions elvish",
            "completions powershell",
            "man",
            "tlvs",
            "tlvs --format json",
            "config schema",
            "config schema --for probe",
            "doctor --iface lo",
            "doctor --iface lo --format json",
        ];
        let [reflector, probe, old, run] =
            ["reflector.toml", "probe.toml", "old.yaml", "run.json"].map(|n| self.path(n));
        let mut commands: Vec<String> = fixed.map(String::from).into();
        commands.extend([
            format!("config check {reflector}"),
            format!("config convert {old}"),
            format!("probe --check --config {probe}"),
            format!("report {run}"),
            format!("report --compare {run} {run}"),
            format!("report --html - {run}"),
            format!("{} -q", self.sender()),
        ]);
        commands.extend(["human", "json", "jsonl", "csv"].map(|form| format!("{} --format {form}", self.sender())));
        commands
    }
}

#[test]
fn every_command_is_tried_at_a_full_disk_and_a_closed_pipe() {
    let commands = Subjects::new().commands();
    // Those that take a running reflector, or are one, are in `tests/reflector/status_doctor.rs`.
    let elsewhere = ["reflector", "status", "detach", "capture"];
    for command in Teaparty::command().get_subcommands() {
        let name = command.get_name();
        let is_tried = commands.iter().any(|words| words.split(' ').next() == Some(name));
        assert!(is_tried || elsewhere.contains(&name), "{name} is not tried");
    }
}

#[test]
fn a_full_disk_is_a_failure_with_a_message_for_every_command() {
    let subjects = Subjects::new();
    for command in subjects.commands() {
        let (code, said) = at_a_full_disk(&command);
        let expected = "cannot write to standard output: No space left on device";
        assert!(code == 1 && said.matches(expected).count() == 1, "{command}: {code} {said}");
        assert!(!said.contains("panicked"), "{command}: {said}");
        // What was measured is not lost.
        assert!(!command.starts_with("sender ") || command.contains("--help") || said.contains(" sent, "), "{said}");
    }
}

#[test]
fn a_closed_pipe_is_neither_a_panic_nor_a_failure() {
    let subjects = Subjects::new();
    for command in subjects.commands() {
        let (code, said) = at_a_closed_pipe(&command);
        // The doctor's exit status is what it found.
        assert!(code == 0 || command.starts_with("doctor"), "{command}: {code} {said}");
        assert!(said.is_empty() || command.starts_with("config convert"), "{command}: {said}");
        assert!(!said.contains("panicked") && !said.contains("cannot write"), "{command}: {said}");
    }
}

#[test]
fn a_sender_whose_reader_has_gone_ends_unless_something_else_comes_of_the_run() {
    let peer = Reflector::start("127.0.0.1", Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    let first_line = |rest: &str| {
        let words = format!("sender {} -i 20ms -W 1s --format jsonl {rest}", peer.address);
        let mut child = program(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.ends_with("}\n"), "{first}");
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        // A busy host misses packets of the schedule, and the sender says so.
        let said: String =
            said.split_inclusive('\n').filter(|line| !line.contains("of the schedule were missed")).collect();
        (output.status.code(), said)
    };
    // An hour's run ends at once.
    assert_eq!(first_line("-d 1h"), (Some(0), String::new()));
    // A check is made over the whole run, and a log is written whole.
    let (code, said) = first_line("-c 20 --max-rtt 1ns");
    assert!(code == Some(3) && said.starts_with("teaparty: "), "{code:?} {said}");
    assert_eq!(first_line(&format!("-c 20 --hdr-log {log}")), (Some(0), String::new()));
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
}

#[test]
fn a_probe_whose_lines_get_lost_says_so_and_ends_with_a_failure() {
    use nix::sys::signal::{Signal, kill};
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probe.toml");
    let target =
        format!("api = \"none\"\ninterval = \"20ms\"\n[[target]]\naddress = \"{}\"\n", silent.local_addr().unwrap());
    std::fs::write(&file, target).unwrap();
    let words = format!("probe --config {} --format jsonl", file.display());
    let run = |stdout: Stdio| {
        let child = program(&words).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        silent.recv(&mut [0; 64]).unwrap();
        kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        let output = child.wait_with_output().unwrap();
        while silent.set_nonblocking(true).is_ok() && silent.recv(&mut [0; 64]).is_ok() {}
        silent.set_nonblocking(false).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = run(full.into());
    assert_eq!((code, said.matches("cannot write to standard output: No space left").count()), (Some(1), 1), "{said}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, said) = run(writer.into());
    assert!(code == Some(0) && !said.contains("cannot write") && !said.contains("ERROR"), "{code:?} {said}");
}

#[test]
fn the_first_line_of_a_long_output_can_be_taken_alone() {
    let mut child = program("completions bash").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success() && first.starts_with("_teaparty"), "{first}");
}

#[test]
fn a_closed_standard_error_is_no_panic() {
    for arguments in
        ["sender", "sender --count x", "-v sender 127.0.0.1 9 -c 1 -W 1ms", "status --api unix:/nonexistent"]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(arguments).stderr(writer).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2 | 4)), "{arguments}: {}", output.status);
    }
}

#[test]
fn a_short_key_is_warned_about_whoever_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let reflector = directory.path().join("reflector.toml").display().to_string();
    let key = directory.path().join("key");
    let write = |content: &[u8]| {
        std::fs::write(&key, content).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    std::fs::write(&reflector, format!("iface = [\"lo\"]\nauth-key-file = {key:?}\n")).unwrap();
    let check = format!("config check {reflector}");
    let send = format!("sender 127.0.0.1 9 -c 1 -W 1ms --auth-key-file {}", key.display());
    for command in [&check, &send] {
        // 15 octets and a line end, which is no part of the key.
        write(b"fifteen octets!\r\n");
        let said = teaparty(command).2;
        assert!(said.contains("has 15 octets, and keys under 16 octets may be guessed"), "{command}: {said}");
        write(b"hex:000102030405060708090a0b0c0d0e0f\n");
        let said = teaparty(command).2;
        assert!(!said.contains("may be guessed"), "{command}: {said}");
    }
}

#[test]
fn no_answer_has_likely_causes_and_an_icmp_error_is_named() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let (code, _, said) = teaparty(&format!("sender {address} -c 2 -i 1ms -W 50ms"));
    assert_eq!(code, 4);
    let said = said.lines().last().unwrap().to_owned();
    assert!(said.starts_with("teaparty: no reply to any of 2 packets, and no ICMP error."), "one line: {said}");
    let causes = ["allow-list", "`teaparty status`", "veth", "firewall"].map(|cause| said.find(cause));
    assert!(causes.iter().all(Option::is_some) && causes.is_sorted(), "{said}");
    let (_, _, said) = teaparty(&format!("sender {address} -c 1 -i 1ms -W 50ms --authenticated 0123456789abcdef"));
    assert!(said.contains("the keys differ, or the reflector has none"), "{said}");
    drop(silent);
    let (code, _, said) = teaparty(&format!("sender {address} -c 1 -W 50ms"));
    assert!(code == 4 && said.contains(&format!("nothing listens at {address}")), "{code} {said}");
    assert!(said.contains("ICMP port unreachable came back"), "{said}");
}

#[test]
fn mistakes_are_named_once_with_what_to_do() {
    let cases = [
        ("sendr 127.0.0.1", 2, "`sendr` is no command; did you mean `sender`?"),
        ("staus", 2, "did you mean `status`?"),
        ("192.0.2.1", 2, "to measure it: teaparty sender 192.0.2.1"),
        ("sender http://host", 2, "`http://host` is a URL, and STAMP has none"),
        ("sender 127.0.0.1 --max-rtt foo", 2, "write METRIC=DURATION, as in p99=5ms"),
        ("sender 127.0.0.1 --interface nosuch0 -c 1", 1, "No such device (os error 19)"),
        ("sender 127.0.0.1 --src 192.0.2.77 -c 1", 1, "Cannot assign requested address (os error 99)"),
        ("sender no.such.name.invalid", 1, "cannot resolve `no.such.name.invalid`"),
        ("sender --targets /nonexistent", 2, "No such file or directory (os error 2)"),
        ("report /nonexistent", 1, "No such file or directory (os error 2)"),
        ("status --api unix:/nonexistent", 1, "No such file or directory (os error 2)"),
        ("sender 127.0.0.1 -o /nonexistent/file", 1, "No such file or directory (os error 2)"),
        ("sender 127.0.0.1 --auth-key-file /nonexistent", 2, "No such file or directory (os error 2)"),
        ("reflector --iface nosuch0", 1, "nosuch0"),
    ];
    for (arguments, status, said) in cases {
        let (code, _, error) = teaparty(arguments);
        assert!(code == status && error.contains(said), "{arguments}: {code} {error}");
        let causes = error.matches("(os error").count();
        assert!(causes <= 1, "{arguments} says its cause {causes} times: {error}");
    }
}
