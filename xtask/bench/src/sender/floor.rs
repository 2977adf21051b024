//! What nobody can go beyond on this machine: a loop that reads the clock and sends nothing, and two threads that do nothing
//! but send packets and take replies in.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::rate;
use super::report::Pacing;
use crate::frames::OUR_PORT;
use crate::net::{End, NEAR_V4, Net, prefer};
use crate::ring::set;
use crate::slow_path::packets::{Kinds, Template};

/// Packets of one system call, as many as our sender hands over.
const BATCH: usize = 64;
/// Octets in front of a frame's UDP payload.
const HEADERS: usize = 42;

/// The pacing of a loop that sends nothing.
pub(super) fn pacing(net: &Net, rate_pps: f64, count: u64) -> Result<Pacing> {
    let departures = net.inside(End::Far, None, || {
        prefer();
        let start = Instant::now();
        let wait = |index| loop {
            let elapsed = start.elapsed();
            if elapsed.as_secs_f64() >= index as f64 / rate_pps {
                return elapsed.as_nanos() as u64;
            }
        };
        Ok((0..count).map(wait).collect::<Vec<_>>())
    })?;
    Ok(Pacing::new(rate_pps, rate(&departures), &departures))
}

/// Replies per second to packets that are sent as fast as that goes, one by one or in GSO batches.
pub(super) fn replies_pps(net: &Net, in_trains: bool, time: Duration) -> Result<f64> {
    net.inside(End::Far, None, || {
        prefer();
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect((NEAR_V4, OUR_PORT))?;
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            set(&socket, libc::SOL_SOCKET, option, &(8i32 << 20))?;
        }
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let template = Template::new(Kinds::Base);
        let payload = &template.frame()[HEADERS..];
        if in_trains {
            set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, &(payload.len() as i32))?;
            set(&socket, libc::SOL_UDP, libc::UDP_GRO, &1i32)?;
        }
        let packets = if in_trains { vec![payload.repeat(BATCH)] } else { vec![payload.to_vec(); BATCH] };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let replies = scope.spawn(|| take_in(&socket, payload.len(), &is_over));
            let start = Instant::now();
            let mut result = Ok(());
            while start.elapsed() < time && result.is_ok() {
                result = send(&socket, &packets);
            }
            let elapsed = start.elapsed();
            is_over.store(true, Ordering::SeqCst);
            let replies = replies.join().expect("the thread hands its errors on")?;
            result?;
            Ok(replies as f64 / elapsed.as_secs_f64())
        })
    })
}

fn send(socket: &UdpSocket, packets: &[Vec<u8>]) -> Result<()> {
    let mut parts: Vec<libc::iovec> = packets
        .iter()
        .map(|packet| libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() })
        .collect();
    let mut headers = headers(&mut parts);
    // SAFETY: the headers point at parts and octets that outlive the call, which the kernel only reads.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as _, 0) };
    if sent < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Counts replies until there is none for a while after the end.
fn take_in(socket: &UdpSocket, len: usize, is_over: &AtomicBool) -> Result<u64> {
    let mut octets = vec![[0u8; 8_192]; BATCH];
    let mut count = 0;
    loop {
        let mut parts: Vec<libc::iovec> = octets
            .iter_mut()
            .map(|octets| libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() })
            .collect();
        let mut headers = headers(&mut parts);
        let (fd, slots, flags) = (socket.as_raw_fd(), headers.len() as _, libc::MSG_WAITFORONE as _);
        // SAFETY: the headers point at memory of the lengths that they state.
        let filled = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), slots, flags, std::ptr::null_mut()) };
        match usize::try_from(filled) {
            // Joined replies are as many as they have lengths.
            Ok(filled) => count += headers[..filled].iter().map(|header| header.msg_len as usize / len).sum::<usize>(),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                if is_over.load(Ordering::SeqCst) {
                    return Ok(count as u64);
                }
            }
            Err(_) => return Err(io::Error::last_os_error().into()),
        }
    }
}

/// A header for each part, which has to outlive them.
fn headers(parts: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let header = |part: &mut libc::iovec| {
        // SAFETY: all-zero is a valid `mmsghdr`.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header
    };
    parts.iter_mut().map(header).collect()
}
