//! A reflector that answers whatever a test wants, and remembers what it was sent and when.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use teaparty_testing::sender::summary;

/// A datagram that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) payload: Vec<u8>,
}

/// The replies to a request, each with its delay.
pub(crate) type Replies = Vec<(Duration, Vec<u8>)>;

/// A running reflector; ends when dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Seen>>>,
}

impl Fake {
    /// Starts one on a free port of 127.0.0.1. `answer` gets the number of the request, from 0, and its payload.
    pub(crate) fn start(answer: impl FnMut(u32, &[u8]) -> Replies + Send + 'static) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// One that answers each request with what `edit` makes of a right reply, at once.
    pub(crate) fn editing(mut edit: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Self {
        Self::start(move |number, request| {
            let mut reply = open_reply(request, number);
            edit(&mut reply);
            vec![(Duration::ZERO, reply)]
        })
    }

    /// One that answers nothing.
    pub(crate) fn silent() -> Self {
        Self::start(|_, _| Vec::new())
    }

    /// Starts a reflector on an existing socket.
    pub(crate) fn on(socket: UdpSocket, mut answer: impl FnMut(u32, &[u8]) -> Replies + Send + 'static) -> Self {
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen: Vec<Seen> = Vec::new();
            let mut waiting: Vec<(Instant, SocketAddr, Vec<u8>)> = Vec::new();
            let mut buffer = [0; 65_536];
            while !flag.load(Ordering::SeqCst) {
                if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                    let at = Instant::now();
                    let replies = answer(seen.len() as u32, &buffer[..len]);
                    waiting.extend(replies.into_iter().map(|(delay, reply)| (at + delay, peer, reply)));
                    seen.push(Seen { at, payload: buffer[..len].to_vec() });
                }
                let now = Instant::now();
                waiting.retain(|(due, peer, reply)| {
                    if *due <= now {
                        socket.send_to(reply, peer).unwrap();
                    }
                    *due > now
                });
            }
            seen
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Measures against it: exit status and the summary.
    pub(crate) fn measure(&self, rest: &str) -> (i32, Value) {
        measure(&self.address.to_string(), rest)
    }

    /// Ends it; returns what it was sent.
    pub(crate) fn stop(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `teaparty sender` with these targets and options: exit status and the summary.
pub(crate) fn measure(targets: &str, rest: &str) -> (i32, Value) {
    let mut defaults = String::new();
    for (long, short, value) in [("--count", "-c", "3"), ("--interval", "-i", "2ms"), ("--timeout", "-W", "400ms")] {
        let mut own = rest.split_whitespace().take_while(|word| *word != "tlvs");
        if !own.any(|word| word == long || word == short) {
            defaults += &format!(" {long} {value}");
        }
    }
    summary(&format!("sender {targets}{defaults} --format json {rest}"))
}

/// The summary's entry about one TLV of the first target.
pub(crate) fn tlv<'a>(summary: &'a Value, name: &str) -> &'a Value {
    &summary["targets"][0]["tlvs"][name]
}

/// Now, as NTP has it: seconds since 1900 and a fraction of 32 bits.
pub(crate) fn ntp_now() -> [u8; 8] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = (now.as_secs() + 2_208_988_800) as u32;
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    (u64::from(seconds) << 32 | fraction).to_be_bytes()
}

/// The reply of RFC 8762 §4.3.1 under this number: T2 and T3 now, TLVs understood and otherwise as they came.
pub(crate) fn open_reply(request: &[u8], number: u32) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[0..4].copy_from_slice(&number.to_be_bytes());
    reply[4..12].copy_from_slice(&ntp_now());
    reply[12..14].copy_from_slice(&[0x0a, 0x05]);
    reply[16..24].copy_from_slice(&ntp_now());
    reply[24..38].copy_from_slice(&request[0..14]);
    reply[38..44].copy_from_slice(&[0, 0, 255, 0, 0, 0]);
    clear_flags(&mut reply, 44);
    reply
}

/// Returns a reply in authenticated mode (RFC 8762 §4.3.2), not signed yet.
pub(crate) fn unsigned_reply(request: &[u8], number: u32) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[0..112].fill(0);
    reply[0..4].copy_from_slice(&number.to_be_bytes());
    reply[16..24].copy_from_slice(&ntp_now());
    reply[24..26].copy_from_slice(&[0x0a, 0x05]);
    reply[26..28].copy_from_slice(&request[26..28]);
    reply[32..40].copy_from_slice(&ntp_now());
    reply[48..52].copy_from_slice(&request[0..4]);
    reply[64..74].copy_from_slice(&request[16..26]);
    reply[80] = 255;
    clear_flags(&mut reply, 112);
    reply
}

/// Returns the offsets of the TLVs after `base` octets.
pub(crate) fn tlvs(packet: &[u8], base: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = base;
    while at + 4 <= packet.len() {
        found.push(at);
        at += 4 + usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
    }
    found
}

fn clear_flags(reply: &mut [u8], base: usize) {
    for at in tlvs(reply, base) {
        reply[at] = 0;
    }
}

/// Octets from hexadecimal digits; spaces are for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
