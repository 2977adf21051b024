//! Control messages: the facts that travel beside a datagram, written and read as octets (cmsg(3)).
//!
//! Storage is a vector of `usize`, because control messages are aligned to the machine word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::c_int;
use teaparty_common::wire::TrafficClass;

use super::received::{ExtendedError, HostTimestamp, Received, StampSource, msg_len};
use super::sockopt::{SO_TIMESTAMPING_NEW, STAMPS_LEN};

/// Whole control messages, one after the other, ready for `msg_control`.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlBuffer {
    words: Vec<usize>,
}

impl ControlBuffer {
    /// Forgets all messages and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    /// Octets in use.
    pub(super) fn len(&self) -> usize {
        self.words.len() * size_of::<usize>()
    }

    /// The messages from octet `at` on.
    pub(super) fn as_ptr(&self, at: usize) -> *const usize {
        self.words[at / size_of::<usize>()..].as_ptr()
    }

    /// The messages in `len` octets from octet `at` on; both are multiples of a word.
    pub(super) fn octets(&self, (at, len): (usize, usize)) -> &[usize] {
        &self.words[at / size_of::<usize>()..(at + len) / size_of::<usize>()]
    }

    /// Appends one message.
    pub(super) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
        let (space, len, head) = unsafe {
            (libc::CMSG_SPACE(data.len() as u32), libc::CMSG_LEN(data.len() as u32), libc::CMSG_LEN(0) as usize)
        };
        let start = self.words.len();
        self.words.resize(start + space as usize / size_of::<usize>(), 0);
        let place: *mut u8 = self.words[start..].as_mut_ptr().cast();
        // SAFETY: all-zero is a valid `cmsghdr`. `place` is aligned to a word and `space` octets long, which is a
        // header, padding and the data; the source does not overlap a vector that we own.
        unsafe {
            let mut header: libc::cmsghdr = std::mem::zeroed();
            header.cmsg_len = len as _;
            header.cmsg_level = level;
            header.cmsg_type = kind;
            place.cast::<libc::cmsghdr>().write(header);
            place.add(head).copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
    }

    /// Appends a message whose data is one C integer.
    pub(super) fn push_int(&mut self, level: c_int, kind: c_int, value: c_int) {
        self.push(level, kind, &value.to_ne_bytes());
    }

    /// The source address and the interface that a datagram is to leave by; either may be left to routing.
    pub(super) fn push_packet_info(&mut self, source: Option<IpAddr>, interface: u32, is_v6: bool) {
        if is_v6 {
            let octets = match source {
                Some(IpAddr::V6(address)) => address.octets(),
                _ => [0; 16],
            };
            let mut data = [0; 20];
            data[..16].copy_from_slice(&octets);
            data[16..].copy_from_slice(&interface.to_ne_bytes());
            self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
        } else {
            let octets = match source {
                Some(IpAddr::V4(address)) => address.octets(),
                _ => [0; 4],
            };
            // struct in_pktinfo: interface, local address, destination (ignored when sending).
            let mut data = [0; 12];
            data[..4].copy_from_slice(&interface.to_ne_bytes());
            data[4..8].copy_from_slice(&octets);
            self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        }
    }
}

/// Walks the messages in `control`, which the kernel filled: level, type and data of each.
pub(super) fn messages(control: &[u8]) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
    // SAFETY: CMSG_LEN only computes.
    let head = unsafe { libc::CMSG_LEN(0) } as usize;
    let mut rest = control;
    std::iter::from_fn(move || {
        if rest.len() < size_of::<libc::cmsghdr>() {
            return None;
        }
        // SAFETY: the length was compared on the line above; the read makes no demand on alignment, and any octets
        // are a `cmsghdr`.
        let header: libc::cmsghdr = unsafe { rest.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
        let len = msg_len(header.cmsg_len);
        let data = rest.get(head..len)?;
        let next = len.next_multiple_of(size_of::<usize>()).min(rest.len());
        rest = &rest[next..];
        Some((header.cmsg_level, header.cmsg_type, data))
    })
}

/// Fills in what the control messages of a datagram say about it. Unknown ones and ones of a wrong size are skipped.
pub(super) fn read_into<'a>(received: &mut Received<'a>, control: &'a [u8]) {
    for (level, kind, data) in messages(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, SO_TIMESTAMPING_NEW) => (received.stamp, received.hardware_ns) = stamps(data),
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) if data.len() == STAMPS_LEN => {
                (received.stamp, received.hardware_ns) = stamps(data);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => received.queue_drops = int(data).map(|n| n as u32),
            (libc::IPPROTO_IP, libc::IP_TTL) => received.ttl = octet(data),
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => received.ttl = octet(data),
            (libc::IPPROTO_IP, libc::IP_TOS) => received.traffic_class = octet(data).map(TrafficClass),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => received.traffic_class = octet(data).map(TrafficClass),
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some((interface, rest)) = data.split_first_chunk::<4>()
                    && let Some((local, rest)) = rest.split_first_chunk::<4>()
                    && let Some(destination) = rest.first_chunk::<4>()
                {
                    received.interface = u32::from_ne_bytes(*interface);
                    received.local = Some(Ipv4Addr::from(*local).into());
                    received.destination = Some(Ipv4Addr::from(*destination).into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some((address, rest)) = data.split_first_chunk::<16>()
                    && let Some(interface) = rest.first_chunk::<4>()
                {
                    let address = Ipv6Addr::from(*address);
                    received.interface = u32::from_ne_bytes(*interface);
                    received.destination = Some(address.into());
                    received.local = (!address.is_multicast()).then_some(address.into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS) => received.hop_by_hop = Some(data),
            (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS) => received.destination_options = Some(data),
            (libc::SOL_UDP, libc::UDP_GRO) => received.joined = int(data).and_then(|len| usize::try_from(len).ok()),
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => received.vlan = vlan(data),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                received.error = extended_error(data);
            }
            _ => {}
        }
    }
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let (errno, rest) = data.split_first_chunk::<4>()?;
    let ([origin, kind, code, _pad], rest) = rest.split_first_chunk::<4>()?;
    let (info, rest) = rest.split_first_chunk::<4>()?;
    let data = rest.first_chunk::<4>()?;
    Some(ExtendedError {
        errno: u32::from_ne_bytes(*errno),
        origin: *origin,
        kind: *kind,
        code: *code,
        info: u32::from_ne_bytes(*info),
        data: u32::from_ne_bytes(*data),
    })
}

/// `struct scm_timestamping64`: three pairs of 64-bit seconds and nanoseconds; software, unused, raw hardware.
fn stamps(data: &[u8]) -> (Option<HostTimestamp>, Option<u64>) {
    const PAIR: usize = 16;
    let software = moment(data).map(|nanos| HostTimestamp { nanos, source: StampSource::Kernel });
    (software, data.get(2 * PAIR..).and_then(moment))
}

fn moment(data: &[u8]) -> Option<u64> {
    let (seconds, rest) = data.split_first_chunk::<8>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let subsec = u64::try_from(i64::from_ne_bytes(*rest.first_chunk::<8>()?)).ok()?;
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(subsec)?;
    (nanos != 0).then_some(nanos)
}

/// The VLAN tag in `struct tpacket_auxdata`, in the order in which it was in the frame.
fn vlan(data: &[u8]) -> Option<[u8; 4]> {
    let at = |offset: usize| data.get(offset..offset + 2)?.first_chunk::<2>().copied();
    let status = data.first_chunk::<4>().map(|octets| u32::from_ne_bytes(*octets))?;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tci = u16::from_ne_bytes(at(std::mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tci))?).to_be_bytes();
    let tpid = u16::from_ne_bytes(at(std::mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))?).to_be_bytes();
    Some([tpid[0], tpid[1], tci[0], tci[1]])
}

fn int(data: &[u8]) -> Option<c_int> {
    data.first_chunk::<4>().map(|octets| c_int::from_ne_bytes(*octets))
}

/// An octet that the kernel passes either as such (`IP_TOS`) or as a C integer (all the others).
fn octet(data: &[u8]) -> Option<u8> {
    match data {
        [octet] => Some(*octet),
        _ => u8::try_from(int(data)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(buffer: &ControlBuffer) -> Vec<u8> {
        buffer.words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn messages_come_back_as_pushed_whatever_their_length() {
        let mut buffer = ControlBuffer::default();
        let data: Vec<u8> = (0..40).collect();
        for len in [0, 1, 4, 7, 8, 9, 40] {
            buffer.push(1, len as c_int, &data[..len]);
        }
        let control = octets(&buffer);
        let read: Vec<_> = messages(&control).map(|(level, kind, data)| (level, kind, data.to_vec())).collect();
        let expected: Vec<_> = [0, 1, 4, 7, 8, 9, 40].map(|len| (1, len as c_int, data[..len].to_vec())).into();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_cut_message_ends_the_walk_without_a_panic() {
        let mut buffer = ControlBuffer::default();
        buffer.push_int(libc::IPPROTO_IP, libc::IP_TTL, 61);
        buffer.push(libc::IPPROTO_IP, libc::IP_TOS, &[0xb8]);
        let control = octets(&buffer);
        for len in 0..control.len() {
            let mut received = Received::empty();
            read_into(&mut received, &control[..len]);
            assert!(received.ttl.is_none_or(|ttl| ttl == 61));
        }
    }

    #[test]
    fn an_absent_stamp_is_none_and_not_1970() {
        let mut data = [0; 48];
        data[0] = 7;
        data[8] = 9;
        let word = |first: u8| u64::from_ne_bytes([first, 0, 0, 0, 0, 0, 0, 0]);
        let nanos = word(7) * 1_000_000_000 + word(9);
        assert_eq!(stamps(&data), (Some(HostTimestamp { nanos, source: StampSource::Kernel }), None));
        assert_eq!(stamps(&[0; 48]), (None, None));
        // The network card's clock comes third.
        let card = [vec![0; 32], data[..16].to_vec()].concat();
        assert_eq!(stamps(&card), (None, Some(nanos)));
        assert_eq!(stamps(&data[..12]), (None, None));
    }
}
