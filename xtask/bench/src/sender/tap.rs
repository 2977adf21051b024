//! When packets left, read beside their way: a ring of a packet socket that nobody empties until all are sent.

use std::sync::atomic::Ordering;

use anyhow::Result;
use nix::net::if_::if_nametoindex;

use crate::net::{End, FAR, Net};
use crate::ring::{Ring, set};

/// Octets of a slot: its header, and the first few of the frame.
const FRAME: usize = 128;
/// Octets that are kept of a frame.
const KEPT: u32 = 48;

/// A tap on the sender's interface, for UDP over IPv4 to one port.
pub(super) struct Tap(Ring);

impl Tap {
    /// Most packets that it sees.
    pub(super) const FRAMES: usize = 1 << 19;

    pub(super) fn open(net: &Net, port: u16) -> Result<Self> {
        net.inside(End::Far, None, || {
            let ring = Ring::unbound(libc::PACKET_RX_RING, Self::FRAMES, FRAME)?;
            let filter = filter(port);
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            set(&ring, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
            // What is sent shows to taps of all protocols only.
            ring.bind(if_nametoindex(FAR)?, libc::ETH_P_ALL as u16)?;
            Ok(Self(ring))
        })
    }

    /// Returns the departures of packets of the most common length, in nanoseconds, in order. Others are greetings.
    pub(super) fn departures(&self) -> Vec<u64> {
        let mut found = Vec::new();
        for index in 0..Self::FRAMES {
            let slot = self.0.slot(index);
            // SAFETY: a slot of a ring that lives; the kernel has filled in the header when the status says so.
            let header = unsafe {
                if Ring::status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                    break;
                }
                &*slot.cast::<libc::tpacket2_hdr>()
            };
            found.push((header.tp_len, u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec)));
        }
        let lengths = found.iter().map(|(len, _)| *len);
        let most = lengths.clone().max_by_key(|len| lengths.clone().take(99).filter(|other| other == len).count());
        found.into_iter().filter(|(len, _)| Some(*len) == most).map(|(_, at)| at).collect()
    }
}

/// `outgoing and ip proto udp and dst port PORT`, of packets without IP options.
fn filter(port: u16) -> [libc::sock_filter; 10] {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |size, at: u32| op(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at);
    // Where it is not, on to the last instruction.
    let is = |value, jf| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, jf, value);
    let ret = |octets| op(libc::BPF_RET | libc::BPF_K, 0, 0, octets);
    [
        load(libc::BPF_W, (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32),
        is(u32::from(libc::PACKET_OUTGOING), 7),
        load(libc::BPF_H, 12),
        is(libc::ETH_P_IP as u32, 5),
        load(libc::BPF_B, 23),
        is(libc::IPPROTO_UDP as u32, 3),
        load(libc::BPF_H, 36),
        is(u32::from(port), 1),
        ret(KEPT),
        ret(0),
    ]
}
