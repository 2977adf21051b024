//! The headers in front of a reflected packet: everything swapped, fresh TTL, checksums right.

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{Frame, Ipv4, Ipv6, UDP_LEN, Udp};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{Address, ReplyOptions};
use teaparty_common::wire::checksum::{self, ChecksumDelta};
use zerocopy::transmute;

use crate::packet::Packet;

/// TTL and Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_TTL: u8 = 255;

/// Turns the headers of `frame`, which came `from` there `to` here, into the reply's. The payload is as it will be sent; `delta` is what was
/// changed in it. `None`, with the packet half edited, only where octets are missing that were there before.
#[inline(always)]
pub(crate) fn address(
    view: &mut impl PacketBuf,
    frame: &Frame,
    (from, to): (&Address, &Address),
    (ctx, delta): (&XdpContext, ChecksumDelta),
    reply_options: &ReplyOptions,
) -> Option<()> {
    let traffic_class = reply_options.traffic_class.0;
    // Swapping addresses and ports leaves every sum as it is; other changes are accounted for here.
    let mut moved = ChecksumDelta::NONE;
    let source = match reply_options.source {
        None => *to,
        Some(chosen) => {
            moved.removed = to.sum(frame.is_ipv6);
            moved.added = chosen.sum(frame.is_ipv6);
            chosen
        }
    };
    Frame::swap_macs(view)?;
    let at = frame.ip_at;
    if frame.is_ipv6 {
        let word = u32::from_be_bytes(view.get::<4>(at)?) & 0xf00f_ffff | u32::from(traffic_class) << 20;
        view.put(at, word.to_be_bytes());
        view.put(at + offset_of!(Ipv6, hop_limit), [FRESH_TTL]);
        let addresses: [u8; 32] = transmute!([source, *from]);
        view.put(at + offset_of!(Ipv6, source), addresses);
    } else {
        // Only TOS and TTL change, the one a second octet of its word, the other a first one.
        let (removed, added) = ([frame.ttl, frame.traffic_class], [FRESH_TTL, traffic_class]);
        let field = u16::from_ne_bytes(view.get::<2>(at + offset_of!(Ipv4, checksum))?);
        let mut field = checksum::update_word(field, u16::from_ne_bytes(removed), u16::from_ne_bytes(added));
        if reply_options.source.is_some() {
            field = checksum::update_ip(field, moved.removed, moved.added);
        }
        view.put(at + offset_of!(Ipv4, traffic_class), [traffic_class]);
        view.put(at + offset_of!(Ipv4, ttl), [FRESH_TTL]);
        view.put(at + offset_of!(Ipv4, checksum), field.to_ne_bytes());
        let addresses: [u8; 8] = transmute!([source.v4_octets(), from.v4_octets()]);
        view.put(at + offset_of!(Ipv4, source), addresses);
    }
    let port = reply_options.destination_port.unwrap_or(frame.source_port);
    let new = udp_checksum(frame, (from, to), (ctx, delta), port, moved)?;
    let ports: [u8; 4] = transmute!([frame.destination_port.to_be(), port.to_be()]);
    view.put(frame.udp_at, ports);
    view.put(frame.udp_at + offset_of!(Udp, checksum), new.to_ne_bytes());
    Some(())
}

/// The reply's UDP checksum as it is to lie in memory. `port` is where the reply goes; `moved` is what changed in the
/// addresses.
#[inline(always)]
fn udp_checksum(
    frame: &Frame,
    (from, to): (&Address, &Address),
    (ctx, delta): (&XdpContext, ChecksumDelta),
    port: u16,
    moved: ChecksumDelta,
) -> Option<u16> {
    if frame.checksum == 0 {
        // IPv4 without a checksum stays without one; IPv6 did not come this far.
        return Some(0);
    }
    let len = (frame.payload_len + UDP_LEN) as u16;
    let addresses = from.sum(frame.is_ipv6) + to.sum(frame.is_ipv6);
    let pseudo = checksum::pseudo_header(addresses, len);
    if frame.checksum != checksum::fold(pseudo) {
        let removed = moved.removed + delta.removed + u64::from(frame.source_port.to_be());
        let added = moved.added + delta.added + u64::from(port.to_be());
        return Some(checksum::update(frame.checksum, removed, added));
    }
    // A packet of this machine's own, whose checksum was left for a device to compute: only the pseudo header's sum
    // stands there. XDP_TX sends the field unchanged, so it is computed in full. (A packet whose right checksum
    // happens to have this value gets the right one again.)
    let payload = frame_sum(ctx, frame.payload_at(), frame.payload_len)?;
    let head = u64::from(frame.destination_port.to_be()) + u64::from(port.to_be()) + u64::from(len.to_be());
    let moved = u64::from(!checksum::fold(moved.removed)) + moved.added;
    Some(match !checksum::fold(pseudo + moved + head + payload) {
        0 => 0xffff,
        sum => sum,
    })
}

/// A folded sum of octets, or none where they are not all there, as the single register that a BPF function can return.
#[repr(transparent)]
struct FoldedSum(u32);

impl FoldedSum {
    /// No folded sum has more than 16 bits.
    const NONE: u32 = u32::MAX;

    #[inline(always)]
    fn new(sum: Option<u64>) -> Self {
        Self(sum.map_or(Self::NONE, |sum| u32::from(checksum::fold(sum))))
    }

    #[inline(always)]
    fn get(self) -> Option<u64> {
        if self.0 == Self::NONE { None } else { Some(u64::from(self.0)) }
    }
}

/// Returns the folded sum of `len` octets of the frame from `at` on, or `None` where they are not all there.
#[inline(always)]
pub(crate) fn frame_sum(ctx: &XdpContext, at: usize, len: usize) -> Option<u64> {
    FoldedSum(teaparty_sum(ctx.ctx, at as u32, len as u32)).get()
}

/// [`frame_sum`] as the number of a [`FoldedSum`]: a global function may return only an integer.
///
/// It is global for the verifier's sake, as the TLV steps are: the verifier would walk this loop once for each of the many
/// ways that lead here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_sum(ctx: *mut xdp_md, at: u32, len: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    FoldedSum::new(Packet::new(&ctx, 0).sum(at as usize, len as usize)).0
}
