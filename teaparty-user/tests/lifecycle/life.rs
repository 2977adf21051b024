//! The life of `teaparty reflector`: killed and started again, refused, left alone, and an interface that goes and comes
//! back. Takes root.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use teaparty_testing::reflector::{Net, V4, attach_pass, sequence, start};
use teaparty_testing::skip::or_skip;

/// Returns the failure of `teaparty reflector` with these arguments.
fn refusal(net: &Net, arguments: &[&str]) -> (Output, String) {
    let output = net.teaparty(&[&["reflector", "--api", "none"], arguments].concat()).output().unwrap();
    assert!(!output.status.success(), "it did not fail: {arguments:?}");
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    (output, error)
}

#[test]
fn a_killed_controller_keeps_answering_and_the_next_one_counts_on() {
    let Some(net) = or_skip(Net::new()) else { return };
    let first = net.reflector(&["--xdp-mode", "native"]);
    let mut client = net.client(V4, 862);
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(0));
    first.kill();
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(1), "the kernel answers by itself");
    assert!(net.pins().join("sessions").exists());
    let second = net.reflector(&[]);
    assert!(second.ready.contains("sessions of the earlier run kept"), "{}", second.ready);
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(2));
    // And the controller's half works on the adopted maps.
    assert_eq!(client.ask(&[0x80, 244, 0, 0]).map(|reply| (sequence(&reply), reply[44])), Some((3, 0)));
    second.kill();
    let detached = net.teaparty(&["detach", "--iface", "veth0"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&detached.stdout), "veth0: detached\n");
    assert!(!net.pins().exists());
    assert_eq!(client.ask(&[]), None);
}

#[test]
fn a_program_that_is_not_ours_is_named_and_left_alone() {
    let Some(net) = or_skip(Net::new()) else { return };
    let (foreign, id) = net.in_near(|| {
        let mut ebpf = attach_pass("veth0").unwrap();
        let pass: &mut Xdp = ebpf.program_mut("teaparty_pass").unwrap().try_into().unwrap();
        let id = pass.info().unwrap().id();
        (ebpf, id)
    });
    for mode in ["auto", "native", "skb"] {
        let (_, error) = refusal(&net, &["--iface", "veth0", "--xdp-mode", mode]);
        assert!(error.contains(&format!("teaparty_pass (id {id})")), "{mode}: {error}");
        assert!(error.contains("ip link"), "{mode}: {error}");
        assert!(!net.pins().exists(), "{mode}");
    }
    let state = net.in_near(|| {
        let index = nix::net::if_::if_nametoindex("veth0").unwrap();
        teaparty_user::net::interface::xdp_state(index).unwrap()
    });
    assert_eq!(state.map(|state| state.program_id), Some(id), "it is still there");
    drop(foreign);
}

#[test]
fn failures_are_one_sentence_that_says_what_to_do() {
    let Some(net) = or_skip(Net::new()) else { return };
    let (_, error) = refusal(&net, &["--iface", "nosuch0"]);
    assert!(error.contains("no interface nosuch0") && error.contains("ip link"), "{error}");
    let (output, error) = refusal(&net, &["--iface", "veth0", "--deny-dscp", "99"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("deny-dscp"), "{error}");
    let holder = net.in_near(|| std::net::UdpSocket::bind("0.0.0.0:862")).unwrap();
    let (_, error) = refusal(&net, &["--iface", "veth0"]);
    assert!(error.contains("0.0.0.0:862") && error.contains("ss -ulpn"), "{error}");
    assert!(!net.pins().exists(), "no program is attached when the port is taken");
    drop(holder);
    let _running = net.reflector(&["--xdp-mode", "native"]);
    let (_, error) = refusal(&net, &["--iface", "veth0", "--port", "863"]);
    assert!(error.contains("another teaparty reflector is running on veth0"), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
}

#[test]
fn an_interface_that_comes_back_is_answered_on_again() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode]);
        let mut client = net.client(V4, 862);
        assert!(client.ask(&[]).is_some(), "{mode}");
        net.disconnect();
        net.connect().unwrap();
        assert!(net.client(V4, 862).ask_within(Duration::from_secs(60)), "{mode}");
        let ended = reflector.stop();
        assert!(ended.status.success(), "{}", ended.error);
        assert!(!net.pins().exists(), "{mode}");
    }
}

#[test]
fn without_a_name_it_answers_wherever_an_address_is() {
    let Some(net) = or_skip(Net::new()) else { return };
    let arguments = ["reflector", "--api", "none"];
    let reflector = start(&mut net.teaparty(&arguments));
    for interface in ["interface   lo\n", "interface   veth0\n"] {
        assert!(reflector.ready.contains(interface), "no {interface} in {}", reflector.ready);
    }
    assert!(net.client(V4, 862).ask(&[]).is_some());
    let ended = reflector.stop();
    assert!(ended.status.success() && !net.pins().exists(), "{}", ended.error);
    // An unavailable interface is left out, unless it is named.
    let foreign = net.in_near(|| attach_pass("veth0").unwrap());
    let reflector = start(&mut net.teaparty(&arguments));
    assert!(reflector.ready.contains("interface   lo\n") && !reflector.ready.contains("veth0"), "{}", reflector.ready);
    let ended = reflector.stop();
    assert!(ended.error.contains("teaparty_pass") && ended.error.contains("veth0: left out"), "{}", ended.error);
    drop(foreign);
    for interface in ["lo", "veth0"] {
        net.near_ip(&["link", "set", interface, "down"]);
    }
    let output = net.teaparty(&arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("no interface is up"), "{error}");
}

#[test]
fn heartbeats_outlive_a_target_that_is_away_and_carry_the_interfaces_mac() {
    let Some(net) = or_skip(Net::new()) else { return };
    let arguments = ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", "127.0.0.1:8000"];
    let reflector = start(&mut net.teaparty(&[&arguments[..], &["--heartbeat", "203.0.113.9:8620@1"]].concat()));
    let until = |is_so: &dyn Fn(&serde_json::Value) -> bool| {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let status = net.api("GET", "/api/v1/heartbeats", "").1[0].clone();
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // Nobody knows a way there yet; that is reported, tried again, and keeps no packet from its answer.
    let status = until(&|status| status["failed"].as_u64() >= Some(2));
    assert!(status["last_success"].is_null() && status["sent"] == 0, "{status}");
    assert!(status["last_error"].as_str().unwrap().contains("unreachable"), "{status}");
    assert!(net.client(V4, 862).ask(&[]).is_some());

    let ip = |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
    net.in_far(|| ip(&["address", "add", "203.0.113.9/32", "dev", "lo"]));
    let target = net.in_far(|| std::net::UdpSocket::bind("203.0.113.9:8620")).unwrap();
    target.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    net.near_ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.2"]);
    let mut packet = [0; 256];
    let (len, from) = target.recv_from(&mut packet).expect("a heartbeat");
    assert_eq!((len, from.to_string()), (56, "192.0.2.1:862".into()), "it leaves from where we listen");
    let mac = net.in_near(|| teaparty_user::net::interface::Interface::find("veth0")).unwrap().mac;
    let head = [0, 0, 0, 0x22].iter().chain(&packet[4..12]).chain(&[0, 1]).copied().collect::<Vec<u8>>();
    assert_eq!(packet[..14], head);
    assert_eq!(packet[14..44], [0; 30]);
    assert_eq!(packet[44..56], [&[0x80, 242, 0, 8][..], &mac, &[0, 0]].concat());
    let status = until(&|status| status["sent"].as_u64() >= Some(1));
    assert!(
        status["last_success"]["secs_since_epoch"].as_u64() > Some(0) && status["last_error"].is_null(),
        "{status}"
    );
    assert!(reflector.stop().status.success());
}
