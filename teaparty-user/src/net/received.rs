//! Received datagrams, and what the kernel says about each.

use std::net::{IpAddr, SocketAddr};

use teaparty_common::wire::TrafficClass;

/// A moment that the kernel or this process took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTimestamp {
    /// Nanoseconds since 1970 on CLOCK_REALTIME (UTC).
    pub nanos: u64,
    /// Its source.
    pub source: StampSource,
}

/// The source of a timestamp, from the more to the less exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StampSource {
    /// The network card by its own clock, carried over to CLOCK_REALTIME.
    Hardware,
    /// The kernel, next to the driver.
    Kernel,
    /// This process, before a send or after a receive.
    User,
}

/// One received datagram and what the kernel says about it. Everything but the payload may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// UDP payload, cut to the slot's size when [`Received::is_truncated`].
    pub payload: &'a [u8],
    /// True if the payload or the control messages did not fit.
    pub is_truncated: bool,
    /// Destination address in the IP header.
    pub destination: Option<IpAddr>,
    /// Our unicast address to answer from. Differs from the destination for multicast and broadcast.
    pub local: Option<IpAddr>,
    /// Index of the interface it came in by; 0 if unknown.
    pub interface: u32,
    /// TTL or Hop Limit as received.
    pub ttl: Option<u8>,
    /// TOS or Traffic Class octet as received.
    pub traffic_class: Option<TrafficClass>,
    /// Arrival. May be missing for the first datagrams after the host's first socket asked for timestamps: the
    /// kernel switches them on in the background. Take the time yourself then, and say so ([`StampSource::User`]).
    pub stamp: Option<HostTimestamp>,
    /// Arrival by the network card's own clock, in its nanoseconds; see [`super::ptp_clock`].
    pub hardware_ns: Option<u64>,
    /// Datagrams that this socket lost so far because its receive queue was full; modulo 2^32.
    pub queue_drops: Option<u32>,
    /// The IPv6 hop-by-hop options header, whole, where [`super::socket::Options::extension_headers`] asked for it.
    pub hop_by_hop: Option<&'a [u8]>,
    /// The IPv6 destination options header, in the same form.
    pub destination_options: Option<&'a [u8]>,
    /// The outermost VLAN tag of a frame, where the kernel has taken it out: EtherType and tag control information.
    pub vlan: Option<[u8; 4]>,
    /// The length of each where the kernel has joined several datagrams, except the last, which may be shorter.
    pub(super) joined: Option<usize>,
    /// On the error queue: what this is about.
    pub error: Option<ExtendedError>,
    pub(super) peer: Option<SocketAddr>,
}

/// A report of the error queue about a datagram sent earlier.
#[derive(Clone, Copy, Debug)]
pub enum ErrorQueueReport<'a> {
    /// It left, at this moment; `id` is what [`Outgoing::stamp_id`](super::batch::Outgoing::stamp_id) said.
    Transmitted {
        /// The datagram's [`Outgoing::stamp_id`](super::batch::Outgoing::stamp_id).
        id: u32,
        /// The time.
        stamp: HostTimestamp,
    },
    /// It left the network card, at this moment of the card's own clock.
    HardwareTransmitted {
        /// The datagram's [`Outgoing::stamp_id`](super::batch::Outgoing::stamp_id).
        id: u32,
        /// The time, in the card's nanoseconds.
        nanos: u64,
    },
    /// The network (or this host) refused it.
    Refused {
        /// The destination.
        peer: Option<SocketAddr>,
        /// Why, as an `errno` such as `ECONNREFUSED`.
        errno: i32,
        /// Its UDP payload, as far as the ICMP message quoted it.
        payload: &'a [u8],
    },
}

impl<'a> Received<'a> {
    pub(super) const fn empty() -> Self {
        Self {
            payload: &[],
            is_truncated: false,
            destination: None,
            local: None,
            interface: 0,
            ttl: None,
            traffic_class: None,
            stamp: None,
            hardware_ns: None,
            queue_drops: None,
            hop_by_hop: None,
            destination_options: None,
            vlan: None,
            joined: None,
            error: None,
            peer: None,
        }
    }

    /// A datagram of which nothing else is known.
    pub const fn new(payload: &'a [u8], peer: SocketAddr) -> Self {
        Self { payload, peer: Some(peer), ..Self::empty() }
    }

    /// The datagrams that the kernel has joined into this one.
    pub(super) fn parts(self) -> impl Iterator<Item = Self> {
        let len = self.joined.unwrap_or(usize::MAX).max(1);
        let count = self.payload.len().div_ceil(len).max(1);
        (0..count).map(move |part| {
            let (_, rest) = self.payload.split_at(part * len);
            Self { payload: &rest[..rest.len().min(len)], joined: None, ..self }
        })
    }

    /// Source address and port; on the error queue, where the datagram was to go.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the report of an entry of the error queue; `None` for ordinary datagrams and for other kinds.
    pub fn report(&self) -> Option<ErrorQueueReport<'a>> {
        let error = self.error?;
        match error.origin {
            libc::SO_EE_ORIGIN_TIMESTAMPING => {
                // `ee_info` 0 is SCM_TSTAMP_SND: it was handed to the network card.
                match (error.info, self.stamp, self.hardware_ns) {
                    (0, _, Some(nanos)) => Some(ErrorQueueReport::HardwareTransmitted { id: error.data, nanos }),
                    (0, Some(stamp), None) => Some(ErrorQueueReport::Transmitted { id: error.data, stamp }),
                    _ => None,
                }
            }
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 | libc::SO_EE_ORIGIN_LOCAL => {
                Some(ErrorQueueReport::Refused { peer: self.peer, errno: error.errno as i32, payload: self.payload })
            }
            _ => None,
        }
    }
}

/// An entry of the error queue about a datagram sent earlier (`struct sock_extended_err`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The `errno` that it stands for.
    pub errno: u32,
    /// Its origin: `SO_EE_ORIGIN_…`.
    pub origin: u8,
    /// ICMP type, where an ICMP message is the cause.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// For transmit timestamps, which kind of moment it was (`SCM_TSTAMP_…`); for "too big", the path's MTU.
    pub info: u32,
    /// For transmit timestamps, the number that the datagram was given.
    pub data: u32,
}

/// A length of the kernel's, which is `size_t` in one C library and `socklen_t` in another.
pub(super) fn msg_len<T: TryInto<usize>>(len: T) -> usize {
    len.try_into().unwrap_or(0)
}
