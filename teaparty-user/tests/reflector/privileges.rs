//! What a running reflector may still do, as root and as an ordinary user with the capabilities that the unit file gives.
//! Takes root; root is needed for namespaces and programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use teaparty_testing::reflector::{Net, Running, V4, V6, sequence, start};
use teaparty_testing::skip::or_skip;

/// The capabilities that are kept with the XDP program, and their bits in linux/capability.h.
const KEPT: [(&str, u32); 5] =
    [("bpf", 39), ("net_admin", 12), ("net_bind_service", 10), ("net_raw", 13), ("perfmon", 38)];

/// An ordinary user: `nobody`.
const USER: &str = "65534";

fn bits(names: &[&str]) -> String {
    let of = |name: &&str| KEPT.iter().find(|(known, _)| known == name).map(|(_, bit)| 1u64 << bit).unwrap();
    format!("{:016x}", names.iter().map(of).sum::<u64>())
}

/// Returns the kernel's status of each thread of a process, by name.
fn statuses(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread may end in the meantime.
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).ok()?;
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(text.lines().filter_map(pair).collect())
    };
    tasks.filter_map(read).collect()
}

fn assert_kept(reflector: &Running, names: &[&str], bounding: Option<&str>) {
    let statuses = statuses(reflector.pid());
    assert!(statuses.len() >= 3, "runtime and engines have threads of their own");
    let kept = bits(names);
    let nothing = bits(&[]);
    for status in &statuses {
        let of = |name: &str| status[name].as_str();
        assert_eq!((of("CapEff"), of("CapPrm")), (&*kept, &*kept), "{}", of("Name"));
        assert_eq!((of("CapInh"), of("CapAmb")), (&*nothing, &*nothing), "{}", of("Name"));
        assert_eq!(of("NoNewPrivs"), "1", "{}", of("Name"));
        assert_eq!(of("CapBnd"), bounding.unwrap_or(&kept), "{}", of("Name"));
    }
}

/// All three engines answer.
fn assert_answers(net: &Net) {
    for address in [V4, V6] {
        let mut client = net.client(address, 862);
        let numbers =
            [&[][..], &[0x80, 244, 0, 0], &[0; 4000]].map(|tail| client.ask(tail).map(|reply| sequence(&reply)));
        assert_eq!(numbers, [Some(0), Some(1), Some(2)], "{address}");
    }
}

#[test]
fn only_what_is_needed_is_kept_and_suffices_when_an_interface_comes_back() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    assert_kept(&reflector, &KEPT.map(|(name, _)| name), None);
    assert_answers(&net);
    net.disconnect();
    net.connect().unwrap();
    assert!(net.client(V4, 862).ask_within(Duration::from_secs(60)), "it is attached again");
    assert_answers(&net);
    assert_kept(&reflector, &KEPT.map(|(name, _)| name), None);
    let ended = reflector.stop();
    assert!(ended.status.success(), "{}", ended.error);
    assert!(!net.pins().exists());
}

#[test]
fn sockets_alone_take_less() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&["--xdp-mode", "off"]);
    assert_kept(&reflector, &["net_admin", "net_bind_service"], None);
    assert_answers(&net);
}

#[test]
fn what_takes_a_privilege_that_is_gone_is_refused_and_a_restart_named() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("teaparty.toml");
    let file = settings.to_str().unwrap();
    let allow = "allow-return-address = true\nstrict = true\n";
    for (options, is_refused) in [(&["--xdp-mode", "off"][..], true), (&["--xdp-mode", "off", "--link-layer"], false)] {
        std::fs::write(&settings, "").unwrap();
        let arguments = ["reflector", "--iface", "veth0", "--api", "127.0.0.1:8000", "--config", file];
        let reflector = start(&mut net.teaparty(&[&arguments[..], options].concat()));
        let (status, answer) = net.api("PATCH", "/api/v1/policy", r#"{"allow_return_address": true}"#);
        assert_eq!(status, if is_refused { 422 } else { 200 }, "{answer}");
        let is_allowed = || net.api("GET", "/api/v1/policy", "").1["allow_return_address"].clone();
        assert_eq!(is_allowed(), !is_refused);
        if is_refused {
            assert_eq!(answer["field"], "allow_return_address");
            assert!(answer["remedy"].as_str().unwrap().contains("restart"), "{answer}");
        }
        std::fs::write(&settings, allow).unwrap();
        let report = net.api("POST", "/api/v1/reload", "").1;
        let restart = if is_refused { json!([{"key": "allow-return-address"}]) } else { json!([]) };
        assert_eq!((&report["restart"], is_allowed()), (&restart, json!(!is_refused)), "{report}");
        assert_eq!(report["applied"], json!([{"key": "strict"}]), "what else is in the file holds");
        let ended = reflector.stop();
        assert!(ended.status.success(), "{}", ended.error);
        assert_eq!(ended.error.contains("gave up at its start"), is_refused, "{}", ended.error);
    }
    // And after it.
    let arguments = ["--xdp-mode", "off", "--config", file];
    assert_kept(&net.reflector(&arguments), &["net_admin", "net_bind_service", "net_raw"], None);
}

/// A copy of the program where anybody may run it, in a folder that goes with the guard.
fn public_program() -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let open = || std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open()).unwrap();
    let program = folder.path().join("teaparty");
    std::fs::copy(env!("CARGO_BIN_EXE_teaparty"), &program).unwrap();
    std::fs::set_permissions(&program, open()).unwrap();
    (folder, program)
}

/// `teaparty reflector` as an ordinary user with these capabilities, and a BPF file system that is open to it.
fn as_user(net: &Net, program: &Path, capabilities: &[&str], arguments: &[&str]) -> Command {
    let list = capabilities.iter().map(|name| format!(",+{name}")).collect::<String>();
    let mut command = net.command("unshare");
    command.args(["--mount", "sh", "-c", "mount -t bpf bpf /sys/fs/bpf && exec setpriv \"$@\"", "sh"]);
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    command.args([format!("--inh-caps=-all{list}"), format!("--ambient-caps=-all{list}")]);
    command.arg(program).args(["reflector", "--api", "none", "--iface", "veth0"]).args(arguments);
    // The object in the program is the one that everybody may read.
    command.env_remove("TEAPARTY_EBPF_OBJECT");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

#[test]
fn an_ordinary_user_with_these_capabilities_can_do_all_of_it() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    let (folder, program) = public_program();
    let names = KEPT.map(|(name, _)| name);
    let settings = folder.path().join("settings.toml");
    std::fs::write(&settings, "min-payload = 14").unwrap();
    let arguments = ["--xdp-mode", "native", "--config", settings.to_str().unwrap()];
    let reflector = start(&mut as_user(&net, &program, &names, &arguments));
    let status = &statuses(reflector.pid())[0];
    assert!(status["Uid"].starts_with(USER), "{}", status["Uid"]);
    // Without CAP_SETPCAP the bounding set stays; no-new-privileges makes it mean nothing.
    assert_kept(&reflector, &names, Some(&status["CapBnd"]));
    assert_answers(&net);
    net.disconnect();
    net.connect().unwrap();
    assert!(net.client(V4, 862).ask_within(Duration::from_secs(60)), "it is attached again");
    assert_answers(&net);
    // What changes while it runs is read and put in force by what is left of the privileges.
    std::fs::write(&settings, "min-payload = 100").unwrap();
    kill(Pid::from_raw(reflector.pid() as i32), Signal::SIGHUP).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let mut client = net.client(V4, 862);
    while client.ask(&[]).is_some() {
        assert!(Instant::now() < end, "SIGHUP changes nothing");
    }
    assert!(client.ask(&[0; 56]).is_some(), "longer packets are still answered");
    let ended = reflector.stop();
    assert!(ended.status.success() && !ended.error.contains("ERROR"), "{}", ended.error);
}

#[test]
fn root_reads_secrets_of_nobody_else() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = ["token", "key"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, "a-secret-for-this-test-0123456789\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, USER.parse().ok(), None).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let arguments = ["reflector", "--iface", "veth0", "--xdp-mode", "off", "--api", "127.0.0.1:8000"];
    // Such a file is that user's to change, whenever he likes.
    for (option, file) in [("--api-token-file", &files[0]), ("--auth-key-file", &files[1])] {
        let output = net.teaparty(&[&arguments[..], &[option, file]].concat()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(USER) && error.contains("chown root"), "{error}");
        // Behind sudo it is a file of whoever has typed the command.
        let mut command = net.teaparty(&[&arguments[..], &[option, file]].concat());
        assert_kept(&start(command.env("SUDO_UID", USER)), &["net_admin", "net_bind_service"], None);
    }
}

#[test]
fn each_of_them_is_needed() {
    let Some(net) = or_skip(Net::new()) else { return };
    let (_folder, program) = public_program();
    for (missing, _) in KEPT {
        let names: Vec<&str> = KEPT.iter().map(|(name, _)| *name).filter(|name| *name != missing).collect();
        let output = as_user(&net, &program, &names, &["--xdp-mode", "native"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "without {missing}: {error}");
        let named = format!("CAP_{}", missing.to_uppercase());
        assert!(error.contains(&named), "without {missing}: {error}");
    }
}
