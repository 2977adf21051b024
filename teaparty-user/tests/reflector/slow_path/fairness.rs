//! More than the controller can do: the excess is counted, and lost by the session that sends it, not the others.

use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{Map, MapData, PerCpuArray};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_common::maps::Counters;
use teaparty_common::reflect::Reason;
use teaparty_testing::reflector::{Net, V4, sequence};
use teaparty_testing::skip::or_skip;

use super::authentication::count;
use super::signed::{SharedKey, echoed, witness};

/// A counter of the kernel's.
fn kernel_count(net: &Net, reason: Reason) -> u64 {
    let map = Map::from_map_data(MapData::from_pin(net.pins().join("counters")).unwrap()).unwrap();
    let counters = PerCpuArray::<_, Counters>::try_from(map).unwrap();
    Counters::total(counters.get(&0, 0).unwrap().iter())[reason as usize]
}

#[test]
fn a_session_that_asks_for_too_much_does_not_starve_another() {
    const QUIET: u32 = 200;
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(21);
    let reflector = net.reflector(&["--rate-limit", "0", "--auth-key-file", key.path()]);
    // All but the largest packet, every octet of which is under two HMACs.
    let padding = [&[0x80, 1, 0x05, 0x00][..], &[0xa5; 0x500]].concat();
    let heavy = key.packet(0, &[&padding[..], &[0x80, 3, 0, 4, 0, 0, 0, 0]].concat(), &key);
    let packets: Vec<Vec<u8>> = (0..QUIET).map(|n| key.packet(n, &[], &key)).collect();
    let (busy, quiet) = (net.client(V4, 862), net.client(V4, 862));
    let is_over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sent = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                busy.send(&heavy);
                sent += 1;
            }
            sent
        });
        // The flood is more than can be done: the excess is dropped before the quiet session begins, and while it
        // goes on.
        let dropped = || kernel_count(&net, Reason::RingFull);
        let lost: Vec<u32> = (0..QUIET)
            .filter(|n| quiet.exchange(&packets[*n as usize]).map(|reply| echoed(&reply)) != Some(*n))
            .collect();
        let dropped = dropped();
        is_over.store(true, Ordering::Relaxed);
        assert!(
            lost.is_empty(),
            "{lost:?}: packets of the quiet session without a reply; {dropped} found no place in the ring"
        );
        flood.join().unwrap()
    });
    let ended = reflector.stop();
    let answered = count(&ended.out, "reflected");
    assert!(u64::from(answered) < sent, "the flood was not more than can be done: {sent} sent, {}", ended.out);
    println!("{sent} heavy packets sent\n{}", ended.out);
}

#[test]
fn a_full_ring_is_a_counted_drop_and_no_stall() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(22);
    let reflector = net.reflector(&["--rate-limit", "0", "--auth-key-file", key.path()]);
    let client = net.client(V4, 862);
    let packet = key.packet(1, &[], &key);
    assert_eq!(client.exchange(&packet).map(|reply| sequence(&reply)), Some(0));
    kill(Pid::from_raw(reflector.pid() as i32), Signal::SIGSTOP).unwrap();
    let mut sent = 0u64;
    // The ring has room for some 18,000 of them.
    while kernel_count(&net, Reason::RingFull) == 0 {
        for _ in 0..1000 {
            client.send(&packet);
        }
        sent += 1000;
        assert!(sent < 200_000, "{sent} packets fit into the ring");
    }
    let dropped = kernel_count(&net, Reason::RingFull);
    kill(Pid::from_raw(reflector.pid() as i32), Signal::SIGCONT).unwrap();
    // It goes on: the numbers of those that were dropped were never given. Its own queue may have lost some too.
    let other = net.client(V4, 862);
    let asked = (1..20).find(|n| other.exchange(&key.packet(*n, &[], &key)).is_some()).expect("it answers again");
    while client.receive().is_some() {}
    let ended = reflector.stop();
    let [answered, full] = ["reflected", "ring-full"].map(|reason| u64::from(count(&ended.out, reason)));
    assert!(full >= dropped && dropped > 0, "{}", ended.out);
    assert_eq!(answered + full, sent + 1 + u64::from(asked), "every packet is accounted for: {}", ended.out);
}

#[test]
fn a_full_socket_queue_is_a_counted_drop() {
    const SENT: u64 = 40_000;
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(23);
    for engine in [&["--xdp-mode", "off"][..], &["--xdp-mode", "off", "--link-layer"]] {
        let reflector = net.reflector(&[&["--rate-limit", "0", "--auth-key-file", key.path()], engine].concat());
        let client = net.client(V4, 862);
        let packet = key.packet(1, &[], &key);
        assert_eq!(client.exchange(&packet).map(|reply| sequence(&reply)), Some(0), "{engine:?}");
        kill(Pid::from_raw(reflector.pid() as i32), Signal::SIGSTOP).unwrap();
        (0..SENT).for_each(|_| client.send(&packet));
        kill(Pid::from_raw(reflector.pid() as i32), Signal::SIGCONT).unwrap();
        // What was lost is reported with the next packet that is not.
        let other = net.client(V4, 862);
        let asked = (1..20).find(|n| other.exchange(&key.packet(*n, &[], &key)).is_some()).expect("it answers again");
        let ended = reflector.stop();
        let [answered, full] = ["reflected", "ring-full"].map(|reason| u64::from(count(&ended.out, reason)));
        assert!(full > 0, "{engine:?}: the queue has room for all: {}", ended.out);
        assert_eq!(answered + full, SENT + 1 + u64::from(asked), "{engine:?}: {}", ended.out);
    }
}
