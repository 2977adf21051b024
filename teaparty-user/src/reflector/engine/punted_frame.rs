//! Frames that the kernel program has punted: taken apart, checked, and turned into the frames of their replies.

use teaparty_common::frame::{
    ETHERNET_LEN, Ethernet, Frame, IPV4_LEN, IPV6_LEN, Ipv4, Ipv6, Tags, UDP_LEN, Udp, parse_headers,
};
use teaparty_common::packet_buf::SliceBuf;
use teaparty_common::reflect::{Address, Reason, ReplyOptions};
use teaparty_common::wire::checksum::{self, PacketSums};
use zerocopy::{FromBytes, IntoBytes};

/// TTL and Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_TTL: u8 = 255;
/// Version 4 and a header of five words.
const IPV4_PLAIN: u8 = 0x45;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = std::mem::offset_of!(Udp, checksum);

/// A punted frame, taken apart.
pub(crate) struct Punted<'a> {
    octets: &'a [u8],
    frame: Frame,
    source: Address,
    destination: Address,
    tags: Tags,
}

impl<'a> Punted<'a> {
    /// Takes a frame apart and verifies its checksums, which the kernel leaves to us.
    pub(crate) fn parse(octets: &'a mut [u8]) -> Result<Self, Reason> {
        let len = octets.len();
        let snapshot = SliceBuf(octets);
        let frame = parse_headers(&snapshot, len)?;
        let (source, destination) = frame.addresses(&snapshot).ok_or(Reason::MalformedHeader)?;
        let tags = frame.tags(&snapshot).ok_or(Reason::MalformedHeader)?;
        let punted = Self { octets, frame, source, destination, tags };
        if punted.is_checksum_right() { Ok(punted) } else { Err(Reason::ChecksumWrong) }
    }

    /// The UDP payload.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.octets[self.frame.payload_at()..self.frame.payload_at() + self.frame.payload_len]
    }

    /// The IPv4 header without options, or the IPv6 header.
    pub(crate) fn fixed_header(&self) -> &'a [u8] {
        let len = if self.frame.is_ipv6 { IPV6_LEN } else { IPV4_LEN };
        &self.octets[self.frame.ip_at..self.frame.ip_at + len]
    }

    /// The IPv6 extension headers, outer to inner.
    pub(crate) fn extension_headers(&self) -> &'a [u8] {
        if self.frame.is_ipv6 { &self.octets[self.frame.ip_at + IPV6_LEN..self.frame.udp_at] } else { &[] }
    }

    /// The VLAN tags.
    pub(crate) fn tags(&self) -> Tags {
        self.tags
    }

    /// Returns true if the header's checksum is right, and that of the datagram is right, absent, or left to a device that never saw the packet: then only the pseudo
    /// header's sum stands in the field.
    fn is_checksum_right(&self) -> bool {
        let udp_len = UDP_LEN + self.frame.payload_len;
        let udp = &self.octets[self.frame.udp_at..self.frame.udp_at + udp_len];
        let field = self.frame.checksum;
        let addresses = address_sum(&self.source) + address_sum(&self.destination);
        let pseudo = checksum::pseudo_header(addresses, udp_len as u16);
        let header = match self.frame.is_ipv6 {
            true => PacketSums::NO_HEADER,
            false => checksum::sum(&self.octets[self.frame.ip_at..self.frame.udp_at]),
        };
        PacketSums { header, pseudo, datagram: checksum::sum(udp) }.are_right(field, 0)
    }

    /// Writes the reply's headers and `payload` behind `out`. The UDP checksum is [`ReplyFrame::finish`]'s. `None` does not
    /// happen for a frame that was taken apart.
    pub(crate) fn reply(&self, reply_options: &ReplyOptions, payload: &[u8], out: &mut Vec<u8>) -> Option<ReplyFrame> {
        let start = out.len();
        // Both were read when the frame was taken apart.
        let Ok((ethernet, _)) = Ethernet::read_from_prefix(self.octets) else { return None };
        out.extend_from_slice(&ethernet.source);
        out.extend_from_slice(&ethernet.destination);
        // The EtherType, and the VLAN tags as they are.
        out.extend_from_slice(&self.octets[ETHERNET_LEN - 2..self.frame.ip_at]);
        let udp_len = (UDP_LEN + payload.len()) as u16;
        let source = reply_options.source.unwrap_or(self.destination);
        let ip = &self.octets[self.frame.ip_at..];
        if self.frame.is_ipv6 {
            let (mut reply, _) = Ipv6::read_from_prefix(ip).ok()?;
            let word = reply.version_class_flow.get() & 0xf00f_ffff | u32::from(reply_options.traffic_class.0) << 20;
            reply.version_class_flow = word.into();
            reply.payload_length = udp_len.into();
            reply.next_header = libc::IPPROTO_UDP as u8;
            reply.hop_limit = FRESH_TTL;
            reply.source = source.0;
            reply.destination = self.source.0;
            out.extend_from_slice(reply.as_bytes());
        } else {
            let (mut reply, _) = Ipv4::read_from_prefix(ip).ok()?;
            reply.version_ihl = IPV4_PLAIN;
            reply.traffic_class = reply_options.traffic_class.0;
            reply.total_length = (IPV4_LEN as u16 + udp_len).into();
            reply.ttl = FRESH_TTL;
            reply.checksum = 0.into();
            reply.source = source.v4_octets();
            reply.destination = self.source.v4_octets();
            let sum = !checksum::fold(checksum::sum(reply.as_bytes()));
            reply.checksum = u16::from_be_bytes(sum.to_ne_bytes()).into();
            out.extend_from_slice(reply.as_bytes());
        }
        let udp_at = out.len() - start;
        let udp = Udp {
            source_port: self.frame.destination_port.into(),
            destination_port: reply_options.destination_port.unwrap_or(self.frame.source_port).into(),
            length: udp_len.into(),
            checksum: 0.into(),
        };
        out.extend_from_slice(udp.as_bytes());
        out.extend_from_slice(payload);
        let addresses = address_sum(&source) + address_sum(&self.source);
        let is_summed = self.frame.checksum != 0;
        Some(ReplyFrame { udp_at, pseudo: checksum::pseudo_header(addresses, udp_len), is_summed })
    }
}

/// The remaining work on a reply's frame once its payload is final.
#[derive(Clone, Copy)]
pub(crate) struct ReplyFrame {
    udp_at: usize,
    pseudo: u64,
    /// IPv4 packets that came without a checksum are answered without one.
    is_summed: bool,
}

impl ReplyFrame {
    /// The payload.
    pub(crate) fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.udp_at + UDP_LEN..]
    }

    /// The payload's place in the frame.
    pub(crate) fn payload_mut<'a>(&self, frame: &'a mut [u8]) -> &'a mut [u8] {
        &mut frame[self.udp_at + UDP_LEN..]
    }

    /// Writes the UDP checksum.
    pub(crate) fn finish(&self, frame: &mut [u8]) {
        if !self.is_summed {
            return;
        }
        let udp = &mut frame[self.udp_at..];
        let sum = match !checksum::fold(self.pseudo + checksum::sum(udp)) {
            0 => 0xffff,
            sum => sum,
        };
        udp[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// The unfolded sum of an address as it stands in its header.
fn address_sum(address: &Address) -> u64 {
    if address.is_ipv4() { checksum::sum(&address.v4_octets()) } else { checksum::sum(&address.0) }
}

#[cfg(test)]
mod tests;
