//! What a reply tells of those before it, when many requests wait together.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::reflector::{Net, V4, sequence};
use teaparty_testing::skip::or_skip;

/// Octets of an entry of History, and of those asked for.
const ENTRY: usize = 32;
const ENTRIES: usize = 3;
/// Offsets of the values, after the base packet and one TLV or two.
const FOLLOW_UP: usize = 48;
const HISTORY: usize = 68;

/// The reflector is held up, so that it finds all requests at once; each reply still tells of the one before it.
#[test]
fn replies_to_requests_that_wait_together_tell_of_each_other_c143_c276() {
    let Some(net) = or_skip(Net::new()) else { return };
    let tlvs =
        [&[0x80, 7, 0, 16][..], &[0; 16], &[0x80, 244, 0, (ENTRIES * ENTRY) as u8], &[0; ENTRIES * ENTRY]].concat();
    for engine in [&["--xdp-mode", "native"][..], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]] {
        let reflector = net.reflector(engine);
        let mut client = net.client(V4, 862);
        let process = Pid::from_raw(reflector.pid() as i32);
        kill(process, Signal::SIGSTOP).unwrap();
        for _ in 0..20 {
            let packet = client.packet(&tlvs);
            client.send(&packet);
        }
        kill(process, Signal::SIGCONT).unwrap();
        let replies: Vec<Vec<u8>> = (0..20).map(|_| client.receive().expect("a reply")).collect();
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(sequence(reply), number as u32, "{engine:?}: in order");
            let earlier: Vec<&Vec<u8>> = replies[..number].iter().rev().take(ENTRIES).collect();
            let follow_up = earlier.first().map_or(vec![0; 12], |last| last[..12].to_vec());
            assert_eq!(reply[FOLLOW_UP..FOLLOW_UP + 12], follow_up, "{engine:?}: C143, reply {number}");
            for (place, told) in reply[HISTORY..].chunks(ENTRY).enumerate() {
                // Reflector's number, sender's number, T2, T1, T3.
                let entry = earlier.get(place).map_or(vec![0; ENTRY], |earlier| {
                    [&earlier[..4], &earlier[24..28], &earlier[16..24], &earlier[28..36], &earlier[4..12]].concat()
                });
                assert_eq!(told, entry, "{engine:?}: C276, reply {number}, entry {place}");
            }
        }
        reflector.stop();
    }
}
