//! Datagrams that wait to be sent, and the system call that takes them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use libc::c_int;
use teaparty_common::wire::TrafficClass;

use super::super::address::SystemAddress;
use super::super::cmsg::ControlBuffer;
use super::super::mmsg::sendmmsg;
use super::MAX_BATCH;

/// Most packets and octets that travel to the network card as one (UDP segmentation offload).
const MAX_TRAIN: (usize, usize) = (64, 60_000);

/// The destination of a datagram and the fields of its IP header. `None` leaves a field to the socket's setting.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Destination; of the socket's address family.
    pub to: SocketAddr,
    /// Source address, which must be ours.
    pub source: Option<IpAddr>,
    /// Index of the interface to leave by; 0 leaves it to routing.
    pub interface: u32,
    /// TOS or Traffic Class octet.
    pub traffic_class: Option<TrafficClass>,
    /// TTL or Hop Limit.
    pub ttl: Option<u8>,
    /// An IPv6 hop-by-hop options header, whole, or nothing. Takes CAP_NET_RAW.
    pub hop_by_hop: &'a [u8],
    /// An IPv6 destination options header, in the same form.
    pub destination_options: &'a [u8],
    /// Asks for a [`ErrorQueueReport::Transmitted`](super::ErrorQueueReport::Transmitted) with this number, on a socket opened for transmit timestamps.
    pub stamp_id: Option<u32>,
    /// Asks for a [`ErrorQueueReport::HardwareTransmitted`](super::ErrorQueueReport::HardwareTransmitted) as well, on a socket opened for that.
    pub hardware_stamp: bool,
}

impl Outgoing<'_> {
    /// A datagram to `to` with the socket's settings.
    pub const fn to(to: SocketAddr) -> Self {
        Self {
            to,
            source: None,
            interface: 0,
            traffic_class: None,
            ttl: None,
            hop_by_hop: &[],
            destination_options: &[],
            stamp_id: None,
            hardware_stamp: false,
        }
    }
}

/// Datagrams that wait to be sent together.
#[derive(Default)]
pub struct SendBatch {
    /// True if neighbours that differ in payload only are handed over as one.
    has_gso: bool,
    payload: Vec<u8>,
    control: ControlBuffer,
    items: Vec<Item>,
    next: usize,
    failed: Vec<(usize, io::Error)>,
}

struct Item {
    to: SystemAddress,
    payload: (usize, usize),
    control: (usize, usize),
    /// Octets behind `control` of the message that makes it the first of a GSO batch.
    gso_control_len: usize,
    stamp_id: Option<u32>,
}

impl SendBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that hands neighbours that are equal except for their payload to the kernel as one (UDP segmentation
    /// offload), until the kernel refuses that. Those that ask for a transmit timestamp go by themselves.
    ///
    /// A program that takes packets before they are cut up, such as generic XDP, sees
    /// a batch as one packet.
    pub fn with_gso() -> Self {
        Self { has_gso: true, ..Self::default() }
    }

    /// Datagrams in it, sent or not.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if there is none in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all datagrams and failures and keeps the memory.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.control.clear();
        self.items.clear();
        self.failed.clear();
        self.next = 0;
    }

    /// Appends a datagram; returns its place in the batch. Any number fits, a system call takes [`MAX_BATCH`].
    pub fn push(&mut self, outgoing: &Outgoing<'_>, payload: &[u8]) -> usize {
        let payload_start = self.payload.len();
        self.payload.extend_from_slice(payload);
        let control_start = self.control.len();
        self.push_control(outgoing);
        let control = (control_start, self.control.len() - control_start);
        if self.has_gso && outgoing.stamp_id.is_none() {
            self.control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &(payload.len() as u16).to_ne_bytes());
        }
        self.items.push(Item {
            to: outgoing.to.into(),
            payload: (payload_start, payload.len()),
            control,
            gso_control_len: self.control.len() - control_start - control.1,
            stamp_id: outgoing.stamp_id,
        });
        self.items.len() - 1
    }

    fn push_control(&mut self, outgoing: &Outgoing<'_>) {
        let is_v6 = outgoing.to.is_ipv6();
        let control = &mut self.control;
        if outgoing.source.is_some() || outgoing.interface != 0 {
            control.push_packet_info(outgoing.source, outgoing.interface, is_v6);
        }
        let (level, class, ttl) = if is_v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS, libc::IP_TTL)
        };
        if let Some(octet) = outgoing.traffic_class {
            control.push_int(level, class, octet.0.into());
        }
        if let Some(limit) = outgoing.ttl {
            control.push_int(level, ttl, limit.into());
        }
        if is_v6 && !outgoing.hop_by_hop.is_empty() {
            control.push(level, libc::IPV6_HOPOPTS, outgoing.hop_by_hop);
        }
        if is_v6 && !outgoing.destination_options.is_empty() {
            control.push(level, libc::IPV6_DSTOPTS, outgoing.destination_options);
        }
        if let Some(id) = outgoing.stamp_id {
            let hardware = if outgoing.hardware_stamp { libc::SOF_TIMESTAMPING_TX_HARDWARE } else { 0 };
            let by = libc::SOF_TIMESTAMPING_TX_SOFTWARE | hardware;
            control.push(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &by.to_ne_bytes());
            if super::super::stamp_ids::kernel_takes_stamp_ids() {
                control.push(libc::SOL_SOCKET, super::super::stamp_ids::SCM_TS_OPT_ID, &id.to_ne_bytes());
            }
        }
    }

    /// The payload of the datagram at `index`, to write what must be written last.
    pub fn payload_mut(&mut self, index: usize) -> &mut [u8] {
        let (start, len) = self.items[index].payload;
        &mut self.payload[start..start + len]
    }

    /// The datagrams that could not be sent, by their place in the batch.
    pub fn failed(&self) -> &[(usize, io::Error)] {
        &self.failed
    }

    /// Returns true if every datagram was handed over or has failed.
    pub fn is_done(&self) -> bool {
        self.next == self.items.len()
    }

    /// Datagrams that the kernel has taken.
    pub fn sent(&self) -> usize {
        self.next - self.failed.len()
    }

    /// Gives up the next datagram; or GSO, if it is part of a batch, because that may be what the kernel refuses.
    pub(in super::super) fn fail_next(&mut self, error: io::Error) {
        if self.has_gso && self.gso_batch_len(self.next) > 1 {
            self.has_gso = false;
            return;
        }
        self.failed.push((self.next, error));
        self.next += 1;
    }

    /// Numbers that the coming system call asks transmit timestamps for, in order.
    pub(in super::super) fn pending_stamp_ids(&self) -> impl Iterator<Item = Option<u32>> {
        self.items[self.next..].iter().map(|item| item.stamp_id)
    }

    /// Returns the number of datagrams from `first` on that go to the kernel as one.
    fn gso_batch_len(&self, first: usize) -> usize {
        let head = &self.items[first];
        if !self.has_gso || head.gso_control_len == 0 {
            return 1;
        }
        let follows = |item: &&Item| {
            item.gso_control_len > 0
                && item.payload.1 == head.payload.1
                && item.control.1 == head.control.1
                && self.control.octets(item.control) == self.control.octets(head.control)
                && item.to == head.to
        };
        let most = MAX_TRAIN.0.min(MAX_TRAIN.1 / head.payload.1.max(1));
        self.items[first..].iter().take(most).take_while(follows).count().max(1)
    }

    /// Hands up to [`MAX_BATCH`] datagrams (or GSO batches of them) to the kernel without waiting; returns how many datagrams
    /// it took.
    pub(in super::super) fn flush(&mut self, fd: c_int) -> io::Result<usize> {
        // SAFETY: all-zero is a valid `mmsghdr` and a valid `iovec`.
        let (mut headers, mut parts) = unsafe {
            (std::mem::zeroed::<[libc::mmsghdr; MAX_BATCH]>(), std::mem::zeroed::<[libc::iovec; MAX_BATCH]>())
        };
        let mut ends = [self.next; MAX_BATCH];
        let (mut count, mut at) = (0, self.next);
        while count < MAX_BATCH && at < self.items.len() {
            let item = &self.items[at];
            let batch = self.gso_batch_len(at);
            let (header, part) = (&mut headers[count], &mut parts[count]);
            let (start, len) = item.payload;
            // Payloads are contiguous, and those of a GSO batch have one length.
            part.iov_base = self.payload[start..start + len * batch].as_ptr().cast_mut().cast();
            part.iov_len = len * batch;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            let to = item.to.as_sockaddr();
            header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = to.len();
            let (start, len) = item.control;
            let len = if batch > 1 { len + item.gso_control_len } else { len };
            if len > 0 {
                header.msg_hdr.msg_control = self.control.as_ptr(start).cast_mut().cast();
                header.msg_hdr.msg_controllen = len as _;
            }
            at += batch;
            ends[count] = at;
            count += 1;
        }
        // SAFETY: the first `count` headers point at memory of the lengths they state, in `self` and `parts`.
        let sent = unsafe { sendmmsg(fd, &mut headers[..count]) }?;
        let before = self.next;
        self.next = if sent == 0 { before } else { ends[sent - 1] };
        Ok(self.next - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gso_batches(mut batch: SendBatch, packets: &[(u16, usize, Option<u32>)]) -> Vec<usize> {
        for (port, len, stamp_id) in packets {
            let to = SocketAddr::from(([192, 0, 2, 1], *port));
            batch.push(&Outgoing { stamp_id: *stamp_id, ..Outgoing::to(to) }, &vec![0; *len]);
        }
        let mut found = Vec::new();
        while found.iter().sum::<usize>() < packets.len() {
            found.push(batch.gso_batch_len(found.iter().sum()));
        }
        found
    }

    #[test]
    fn only_neighbours_that_differ_in_nothing_but_content_are_one_train() {
        let all = [(862, 44, None), (862, 44, None), (863, 44, None), (863, 48, None), (863, 48, None)];
        assert_eq!(gso_batches(SendBatch::with_gso(), &all), [2, 1, 2]);
        assert_eq!(gso_batches(SendBatch::new(), &all), [1; 5]);
        assert_eq!(gso_batches(SendBatch::with_gso(), &all.map(|(port, len, _)| (port, len, Some(1)))), [1; 5]);
    }

    #[test]
    fn a_train_has_the_length_that_kernels_take() {
        assert_eq!(gso_batches(SendBatch::with_gso(), &[(862, 44, None); 130]), [64, 64, 2]);
        // 40 packets of 1472 octets are 58,880, and a datagram has room for 65,507.
        assert_eq!(gso_batches(SendBatch::with_gso(), &[(862, 1_472, None); 45]), [40, 5]);
    }
}
