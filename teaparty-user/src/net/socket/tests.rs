//! The socket against the kernel, over loopback: every fact that it promises is there and right.

use std::time::Duration;

use teaparty_common::wire::TrafficClass;

use super::super::batch::{ErrorQueueReport, Outgoing, StampSource};
use super::super::poll::wait;
use super::*;
use crate::sys::clock::{ClockSource, SystemClock};

fn pair(local: &str) -> (Socket, Socket, SocketAddr) {
    let bind: SocketAddr = local.parse().unwrap();
    let sender = Socket::open(&Options { transmit_stamps: true, report_errors: true, ..Options::new(bind) }).unwrap();
    let receiver = Socket::open(&Options::new(bind)).unwrap();
    let to = receiver.local_addr().unwrap();
    (sender, receiver, to)
}

fn receive(socket: &Socket, batch: &mut ReceiveBatch) -> usize {
    for _ in 0..100 {
        let count = socket.receive(batch).unwrap();
        if count > 0 {
            return count;
        }
        wait(&[socket], Some(Duration::from_millis(20))).unwrap();
    }
    panic!("no datagram within two seconds");
}

fn reports(socket: &Socket, batch: &mut ReceiveBatch) -> usize {
    for _ in 0..100 {
        let count = socket.receive_reports(batch).unwrap();
        if count > 0 {
            return count;
        }
        wait(&[socket], Some(Duration::from_millis(20))).unwrap();
    }
    panic!("no report within two seconds");
}

/// The kernel switches receive timestamps on for the whole host when the first socket asks, and takes a moment to do it.
fn wait_for_receive_stamps(sender: &Socket, receiver: &Socket, to: SocketAddr) {
    let mut batch = ReceiveBatch::new(1, 64);
    // By time and not by count: a worker of the kernel does it, which on a busy machine has to wait.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        let mut out = SendBatch::new();
        out.push(&Outgoing::to(to), b"warm-up");
        sender.send(&mut out).unwrap();
        receive(receiver, &mut batch);
        if batch.iter().all(|datagram| datagram.stamp.is_some()) {
            return;
        }
    }
    panic!("the kernel takes no receive timestamps");
}

fn facts_arrive(local: &str) {
    let (sender, receiver, to) = pair(local);
    wait_for_receive_stamps(&sender, &receiver, to);
    let mut out = SendBatch::new();
    for i in 0..3u8 {
        let mut outgoing = Outgoing::to(to);
        outgoing.traffic_class = Some(TrafficClass(0xb8 + i));
        outgoing.ttl = Some(61 + i);
        outgoing.source = Some(to.ip());
        let at = out.push(&outgoing, &[i; 5]);
        out.payload_mut(at)[4] = 0xee;
    }
    let before = SystemClock.realtime_ns();
    sender.send(&mut out).unwrap();
    assert_eq!((out.sent(), out.failed().len()), (3, 0));
    let mut batch = ReceiveBatch::new(8, 4);
    let mut seen = 0;
    while seen < 3 {
        receive(&receiver, &mut batch);
        let after = SystemClock.realtime_ns();
        for datagram in batch.iter() {
            let i = seen as u8;
            // Slots of four octets cut the fifth one off, and say so.
            assert_eq!((datagram.payload, datagram.is_truncated), (&[i; 4][..], true));
            assert_eq!(datagram.peer(), Some(sender.local_addr().unwrap()));
            assert_eq!((datagram.destination, datagram.local), (Some(to.ip()), Some(to.ip())));
            assert_eq!((datagram.ttl, datagram.traffic_class), (Some(61 + i), Some(TrafficClass(0xb8 + i))));
            assert_ne!(datagram.interface, 0);
            let stamp = datagram.stamp.unwrap();
            assert_eq!(stamp.source, StampSource::Kernel);
            assert!((before..=after).contains(&stamp.nanos), "{before} {stamp:?} {after}");
            seen += 1;
        }
    }
}

#[test]
fn facts_of_a_datagram_arrive_over_ipv4() {
    facts_arrive("127.0.0.1:0");
}

#[test]
fn facts_of_a_datagram_arrive_over_ipv6() {
    facts_arrive("[::1]:0");
}

#[test]
fn transmit_stamps_come_back_under_their_numbers() {
    let (sender, _receiver, to) = pair("127.0.0.1:0");
    let mut out = SendBatch::new();
    // The middle one asks for none, so counting and numbering differ.
    for id in [Some(0x8000_0007), None, Some(3)] {
        out.push(&Outgoing { stamp_id: id, ..Outgoing::to(to) }, b"x");
    }
    let before = SystemClock.realtime_ns();
    sender.send(&mut out).unwrap();
    let mut batch = ReceiveBatch::new(8, 64);
    let mut ids = Vec::new();
    while ids.len() < 2 {
        reports(&sender, &mut batch);
        for entry in batch.iter() {
            let Some(ErrorQueueReport::Transmitted { id, stamp }) = entry.report() else { panic!("{entry:?}") };
            assert!(stamp.nanos >= before && stamp.nanos <= SystemClock.realtime_ns());
            ids.push(id);
        }
    }
    assert_eq!(ids, [0x8000_0007, 3]);
}

#[test]
fn a_closed_port_is_reported_with_its_peer_and_does_not_stop_sending() {
    let (sender, receiver, to) = pair("127.0.0.1:0");
    drop(receiver);
    let mut batch = ReceiveBatch::new(8, 64);
    for _ in 0..3 {
        let mut out = SendBatch::new();
        out.push(&Outgoing::to(to), b"anybody there");
        sender.send(&mut out).unwrap();
        assert_eq!(out.sent(), 1, "{:?}", out.failed());
        reports(&sender, &mut batch);
        let entry = batch.iter().next().unwrap();
        let Some(ErrorQueueReport::Refused { peer, errno, payload }) = entry.report() else { panic!("{entry:?}") };
        assert_eq!((peer, errno, payload), (Some(to), libc::ECONNREFUSED, &b"anybody there"[..]));
    }
}

#[test]
fn one_refused_datagram_does_not_take_the_others_along() {
    let (sender, receiver, to) = pair("127.0.0.1:0");
    let mut out = SendBatch::new();
    out.push(&Outgoing::to(to), b"a");
    out.push(&Outgoing::to(to), &[0; 65_535]);
    out.push(&Outgoing::to(to), b"b");
    sender.send(&mut out).unwrap();
    assert!(out.is_done());
    let failed: Vec<_> = out.failed().iter().map(|(at, error)| (*at, error.raw_os_error())).collect();
    assert_eq!((out.sent(), failed), (2, vec![(1, Some(libc::EMSGSIZE))]));
    let mut batch = ReceiveBatch::new(8, 64);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        receive(&receiver, &mut batch);
        seen.extend(batch.iter().map(|datagram| datagram.payload.to_vec()));
    }
    assert_eq!(seen, [b"a", b"b"]);
}

#[test]
fn a_taken_port_says_how_to_find_the_owner() {
    let (_sender, receiver, _) = pair("127.0.0.1:0");
    let error = Socket::open(&Options::new(receiver.local_addr().unwrap())).err().unwrap().to_string();
    assert!(error.contains("ss -ulpn"), "{error}");
}

#[test]
fn a_foreign_address_and_an_unknown_interface_are_named() {
    let error = Socket::open(&Options::new("192.0.2.1:0".parse().unwrap())).err().unwrap().to_string();
    assert!(error.contains("192.0.2.1") && error.contains("ip address"), "{error}");
    let options = Options { device: Some("nosuch0".into()), ..Options::new("0.0.0.0:0".parse().unwrap()) };
    assert!(Socket::open(&options).err().unwrap().to_string().contains("nosuch0"));
}

/// Sends packets of these lengths in GSO batches and gives what arrives; the first octet of each is its number.
fn through_trains(sender: &Socket, receiver: &Socket, to: SocketAddr, lengths: &[usize]) -> Vec<(u8, usize, u8)> {
    let mut out = SendBatch::with_gso();
    for (number, len) in lengths.iter().enumerate() {
        let mut payload = vec![0xa5; *len];
        payload[0] = number as u8;
        // Another traffic class for the last few.
        let class = TrafficClass(if number + 3 < lengths.len() { 0x28 } else { 0xb8 });
        out.push(&Outgoing { traffic_class: Some(class), ..Outgoing::to(to) }, &payload);
    }
    sender.send(&mut out).unwrap();
    assert!(out.failed().is_empty() && out.sent() == lengths.len(), "{:?}", out.failed());
    let mut batch = ReceiveBatch::new(64, 65_535);
    let mut arrived = Vec::new();
    while arrived.len() < lengths.len() {
        receive(receiver, &mut batch);
        arrived.extend(batch.iter().map(|datagram| {
            assert!(datagram.payload[1..].iter().all(|octet| *octet == 0xa5));
            (datagram.payload[0], datagram.payload.len(), datagram.traffic_class.unwrap().0)
        }));
    }
    arrived
}

#[test]
fn trains_arrive_as_the_packets_that_they_were_made_of() {
    let lengths: Vec<usize> = [vec![44; 70], vec![100; 5], vec![44; 9]].concat();
    for (local, join_received) in [("127.0.0.1:0", false), ("[::1]:0", false), ("127.0.0.1:0", true), ("[::1]:0", true)]
    {
        let (sender, receiver, to) = pair(local);
        if join_received {
            receiver.set(libc::SOL_UDP, libc::UDP_GRO, 1, "UDP_GRO").unwrap();
        }
        let arrived = through_trains(&sender, &receiver, to, &lengths);
        let class = |number| if number + 3 < lengths.len() { 0x28 } else { 0xb8 };
        let expected: Vec<_> = (0..lengths.len()).map(|n| (n as u8, lengths[n], class(n))).collect();
        assert_eq!(arrived, expected);
    }
}

#[test]
fn what_the_kernel_joins_takes_one_slot_and_comes_apart_again() {
    let bind: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let sender = Socket::open(&Options::new(bind)).unwrap();
    for (join_received, slots) in [(true, 1), (false, 20)] {
        let receiver = Socket::open(&Options { join_received, ..Options::new(bind) }).unwrap();
        let mut out = SendBatch::with_gso();
        for _ in 0..20 {
            out.push(&Outgoing::to(receiver.local_addr().unwrap()), &[7; 44]);
        }
        sender.send(&mut out).unwrap();
        let mut batch = ReceiveBatch::new(64, 65_535);
        receive(&receiver, &mut batch);
        assert_eq!((batch.len(), batch.iter().count()), (slots, 20), "{join_received}");
        assert!(batch.iter().all(|datagram| datagram.payload == [7; 44] && datagram.stamp.is_some()));
    }
}

#[test]
fn packets_go_one_by_one_where_the_kernel_refuses_trains() {
    let bind: SocketAddr = "127.0.0.1:0".parse().unwrap();
    // Without a checksum there is none to be computed for each packet.
    let sender = Socket::open(&Options { omit_checksum: true, ..Options::new(bind) }).unwrap();
    let receiver = Socket::open(&Options::new(bind)).unwrap();
    let arrived = through_trains(&sender, &receiver, receiver.local_addr().unwrap(), &[44; 20]);
    assert_eq!(arrived.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}
