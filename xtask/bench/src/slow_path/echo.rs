//! Floors: programs that send back what they get and look at nothing. Run as processes of their own.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use anyhow::Result;

use crate::frames::OUR_PORT;
use crate::net::NEAR;
use crate::ring::{Ring, set};

/// Datagrams of one system call, as many as the reflector's engines take.
const BATCH: usize = 32;

/// A floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Floor {
    /// UDP by recvmmsg and sendmmsg
    Udp,
    /// Frames by packet rings for receiving and sending
    Packet,
}

/// Sends back until killed.
pub(super) fn run(floor: Floor) -> Result<()> {
    // Whoever started us may be gone.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    match floor {
        Floor::Udp => udp(),
        Floor::Packet => packet(),
    }
}

fn udp() -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", OUR_PORT))?;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        set(&socket, libc::SOL_SOCKET, option, &(4i32 << 20))?;
    }
    let mut octets = vec![[0u8; 2048]; BATCH];
    // SAFETY: all-zero is a valid value of each.
    let (mut headers, mut parts, mut names) = unsafe {
        (
            std::mem::zeroed::<[libc::mmsghdr; BATCH]>(),
            std::mem::zeroed::<[libc::iovec; BATCH]>(),
            std::mem::zeroed::<[libc::sockaddr_in; BATCH]>(),
        )
    };
    loop {
        for i in 0..BATCH {
            parts[i] = libc::iovec { iov_base: octets[i].as_mut_ptr().cast(), iov_len: octets[i].len() };
            headers[i].msg_hdr.msg_iov = &raw mut parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
            headers[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as _;
        }
        // SAFETY: the headers point at memory of the lengths that they state.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for i in 0..count {
            parts[i].iov_len = headers[i].msg_len as usize;
        }
        // SAFETY: as above.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as _, 0) };
    }
}

/// Frames of each ring, and the octets of each.
const FRAMES: usize = 4096;
const FRAME: usize = 2048;

fn packet() -> Result<()> {
    // Keeps the stack from answering that nobody listens: it throws all datagrams away.
    let holder = UdpSocket::bind(("0.0.0.0", OUR_PORT))?;
    let none = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: none.as_ptr().cast_mut() };
    set(&holder, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
    let interface = nix::net::if_::if_nametoindex(NEAR)?;
    let receive = Ring::open(interface, libc::ETH_P_IP as u16, libc::PACKET_RX_RING, FRAMES, FRAME)?;
    let send = Ring::open(interface, 0, libc::PACKET_TX_RING, FRAMES, FRAME)?;
    set(&send, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1i32)?;
    let (mut from, mut to) = (0, 0);
    loop {
        let mut count = 0;
        while count < BATCH {
            let (request, reply) = (receive.slot(from), send.slot(to));
            // SAFETY: both slots are in rings of `FRAMES` slots of `FRAME` octets, that outlive the loop. Whose a slot
            // is says its status, which is read before and written after everything else in it.
            unsafe {
                if Ring::status(request).load(std::sync::atomic::Ordering::Acquire) & libc::TP_STATUS_USER == 0
                    || Ring::status(reply).load(std::sync::atomic::Ordering::Acquire) != libc::TP_STATUS_AVAILABLE
                {
                    break;
                }
                if echo(request, reply) {
                    Ring::status(reply).store(libc::TP_STATUS_SEND_REQUEST, std::sync::atomic::Ordering::Release);
                    to = (to + 1) % FRAMES;
                    count += 1;
                }
                Ring::status(request).store(libc::TP_STATUS_KERNEL, std::sync::atomic::Ordering::Release);
            }
            from = (from + 1) % FRAMES;
        }
        if count > 0 {
            // SAFETY: asks for what is in the ring to be sent.
            unsafe { libc::send(send.as_raw_fd(), std::ptr::null(), 0, 0) };
        } else {
            let mut entry = libc::pollfd { fd: receive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which outlives the call.
            unsafe { libc::poll(&raw mut entry, 1, -1) };
        }
    }
}

/// Copies a frame with its addresses swapped. Whether it is one for us.
///
/// # Safety
///
/// Slots of the two rings, both ours.
unsafe fn echo(request: *mut u8, reply: *mut u8) -> bool {
    // SAFETY: the kernel has filled in the header, and the frame lies in the slot where that says.
    let (header, frame) = unsafe {
        let header = &*request.cast::<libc::tpacket2_hdr>();
        let frame = std::slice::from_raw_parts(request.add(header.tp_mac.into()), header.tp_snaplen as usize);
        (header, frame)
    };
    if frame.len() < 42 || frame[23] != 17 || frame[36..38] != OUR_PORT.to_be_bytes() {
        return false;
    }
    let data = (size_of::<libc::tpacket2_hdr>() + 15) & !15;
    // SAFETY: a slot has room for its header and a frame of the other ring's slot, which is shorter by a longer header.
    let out = unsafe {
        (*reply.cast::<libc::tpacket2_hdr>()).tp_len = header.tp_snaplen;
        std::slice::from_raw_parts_mut(reply.add(data), frame.len())
    };
    out.copy_from_slice(frame);
    for (one, other, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        out[one..one + len].copy_from_slice(&frame[other..other + len]);
        out[other..other + len].copy_from_slice(&frame[one..one + len]);
    }
    true
}
