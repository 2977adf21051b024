//! The command line as a user meets it: closed pipes and full disks, mistakes and what is said of them.

mod sender_support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sender_support::teaparty;

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

/// A file with a reflector's configuration, and one for a probe.
fn files() -> (tempfile::TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (reflector, probe) = (path("reflector.toml"), path("probe.toml"));
    std::fs::write(&reflector, "iface = [\"lo\"]\n").unwrap();
    std::fs::write(&probe, "[[target]]\naddress = \"127.0.0.1\"\n").unwrap();
    (directory, reflector, probe)
}

/// Each command that prints and ends without a peer.
fn printing(reflector: &str, probe: &str) -> Vec<String> {
    let fixed = ["--help", "-h", "--version", "help", "sender --help", "completions bash", "completions zsh", "man"];
    let mut commands: Vec<String> = fixed.map(String::from).into();
    commands.extend([
        "config schema".into(),
        "config schema --for probe".into(),
        format!("config check {reflector}"),
        format!("probe --check --config {probe}"),
        "doctor --iface lo".into(),
        "doctor --iface lo --format json".into(),
    ]);
    commands
}

#[test]
fn a_full_disk_is_a_failure_with_a_message_for_every_command() {
    let (_directory, reflector, probe) = files();
    for command in printing(&reflector, &probe) {
        let (code, said) = at_a_full_disk(&command);
        let expected = "cannot write to standard output: No space left on device";
        assert!(code == 1 && said.matches(expected).count() == 1, "{command}: {code} {said}");
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
}

#[test]
fn a_closed_pipe_is_neither_a_panic_nor_a_failure() {
    let (_directory, reflector, probe) = files();
    for command in printing(&reflector, &probe) {
        let (code, said) = at_a_closed_pipe(&command);
        // The doctor's exit status is what it found.
        assert!(code == 0 || command.starts_with("doctor"), "{command}: {code} {said}");
        assert!(!said.contains("panicked") && !said.contains("cannot write"), "{command}: {said}");
    }
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
    let (directory, reflector, _) = files();
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
