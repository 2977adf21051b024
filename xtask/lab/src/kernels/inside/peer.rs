//! The reflector's peer: STAMP packets by a UDP socket, built and judged by code that shares nothing with `teaparty-common`.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::net::{End, Net};

/// Seconds from 1900 to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;
/// Most time for a reply on an emulated processor of a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time to wait for the absence of a reply.
const SILENCE: Duration = Duration::from_millis(300);
const PORT: u16 = 862;
/// TTL of a socket that nobody has told otherwise.
const TTL: u8 = 64;

/// A STAMP sender: one session.
pub(super) struct Peer {
    socket: UdpSocket,
    to: SocketAddr,
    /// Sequence Number of the next packet.
    next: u32,
    key: Option<Vec<u8>>,
}

/// A reply that fits the packet that was sent last.
pub(super) struct Reply {
    pub(super) octets: Vec<u8>,
    is_authenticated: bool,
}

impl Peer {
    /// A sender in a namespace, to an address there.
    pub(super) fn new(net: &Net, end: End, to: &str) -> Result<Self> {
        let to = SocketAddr::new(to.parse::<IpAddr>()?, PORT);
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = net.inside(end, || Ok(UdpSocket::bind(any)?))?;
        Ok(Self { socket, to, next: 0, key: None })
    }

    /// Returns the same with a key: its packets are authenticated.
    pub(super) fn with_key(self, key: &[u8]) -> Self {
        Self { key: Some(key.to_vec()), ..self }
    }

    /// Sends a packet with these octets after the base packet, and returns its reply.
    ///
    /// Fails where none comes, or one that does not fit.
    pub(super) fn exchange(&mut self, tail: &[u8]) -> Result<Reply> {
        let request = self.send(tail)?;
        match self.reply_to(&request, PATIENCE)? {
            Some(reply) => Ok(reply),
            None => bail!("no reply to packet {} of {} octets from {}", self.next - 1, request.len(), self.to),
        }
    }

    /// Sends a packet whose HMAC is wrong, which must stay without a reply.
    pub(super) fn forged(&mut self) -> Result<()> {
        let key = self.key.replace(vec![0xff; 32]);
        let request = self.send(&[]);
        self.key = key;
        ensure!(self.reply_to(&request?, SILENCE)?.is_none(), "a packet with a wrong HMAC was answered");
        Ok(())
    }

    fn send(&mut self, tail: &[u8]) -> Result<Vec<u8>> {
        let number = self.next;
        self.next += 1;
        let request = match &self.key {
            None => {
                [&number.to_be_bytes()[..], &now().to_be_bytes(), &[0x80, 0x01, 0x12, 0x34], &[0; 28], tail].concat()
            }
            Some(key) => {
                let mut packet =
                    [&number.to_be_bytes()[..], &[0; 12], &now().to_be_bytes(), &[0x80, 0x01, 0x12, 0x34]].concat();
                packet.resize(96, 0);
                packet.extend(&hmac(key, &packet)[..16]);
                packet.extend(tail);
                packet
            }
        };
        self.socket.send_to(&request, self.to)?;
        Ok(request)
    }

    fn reply_to(&self, request: &[u8], patience: Duration) -> Result<Option<Reply>> {
        let until = Instant::now() + patience;
        let mut buffer = [0; 2048];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) if from == self.to => {
                    let reply = Reply { octets: buffer[..len].to_vec(), is_authenticated: self.key.is_some() };
                    if reply.names(request) {
                        reply.judge(request, self.key.as_deref())?;
                        return Ok(Some(reply));
                    }
                }
                Ok(_) => (),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                // An ICMP message of an earlier packet.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Reply {
    /// Sequence Number.
    pub(super) fn sequence(&self) -> u32 {
        u32::from_be_bytes(self.part(0))
    }

    /// T2, as the sender's and the reflector's format has it.
    pub(super) fn t2(&self) -> u64 {
        u64::from_be_bytes(self.part(if self.is_authenticated { 32 } else { 16 }))
    }

    /// T3.
    pub(super) fn t3(&self) -> u64 {
        u64::from_be_bytes(self.part(if self.is_authenticated { 16 } else { 4 }))
    }

    /// The reflector's Error Estimate.
    pub(super) fn error_estimate(&self) -> u16 {
        u16::from_be_bytes(self.part(if self.is_authenticated { 24 } else { 12 }))
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        self.octets[at..at + N].try_into().expect("as many octets")
    }

    /// Returns true if it repeats the request's Sequence Number and T1.
    fn names(&self, request: &[u8]) -> bool {
        let (base, number, sent, t1) = if self.is_authenticated { (112, 48, 64, 16) } else { (44, 24, 28, 4) };
        self.octets.len() >= base
            && self.octets[number..number + 4] == request[..4]
            && self.octets[sent..sent + 8] == request[t1..t1 + 8]
    }

    /// Fails unless it is of the same length, has the TTL and plausible times, and a right HMAC.
    fn judge(&self, request: &[u8], key: Option<&[u8]>) -> Result<()> {
        ensure!(self.octets.len() == request.len(), "{} octets came back of {}", self.octets.len(), request.len());
        let ttl = self.octets[if self.is_authenticated { 80 } else { 40 }];
        ensure!(ttl == TTL, "Sender TTL is {ttl}");
        ensure!(self.t2() <= self.t3() && self.t3() - self.t2() < 2 << 32, "T2 {:x}, T3 {:x}", self.t2(), self.t3());
        if let Some(key) = key {
            ensure!(hmac(key, &self.octets[..96])[..16] == self.octets[96..112], "the HMAC of a reply is wrong");
        }
        Ok(())
    }
}

/// A TLV with flags as a sender sets them (RFC 8972 §4): U.
pub(super) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[0x80, kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// Now, in NTP's 64-bit format.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    ((now.as_secs() + NTP_EPOCH) << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)
}

/// HMAC-SHA-256, in full.
pub(super) fn hmac(key: &[u8], octets: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key will do");
    mac.update(octets);
    mac.finalize().into_bytes().to_vec()
}
