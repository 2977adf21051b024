//! An interface is a number in a namespace, not a name: what a reflector pins goes along with renames, is not taken over by
//! what only has the name, and goes with the interface. Takes root.

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
pub(super) const USER: u32 = 65_534;

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

pub(super) fn has_program(net: &Net, interface: &str) -> bool {
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

pub(super) fn detach(net: &Net, arguments: &[&str]) -> (Option<i32>, String) {
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
pub(super) struct Apart {
    keeper: Child,
}

impl Apart {
    pub(super) fn new(mount: &str) -> Self {
        let script = format!("{mount} && echo && exec sleep 1000");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdout(Stdio::piped());
        let mut keeper = command.spawn().unwrap();
        let mut line = [0; 1];
        std::io::Read::read_exact(keeper.stdout.as_mut().unwrap(), &mut line).expect("the file system is mounted");
        Self { keeper }
    }

    /// Returns our path to one of its files.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        format!("/proc/{}/root{inside}", self.keeper.id()).into()
    }

    /// `teaparty` in the near namespace, with this file system.
    pub(super) fn teaparty(&self, net: &Net, arguments: &[&str]) -> Command {
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

pub(super) const START: [&str; 7] = ["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "native"];
pub(super) const ALL: &str = "/sys/fs/bpf/teaparty";
