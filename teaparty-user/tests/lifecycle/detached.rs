//! What happens to a running reflector: another tool takes its program off the interface, an engine ends, an interface goes
//! and comes back with its counters. Takes root.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use teaparty_testing::reflector::{Net, V4, load_pass, pass_on, sequence, start};
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;
use teaparty_user::net::interface::{Interface, xdp_state};
use teaparty_user::net::xdp_link::BpfLink;

/// The address of the reflector's API, in its namespace.
const API: &str = "127.0.0.1:8000";
/// Most time until something is noticed, with a margin for a busy machine.
const NOTICED: Duration = Duration::from_secs(4);

fn interface(net: &Net) -> Value {
    net.api("GET", "/api/v1/reflector", "").1["interfaces"][0].clone()
}

/// Waits until the API says so of the interface.
fn until(net: &Net, patience: Duration, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let found = interface(net);
        if is_so(&found) {
            return found;
        }
        assert!(start.elapsed() < patience, "{what}: {found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Detaches as `bpftool link detach` does.
fn detach(pin: &Path) {
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let bpf = |command: libc::c_long, attributes: [u64; 2]| {
        let len = std::mem::size_of_val(&attributes);
        // SAFETY: the commands read a path or a descriptor from memory that outlives the call and is as long as stated.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), len) };
        assert!(result >= 0, "{}", std::io::Error::last_os_error());
        result as u64
    };
    let link = bpf(BPF_OBJ_GET, [path.as_ptr() as u64, 0]);
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(link as i32) };
    bpf(BPF_LINK_DETACH, [link.as_raw_fd() as u64, 0]);
}

fn program(net: &Net) -> Option<u32> {
    net.in_near(|| xdp_state(Interface::find("veth0").unwrap().index).unwrap().map(|state| state.program_id))
}

/// Returns true if the pinned link has an interface; one that was detached has none.
fn is_pinned(net: &Net) -> bool {
    BpfLink::open(&net.pins().join("link")).and_then(|link| link.info()).is_ok_and(|link| link.index != 0)
}

#[test]
fn a_program_that_another_tool_detaches_is_attached_again_and_no_packet_is_lost() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API]));
    let mut client = net.client(V4, 862);
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(0));
    let before = program(&net).expect("the program is attached");
    let mut next = 1;
    for _ in 0..2 {
        detach(&net.pins().join("link"));
        let detached = Instant::now();
        // One session all the while, whoever answers. The new link is pinned a moment after it is attached.
        while program(&net) != Some(before) || !is_pinned(&net) {
            assert!(detached.elapsed() < NOTICED, "it is not attached again");
            assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(next));
            next += 1;
        }
        println!("attached again after {:?}", detached.elapsed());
    }
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(next));
    assert_eq!(interface(&net)["xdp_mode"], "native");
    let ended = reflector.stop();
    assert_eq!(ended.error.matches("another program has detached the XDP program; it is attached again").count(), 2);
    assert!(!net.pins().exists() && program(&net).is_none(), "{}", ended.error);
}

#[test]
fn while_another_program_is_there_sockets_answer_and_all_say_so() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API]));
    let mut client = net.client(V4, 862);
    assert!((0..3).all(|n| client.ask(&[]).map(|reply| sequence(&reply)) == Some(n)));
    let ours = program(&net);
    let mut foreign = load_pass().unwrap();
    // At once, before the reflector looks; it may look just then.
    let is_attached = net.in_near(|| {
        (0..5).any(|_| {
            detach(&net.pins().join("link"));
            pass_on(&mut foreign, "veth0").is_ok()
        })
    });
    assert!(is_attached);
    let found = until(&net, NOTICED, "taken", |found| found["xdp_mode"] == "off");
    assert!(found["xdp_reason"].as_str().unwrap().starts_with("another XDP program (id "), "{found}");
    assert_eq!((&found["program_id"], &found["is_present"]), (&Value::Null, &true.into()));
    let metrics = get(&net, API, "/metrics").unwrap();
    assert!(metrics.contains("teaparty_interface_present{interface=\"veth0\",xdp_mode=\"off\"} 1.0\n"), "{metrics}");
    let status = net.teaparty(&["status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("XDP mode off"), "{status:?}");
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(3), "a socket goes on with the session");
    drop(foreign);
    let found = until(&net, NOTICED, "free again", |found| found["xdp_mode"] == "native");
    assert_eq!((found["program_id"].as_u64(), &found["xdp_reason"]), (ours.map(u64::from), &Value::Null));
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(4));
    let ended = reflector.stop();
    assert!(ended.status.success() && ended.error.contains("is off the interface, sockets answer"), "{}", ended.error);
    assert!(ended.out.contains("socket  reflect  reflected                         1"), "{}", ended.out);
    assert!(!net.pins().exists() && program(&net).is_none(), "{}", ended.error);
}

#[test]
fn an_engine_that_fails_ends_the_process_with_a_word_and_the_kernel_goes_on() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    let mut client = net.client(V4, 862);
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(0));
    // No engine can wait for more files than a process may have.
    let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: the limit outlives the call, and the old one is not asked for.
    let result =
        unsafe { libc::prlimit(reflector.pid() as i32, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // A packet for the controller wakes its engine.
    client.send(&[&[0; 44][..], &[0x80, 244, 0, 0]].concat());
    let ended = reflector.wait();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.error);
    assert!(ended.error.contains("engine cannot wait for packets"), "{}", ended.error);
    let mut again = net.client(V4, 862);
    assert_eq!(again.ask(&[]).map(|reply| sequence(&reply)), Some(0), "the kernel goes on");
    let next = net.reflector(&["--xdp-mode", "native"]);
    assert!(next.ready.contains("sessions of the earlier run kept"), "{}", next.ready);
    assert_eq!(again.ask(&[]).map(|reply| sequence(&reply)), Some(1));
}

#[test]
fn counters_of_every_engine_go_on_when_an_interface_comes_back() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    for (mode, packets, away) in [("off", [0, 0, 6], false), ("native", [2, 3, 1], true)] {
        let reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--xdp-mode", mode, "--api", API]));
        let ask = |net: &Net| {
            let mut client = net.client(V4, 862);
            assert!(client.ask_within(Duration::from_secs(60)), "{mode}");
            assert!(client.ask(&[]).is_some(), "{mode}");
            // The controller's part of a session, and what comes in fragments.
            for tail in [&[0x80, 244, 0, 0][..], &[0x80, 244, 0, 0], &[0x80, 244, 0, 0], &[0; 4000]] {
                assert!(client.ask(tail).is_some(), "{mode}");
            }
        };
        let read = |net: &Net| {
            let counters = net.api("GET", "/api/v1/reflector", "").1["counters"].clone();
            ["xdp", "ring", "socket"].map(|path| {
                let is_it = |count: &&Value| count["path"] == path && count["reason"] == "reflected";
                counters.as_array().unwrap().iter().find(is_it).map_or(0, |count| count["packets"].as_u64().unwrap())
            })
        };
        // A reply is counted when it has been sent, which may be a moment after it was received.
        let counted = |net: &Net, total: u64| {
            let start = Instant::now();
            while read(net).iter().sum::<u64>() < total && start.elapsed() < NOTICED {}
            read(net)
        };
        ask(&net);
        let first = counted(&net, 6);
        assert_eq!(first, packets, "{mode}");
        net.disconnect();
        let start = Instant::now();
        while interface(&net)["is_present"] == true {
            assert!(start.elapsed() < NOTICED);
        }
        assert_eq!(read(&net), first, "{mode}: they are there while the interface is away");
        net.connect().unwrap();
        until(&net, 5 * NOTICED, "back", |found| {
            found["addresses"].as_array().is_some_and(|all| all.contains(&V4.into()))
        });
        ask(&net);
        let second = counted(&net, 12);
        assert_eq!(second.iter().sum::<u64>(), 2 * first.iter().sum::<u64>(), "{mode}: {second:?} after {first:?}");
        assert!(second.iter().zip(first).all(|(now, before)| *now >= before), "{mode}: {second:?} after {first:?}");
        if away {
            net.disconnect();
            let start = Instant::now();
            while interface(&net)["is_present"] == true {
                assert!(start.elapsed() < NOTICED);
            }
        }
        let ended = reflector.stop();
        assert!(ended.out.contains("\n12 packets answered in "), "{mode}: {}{}", ended.out, ended.error);
    }
}
