//! Classic BPF filters: which packets a socket is given at all (socket(7), SO_ATTACH_FILTER).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    BPF_W, sock_filter,
};
use teaparty_common::frame::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN};

/// Takes the whole packet.
const ACCEPT: u32 = 0x4_0000;
/// More ports than this are not looked at: the kernel takes 4096 instructions.
const MAX_PORTS: usize = 1024;
/// The direction of a packet, among what filters may ask the kernel (linux/filter.h).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;

/// A filter for frames that are sent to this host and may hold a UDP datagram to one of `ports` (all, where those are
/// more than a filter can hold). Fragments, frames with tags inside, and IPv6 with extension headers, are let through.
pub(super) fn datagrams_to(ports: &[u16]) -> Filter {
    let ip = ETHERNET_LEN as u32;
    let mut filter = Filter::default();
    filter.load(BPF_W | BPF_ABS, PACKET_TYPE).demand(BPF_JEQ, libc::PACKET_HOST.into());
    filter.load(BPF_H | BPF_ABS, ip - 2);
    // Each block is as long as the jump over it says.
    let mut v4 = Filter::default();
    v4.load(BPF_B | BPF_ABS, ip + 9).demand(BPF_JEQ, libc::IPPROTO_UDP as u32);
    v4.load(BPF_H | BPF_ABS, ip + 6).accept(BPF_JSET, 0x3fff);
    v4.push(BPF_LDX | BPF_B | BPF_MSH, 0, 0, ip).load(BPF_H | BPF_IND, ip + 2);
    let mut v6 = Filter::default();
    v6.load(BPF_B | BPF_ABS, ip + 6);
    for extension in [libc::IPPROTO_HOPOPTS, libc::IPPROTO_ROUTING, libc::IPPROTO_FRAGMENT, libc::IPPROTO_DSTOPTS] {
        v6.accept(BPF_JEQ, extension as u32);
    }
    v6.demand(BPF_JEQ, libc::IPPROTO_UDP as u32).load(BPF_H | BPF_ABS, ip + IPV6_LEN as u32 + 2);
    for tag in [libc::ETH_P_8021Q, libc::ETH_P_8021AD] {
        filter.accept(BPF_JEQ, tag as u32);
    }
    // Over the jump, the other block and the jump after it.
    filter.push(BPF_JMP | BPF_JEQ | BPF_K, 0, v4.0.len() as u8 + 1, libc::ETH_P_IP as u32);
    filter.0.extend(v4.0);
    filter.push(BPF_JMP, 0, 0, v6.0.len() as u32 + 2);
    filter.demand(BPF_JEQ, libc::ETH_P_IPV6 as u32);
    filter.0.extend(v6.0);
    if ports.len() > MAX_PORTS {
        filter.push(BPF_RET | BPF_K, 0, 0, ACCEPT);
    }
    for port in ports.iter().take(MAX_PORTS) {
        filter.accept(BPF_JEQ, u32::from(*port));
    }
    filter.push(BPF_RET | BPF_K, 0, 0, 0);
    filter
}

/// A filter, for a UDP socket, for the datagrams that do not fit into one IP packet of `mtu` octets.
pub(super) fn longer_than(mtu: u32, is_v6: bool) -> Filter {
    let mut filter = Filter::default();
    // The UDP length.
    filter.load(BPF_H | BPF_ABS, 4).accept(BPF_JGT, longest(mtu, is_v6));
    filter.push(BPF_RET | BPF_K, 0, 0, 0);
    filter
}

/// Octets of the longest UDP datagram, its header included, that fits into one IP packet of `mtu` octets.
pub(crate) fn longest(mtu: u32, is_v6: bool) -> u32 {
    mtu.saturating_sub(if is_v6 { IPV6_LEN } else { IPV4_LEN } as u32)
}

/// Instructions.
#[derive(Default)]
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> &mut Self {
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
        self
    }

    fn load(&mut self, how: u32, at: u32) -> &mut Self {
        self.push(BPF_LD | how, 0, 0, at)
    }

    /// Ends with nothing unless the comparison holds.
    fn demand(&mut self, comparison: u32, k: u32) -> &mut Self {
        self.push(BPF_JMP | comparison | BPF_K, 1, 0, k).push(BPF_RET | BPF_K, 0, 0, 0)
    }

    /// Ends with the packet if it holds.
    fn accept(&mut self, comparison: u32, k: u32) -> &mut Self {
        self.push(BPF_JMP | comparison | BPF_K, 0, 1, k).push(BPF_RET | BPF_K, 0, 0, ACCEPT)
    }

    /// Gives it to a socket, in place of an earlier one.
    pub(super) fn attach(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_mut_ptr() };
        // SAFETY: the program and its instructions outlive the call; the kernel copies them.
        let result = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
