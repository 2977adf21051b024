//! A start under packets: sockets answer from the first moment, the program goes on with their sessions, and if it can't be
//! had they go on without it. Takes root.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Ended, Net, V4, sender_sequence, sequence, start};
use teaparty_testing::skip::or_skip;

/// Between one packet and the next.
const INTERVAL: Duration = Duration::from_millis(5);
/// The longest residence (T3 − T2) that a busy machine may cause. A program takes longer than this to be loaded.
const LONGEST: Duration = Duration::from_millis(600);

/// The replies to the packets of a session.
struct Replies {
    sent: u32,
    /// Number of the request, number of the reply and residence, by arrival.
    seen: Vec<(u32, u32, Duration)>,
}

/// Sends at [`INTERVAL`] while `during` runs, and collects what comes back until a while after it.
fn traffic<T: Send>(net: &Net, during: impl FnOnce() -> T + Send) -> (Replies, T) {
    let socket = net.in_far(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut replies, mut reply) = (Replies { sent: 0, seen: Vec::new() }, [0; 2048]);
            let mut end = None;
            while end.is_none_or(|end| Instant::now() < end) {
                if end.is_none() {
                    let mut packet = [0; 44];
                    packet[..4].copy_from_slice(&replies.sent.to_be_bytes());
                    packet[12..14].copy_from_slice(&[0x8a, 5]);
                    // While nobody listens the stack says so, by the next call.
                    let _ = socket.send_to(&packet, (V4, 862));
                    replies.sent += 1;
                    if is_over.load(Ordering::Acquire) {
                        end = Some(Instant::now() + Duration::from_millis(500));
                    }
                }
                std::thread::sleep(INTERVAL);
                loop {
                    match socket.recv(&mut reply) {
                        Ok(44) => {
                            let at = |place: usize| {
                                let word = |n: usize| u32::from_be_bytes(reply[n..n + 4].try_into().unwrap());
                                f64::from(word(place)) + f64::from(word(place + 4)) / 4_294_967_296.0
                            };
                            let residence = Duration::from_secs_f64((at(4) - at(16)).max(0.0));
                            replies.seen.push((sender_sequence(&reply), sequence(&reply), residence));
                        }
                        Ok(len) => panic!("a reply of {len} octets"),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => {}
                    }
                }
            }
            replies
        });
        let result = during();
        std::thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Release);
        (sender.join().unwrap(), result)
    })
}

/// From the first packet that was answered on, each one is, once, with the next number, and at once.
fn assert_answered_from_the_first_moment(replies: &Replies) {
    let Replies { sent, seen } = replies;
    let first = seen.first().expect("a reply").0;
    let mut expected: Vec<(u32, u32)> = (first..*sent).zip(0..).collect();
    let mut found: Vec<(u32, u32)> = seen.iter().map(|(request, reply, _)| (*request, *reply)).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let longest = seen.iter().map(|(.., residence)| *residence).max().unwrap();
    println!("{} of {sent} packets were answered, the slowest after {longest:?}", seen.len());
    assert!(longest < LONGEST, "a packet has waited {longest:?}");
}

/// Packets that this path has answered, as the summary says.
fn reflected(ended: &Ended, path: &str) -> u64 {
    let line = ended.out.lines().find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1..4) == Some(&[path, "reflect", "reflected"])
    });
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0)
}

#[test]
fn packets_are_answered_while_the_program_is_loaded_and_it_counts_on() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["skb", "native"] {
        // The neighbours know each other.
        net.in_near(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[0], "192.0.2.2:9").unwrap());
        let (replies, ended) = traffic(&net, || {
            let running = net.reflector(&["--xdp-mode", mode]);
            std::thread::sleep(Duration::from_millis(500));
            running
        });
        let ended = ended.stop();
        assert_answered_from_the_first_moment(&replies);
        assert!(reflected(&ended, "socket") > 20 && reflected(&ended, "xdp") > 20, "{mode}: {}", ended.out);
        assert_eq!(reflected(&ended, "socket") + reflected(&ended, "xdp"), replies.seen.len() as u64);
    }
}

/// A copy of the XDP object in which the verifier refuses one program: its first instruction returns what nobody has set.
fn broken_object(program: &str) -> Option<Vec<u8>> {
    let path = std::env::var_os("TEAPARTY_EBPF_OBJECT").map(PathBuf::from);
    let mut object = std::fs::read(path.or_else(|| option_env!("TEAPARTY_EBPF_OBJECT").map(PathBuf::from))?).ok()?;
    let number = |at: usize, len: usize| {
        let mut octets = [0; 8];
        octets[..len].copy_from_slice(&object[at..at + len]);
        u64::from_le_bytes(octets) as usize
    };
    // ELF64: e_shoff and e_shnum; of a section sh_type, sh_offset, sh_size and sh_link; symbols of 24 octets.
    let section = |index: usize| number(0x28, 8) + index * 64;
    let symbols = (0..number(0x3c, 2)).map(section).find(|at| number(at + 4, 4) == 2)?;
    let names = number(section(number(symbols + 40, 4)) + 24, 8);
    let (start, size) = (number(symbols + 24, 8), number(symbols + 32, 8));
    let wanted = [program.as_bytes(), &[0]].concat();
    let symbol = (start..start + size).step_by(24).find(|at| object[names + number(*at, 4)..].starts_with(&wanted))?;
    let at = number(section(number(symbol + 6, 2)) + 24, 8) + number(symbol + 8, 8);
    object[at..at + 8].copy_from_slice(&[0x95, 0, 0, 0, 0, 0, 0, 0]);
    Some(object)
}

#[test]
fn what_has_begun_goes_on_by_sockets_if_the_verifier_refuses_the_program() {
    let Some(net) = or_skip(Net::new()) else { return };
    let Some(object) = or_skip(broken_object("teaparty_full").ok_or("no eBPF object")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object");
    std::fs::write(&path, object).unwrap();
    net.in_near(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[0], "192.0.2.2:9").unwrap());
    let (replies, running) = traffic(&net, || {
        let mut command = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0"]);
        start(command.env("TEAPARTY_EBPF_OBJECT", &path))
    });
    assert!(
        running.ready.contains("off (sockets answer): the kernel does not load the XDP program"),
        "{}",
        running.ready
    );
    let ended = running.stop();
    assert_answered_from_the_first_moment(&replies);
    assert_eq!(reflected(&ended, "socket"), replies.seen.len() as u64, "{}", ended.out);
    assert!(ended.out.contains(" packets answered in 1 session\n"), "{}", ended.out);
    assert!(ended.error.contains("no XDP, sockets answer instead") && !net.pins().exists(), "{}", ended.error);
    // The same by the doctor, which says what the verifier says.
    let arguments = ["doctor", "--iface", "veth0", "--format", "json"];
    let doctor = net.teaparty(&arguments).env("TEAPARTY_EBPF_OBJECT", &path).output().unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.code() == Some(1) && text.contains("the kernel does not load the XDP program"), "{text}");
    assert!(text.contains("Verifier output: unreachable insn 1"), "{text}");
}
