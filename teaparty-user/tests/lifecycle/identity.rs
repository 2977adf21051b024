//! An interface is a number in a namespace, not a name: what a reflector pins goes along with renames, is not taken over by
//! what only has the name, and goes with the interface. Pins of others are left alone, and neither many descriptors nor a file
//! that gives nothing keep a reflector from starting, reloading and ending. Takes root.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Net, V4, sequence, start};
use teaparty_testing::skip::or_skip;
use teaparty_user::net::interface::xdp_state;
use teaparty_user::net::xdp_link::BpfLink;

/// Most time to follow a change. The machine may be slow; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(20);
/// A user that is neither root nor the one of the unit.
const USER: u32 = 65_534;

/// The folder of an interface of this name.
fn pins(net: &Net, interface: &str) -> PathBuf {
    let folder = net.pins();
    let name = folder.file_name().unwrap().to_str().unwrap().replacen("veth0", &interface.replace('.', ":"), 1);
    folder.with_file_name(name)
}

/// The interface, in the near namespace, that the link in a folder is on.
fn linked(net: &Net, folder: &Path) -> String {
    let index = BpfLink::open(&folder.join("link")).and_then(|link| link.info()).unwrap().index;
    net.in_near(|| teaparty_user::net::namespace::interface_name(index)).unwrap_or_default()
}

fn has_program(net: &Net, interface: &str) -> bool {
    net.in_near(|| {
        let index = nix::net::if_::if_nametoindex(interface).unwrap();
        xdp_state(index).unwrap().is_some()
    })
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A second pair beside veth0: veth8 in the near namespace.
fn second(net: &Net) {
    net.near_ip(&["link", "add", "veth8", "type", "veth", "peer", "name", "veth9"]);
    net.near_ip(&["address", "add", "198.51.100.1/24", "dev", "veth8"]);
    for device in ["veth8", "veth9"] {
        net.near_ip(&["link", "set", device, "up"]);
    }
}

fn rename(net: &Net, from: &str, to: &str) {
    net.near_ip(&["link", "set", from, "down"]);
    net.near_ip(&["link", "set", from, "name", to]);
    net.near_ip(&["link", "set", to, "up"]);
}

fn swap(net: &Net) {
    for (from, to) in [("veth0", "tmp0"), ("veth8", "veth0"), ("tmp0", "veth8")] {
        rename(net, from, to);
    }
}

fn detach(net: &Net, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = net.teaparty(&[&["detach"], arguments].concat()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

#[test]
fn a_rename_is_followed_by_pins_status_and_metrics_and_the_end_leaves_nothing() {
    let Some(net) = or_skip(Net::new()) else { return };
    let arguments = ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", "127.0.0.1:8000"];
    let reflector = start(&mut net.teaparty(&arguments));
    let mut client = net.client(V4, 862);
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(0));
    for (from, to) in [("veth0", "wan.7"), ("wan.7", "wan1")] {
        rename(&net, from, to);
        until("the folder has the new name", || pins(&net, to).exists());
        assert!(!pins(&net, from).exists(), "{from}");
        assert_eq!(linked(&net, &pins(&net, to)), to);
        let status = net.api("GET", "/api/v1/reflector", "").1;
        assert!(status.to_string().contains(&format!("\"name\":\"{to}\"")), "{status}");
    }
    assert!(client.ask_within(PATIENCE));
    assert!(client.ask(&[]).is_some_and(|reply| sequence(&reply) > 0), "the session counts on");
    let ended = reflector.stop();
    assert!(ended.status.success() && ended.out.contains("wan1"), "{}{}", ended.out, ended.error);
    assert!(!has_program(&net, "wan1"));
    assert!(!pins(&net, "wan1").exists() && !pins(&net, "veth0").exists());
}

#[test]
fn interfaces_that_exchange_their_names_while_it_runs_keep_their_programs() {
    let Some(net) = or_skip(Net::new()) else { return };
    second(&net);
    let reflector = net.reflector(&["--iface", "veth8", "--xdp-mode", "skb"]);
    swap(&net);
    for interface in ["veth0", "veth8"] {
        until("the folders follow", || {
            pins(&net, interface).exists() && linked(&net, &pins(&net, interface)) == interface
        });
    }
    let ended = reflector.stop();
    assert!(ended.status.success(), "{}", ended.error);
    for interface in ["veth0", "veth8"] {
        assert!(!has_program(&net, interface) && !pins(&net, interface).exists(), "{interface}");
    }
}

#[test]
fn a_start_does_not_take_over_what_only_has_the_name() {
    let Some(net) = or_skip(Net::new()) else { return };
    second(&net);
    net.reflector(&["--xdp-mode", "skb"]).kill();
    swap(&net);
    let second = net.reflector(&["--xdp-mode", "skb"]);
    assert!(!second.ready.contains("kept") && second.ready.contains("198.51.100.1"), "{}", second.ready);
    for interface in ["veth0", "veth8"] {
        assert_eq!(linked(&net, &pins(&net, interface)), interface);
    }
    let (code, text) = detach(&net, &["--all"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("veth8: detached") && text.contains("veth0: a reflector is running"), "{text}");
    assert!(!has_program(&net, "veth8"));
    let ended = second.stop();
    assert!(ended.status.success() && ended.error.contains("not taken over"), "{}", ended.error);
    // Each has its own, whatever it is called.
    net.reflector(&["--iface", "veth8", "--xdp-mode", "skb"]).kill();
    swap(&net);
    let both = net.reflector(&["--iface", "veth8", "--xdp-mode", "skb"]);
    assert_eq!(both.ready.matches("sessions of the earlier run kept").count(), 2, "{}", both.ready);
    assert!(both.stop().status.success());
    assert!(!pins(&net, "veth0").exists() && !pins(&net, "veth8").exists());
}

#[test]
fn what_was_left_is_found_by_the_name_that_the_interface_has_now() {
    let Some(net) = or_skip(Net::new()) else { return };
    net.reflector(&["--xdp-mode", "native"]).kill();
    rename(&net, "veth0", "wan0");
    assert_eq!(detach(&net, &["--iface", "wan0"]), (Some(0), "wan0: detached\n".into()));
    assert!(!has_program(&net, "wan0") && !pins(&net, "veth0").exists());
    assert_eq!(detach(&net, &["--all"]).0, Some(0));
}

#[test]
fn pins_of_an_interface_that_is_gone_are_removed() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    // A file system of its own: the starts of other tests would remove what this one leaves.
    let apart = Apart::new("mount -t bpf bpf /sys/fs/bpf");
    let folder = apart.path(ALL).join(net.pins().file_name().unwrap());
    let native = |net: &Net, more: &[&str]| start(&mut apart.teaparty(net, &[&START, more].concat()));
    // By the next start, whatever it is for.
    native(&net, &[]).kill();
    net.disconnect();
    assert!(folder.exists());
    let mut loopback = apart.teaparty(&net, &["reflector", "--api", "none", "--iface", "lo"]);
    assert!(start(&mut loopback).stop().status.success());
    assert!(!folder.exists());
    // By the command.
    net.connect().unwrap();
    native(&net, &[]).kill();
    net.disconnect();
    let Output { status, stdout, .. } = apart.teaparty(&net, &["detach", "--all"]).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success() && text.contains("nothing answers by it"), "{text}");
    assert!(!folder.exists());
    // By the end of one that has met it, after another has come in its place.
    net.connect().unwrap();
    let reflector = native(&net, &["--keep"]);
    net.disconnect();
    until("the link is gone", || !folder.join("link").exists());
    let ended = reflector.stop();
    assert!(ended.status.success(), "{}", ended.error);
    assert!(!folder.exists());
}

#[test]
fn a_namespace_does_not_take_over_what_another_one_has_left() {
    let (Some(net), Some(mut other)) = (or_skip(Net::new()), or_skip(Net::new())) else { return };
    // As if the inode number of a namespace had been given again: one that is still there, then one that is not.
    other.reflector(&["--xdp-mode", "native"]).kill();
    std::fs::rename(other.pins(), net.pins()).unwrap();
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    assert!(!reflector.ready.contains("kept"), "{}", reflector.ready);
    assert!(net.client(V4, 862).ask(&[]).is_some() && other.client(V4, 862).ask(&[]).is_some());
    let ended = reflector.stop();
    assert!(ended.status.success() && ended.error.contains("of another network namespace"), "{}", ended.error);
    assert!(!net.pins().exists());
    // Its own namespace still finds it.
    assert_eq!(detach(&other, &["--iface", "veth0"]), (Some(0), "veth0: detached\n".into()));
    other.reflector(&["--xdp-mode", "native"]).kill();
    std::fs::rename(other.pins(), net.pins()).unwrap();
    other.disconnect();
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    assert!(!reflector.ready.contains("kept"), "{}", reflector.ready);
    assert!(reflector.stop().status.success() && !net.pins().exists());
}

/// A BPF file system of its own beside the one of all tests, kept by a process.
struct Apart {
    keeper: Child,
}

impl Apart {
    fn new(mount: &str) -> Self {
        let script = format!("{mount} && echo && exec sleep 1000");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdout(Stdio::piped());
        let mut keeper = command.spawn().unwrap();
        let mut line = [0; 1];
        std::io::Read::read_exact(keeper.stdout.as_mut().unwrap(), &mut line).expect("the file system is mounted");
        Self { keeper }
    }

    /// Returns our path to one of its files.
    fn path(&self, inside: &str) -> PathBuf {
        format!("/proc/{}/root{inside}", self.keeper.id()).into()
    }

    /// `teaparty` in the near namespace, with this file system.
    fn teaparty(&self, net: &Net, arguments: &[&str]) -> Command {
        let mut command = net.command("nsenter");
        command.args(["--mount", "--target", &self.keeper.id().to_string(), env!("CARGO_BIN_EXE_teaparty")]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        command
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

const START: [&str; 7] = ["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "native"];
const ALL: &str = "/sys/fs/bpf/teaparty";

#[test]
fn links_and_folders_of_others_are_refused_and_not_followed() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("mount -t bpf bpf /sys/fs/bpf");
    let precious = apart.path("/sys/fs/bpf/precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::create_dir(precious.join("link")).unwrap();
    let (all, folder) = (apart.path(ALL), net.pins().file_name().unwrap().to_owned());
    let refused = |what: &str, words: &str| {
        for arguments in [&START[..], &["detach", "--iface", "veth0"]] {
            let output = apart.teaparty(&net, arguments).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && error.contains(words), "{what}: {arguments:?}: {error}");
        }
        assert!(precious.join("link").exists() && !has_program(&net, "veth0"), "{what}");
    };
    symlink("/sys/fs/bpf/precious", &all).unwrap();
    refused("a link in the place of all folders", "symbolic link");
    std::fs::remove_file(&all).unwrap();
    std::fs::create_dir(&all).unwrap();
    symlink("/sys/fs/bpf/precious", all.join(&folder)).unwrap();
    refused("a link in the place of a folder", "symbolic link");
    std::fs::remove_file(all.join(&folder)).unwrap();
    // A folder of somebody else's is not used; root may take it away.
    std::fs::create_dir(all.join(&folder)).unwrap();
    chown(all.join(&folder), Some(USER), None).unwrap();
    let output = apart.teaparty(&net, &START).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("65534") && error.contains("detach --all"), "{error}");
    assert!(apart.teaparty(&net, &["detach", "--all"]).output().unwrap().status.success());
    assert!(!all.join(&folder).exists());
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert_eq!(std::fs::metadata(all.join(&folder)).unwrap().mode() & 0o777, 0o700);
    assert!(reflector.stop().status.success());
}

#[test]
fn who_holds_an_abstract_socket_keeps_nobody_from_starting() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _held = net.in_near(|| {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name("teaparty/reflector/veth0").unwrap();
        std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap()
    });
    net.reflector(&["--xdp-mode", "native"]).kill();
    assert_eq!(detach(&net, &["--iface", "veth0"]), (Some(0), "veth0: detached\n".into()));
    // The lock is the folder's.
    let _running = net.reflector(&["--xdp-mode", "native"]);
    let (code, text) = detach(&net, &["--iface", "veth0"]);
    assert!(code == Some(1) && text.contains("another teaparty reflector is running on veth0"), "{text}");
}

#[test]
fn a_folder_that_was_given_to_another_user_keeps_no_program_attached() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("mount -t bpf bpf /sys/fs/bpf");
    let (all, folder) = (apart.path(ALL), net.pins().file_name().unwrap().to_owned());
    let give = |path: &Path| {
        chown(path, Some(USER), Some(USER)).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    };
    // The folder of all, and then the interface's own too.
    for is_whole in [false, true] {
        let reflector = start(&mut apart.teaparty(&net, &START));
        give(&all);
        if is_whole {
            give(&all.join(&folder));
        }
        let ended = reflector.stop();
        assert!(!has_program(&net, "veth0"), "{}", ended.error);
        // The folder is in another one, where a reflector without CAP_DAC_OVERRIDE can't remove it.
        assert_eq!(ended.status.code(), Some(1), "{}", ended.error);
        assert!(ended.error.contains("left in") && ended.error.contains("teaparty detach --all"), "{}", ended.error);
        assert!(is_whole || std::fs::read_dir(all.join(&folder)).unwrap().next().is_none(), "no pin is left");
        let detached = apart.teaparty(&net, &["detach", "--all"]).output().unwrap();
        assert!(detached.status.success(), "{}", String::from_utf8_lossy(&detached.stderr));
        assert!(!all.join(&folder).exists());
    }
    // A start finds the folder given away, has its program all the same, and leaves nothing.
    std::fs::create_dir_all(&all).unwrap();
    give(&all);
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert!(has_program(&net, "veth0"));
    let ended = reflector.stop();
    assert!(ended.status.success() && !has_program(&net, "veth0"), "{}", ended.error);
    assert!(!all.join(&folder).exists() && std::fs::metadata(&all).unwrap().uid() == USER);
    // Root's command works on what another user's reflector has left.
    start(&mut apart.teaparty(&net, &START)).kill();
    give(&all.join(&folder));
    let detached = apart.teaparty(&net, &["detach", "--iface", "veth0"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&detached.stdout), "veth0: detached\n");
    assert!(!has_program(&net, "veth0") && !all.join(&folder).exists());
}

#[test]
fn a_file_system_that_we_mount_is_ours_alone() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done; test -d /sys/fs/bpf");
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert_eq!(std::fs::metadata(apart.path("/sys/fs/bpf")).unwrap().mode() & 0o777, 0o700);
    assert!(apart.path(ALL).exists());
    assert!(reflector.stop().status.success());
}

#[test]
fn more_descriptors_than_the_soft_limit_are_had_and_the_hard_one_is_told() {
    let Some(net) = or_skip(Net::new()) else { return };
    let limited = |limits: &str| {
        let mut command = net.command("prlimit");
        command.args([&format!("--nofile={limits}"), env!("CARGO_BIN_EXE_teaparty")]);
        command.args(["reflector", "--api", "none", "--iface", "lo", "--iface", "veth0", "--xdp-mode", "skb"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        command
    };
    assert!(start(&mut limited("24:4096")).stop().status.success());
    let output = limited("24:24").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("LimitNOFILE") && error.contains("(24)"), "{error}");
    assert!(!net.pins().exists());
}

#[test]
fn a_pipe_in_the_place_of_a_file_hinders_neither_a_reload_nor_the_end() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (settings, key) = (path("teaparty.toml"), path("key"));
    let write = |path: &str, text: &str| {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write(&settings, &format!("iface = [\"veth0\"]\nxdp-mode = \"off\"\ntlv-key-file = \"{key}\"\n"));
    write(&key, "a-key-of-this-test\n");
    // In the place of either file: a pipe, a file of another user, and a folder.
    for (at, replaced) in [&settings, &key].into_iter().enumerate() {
        let kept = path("kept");
        let arguments = ["reflector", "--config", &settings, "--api", "127.0.0.1:8000"];
        let reflector = start(&mut net.teaparty(&arguments));
        std::fs::rename(replaced, &kept).unwrap();
        let refused = |words: &str| {
            let (status, answer) = net.api("POST", "/api/v1/reload", "");
            assert!(status == 422 && answer.to_string().contains(words), "{at}: {status} {answer}");
        };
        nix::unistd::mkfifo(&**replaced, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("a named pipe");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(reflector.pid() as i32), nix::sys::signal::Signal::SIGHUP)
            .unwrap();
        std::fs::remove_file(replaced).unwrap();
        std::fs::create_dir(replaced).unwrap();
        refused("Is a directory");
        std::fs::remove_dir(replaced).unwrap();
        std::fs::copy(&kept, replaced).unwrap();
        chown(replaced, Some(USER), None).unwrap();
        // Without CAP_DAC_OVERRIDE a file of mode 0600 can't be read at all.
        std::fs::set_permissions(replaced, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        refused("65534");
        std::fs::rename(&kept, replaced).unwrap();
        let begun = Instant::now();
        assert!(reflector.stop().status.success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // At the start too.
    std::fs::remove_file(&settings).unwrap();
    nix::unistd::mkfifo(&*settings, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = net.teaparty(&["reflector", "--config", &settings]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("a named pipe"), "{error}");
}

#[test]
fn a_descriptor_that_gives_nothing_hinders_neither_a_reload_nor_the_end() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("teaparty.toml");
    std::fs::write(&settings, "iface = [\"veth0\"]\nxdp-mode = \"off\"\n").unwrap();
    let mut command = net.teaparty(&["reflector", "--config", settings.to_str().unwrap(), "--api", "127.0.0.1:8000"]);
    // Standard input is a pipe that nobody writes to.
    let reflector = start(command.stdin(Stdio::piped()));
    std::fs::write(&settings, "iface = [\"veth0\"]\nxdp-mode = \"off\"\ntlv-key-file = \"fd:0\"\n").unwrap();
    let (status, answer) = net.api("POST", "/api/v1/reload", "");
    assert!(status == 409 && answer.to_string().contains("not read within"), "{status} {answer}");
    let begun = Instant::now();
    assert!(reflector.stop().status.success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
