//! A UDP socket set up for measuring: what it asks the kernel to report, and its two batched operations.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::c_int;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt};

use super::address::SystemAddress;
use super::batch::{ReceiveBatch, SendBatch};
use super::cbpf;
use super::sockopt::{enable_timestamps, set_int};
use super::stamp_ids::{StampIds, kernel_takes_stamp_ids};

/// Failure to get the socket that was asked for. The text says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No socket of that family at all.
    #[error("cannot open a UDP socket for {family}: {source}")]
    Open {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The address or port is unavailable.
    #[error("cannot bind to {address}: {source}{}", bind_advice(*address, source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// An interface that does not exist or may not be bound to.
    #[error("cannot bind to interface {device}: {source}; see `ip link` for its name")]
    Device {
        /// Interface name as given.
        device: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel refuses a socket option that the measurement rests on.
    #[error("cannot set socket option {option}: {source}")]
    Option {
        /// The option's name in the C headers.
        option: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

fn bind_advice(address: SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports under 1024 need root or CAP_NET_BIND_SERVICE, or choose a port of 1024 and above"
        }
        io::ErrorKind::AddrInUse => "; another program has this port, `ss -ulpn` shows which",
        io::ErrorKind::AddrNotAvailable => "; the address is not one of this host's, `ip address` lists them",
        _ => "",
    }
}

/// The treatment of datagrams longer than the path takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragmentation {
    /// Whatever the system does by default.
    #[default]
    System,
    /// Don't Fragment is set; too long a datagram is an error (`EMSGSIZE`), here or by ICMP.
    Forbid,
    /// Don't Fragment is clear.
    Allow,
}

/// Options for opening a socket. Receive timestamps, TTL, traffic class, both addresses, and the count of datagrams
/// lost in the receive queue are always asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Local address and port. The wildcard address receives for all addresses of its family, and its family only.
    pub bind: SocketAddr,
    /// The one interface to use, by name.
    pub device: Option<String>,
    /// Let [`super::batch::Outgoing::stamp_id`] ask for transmit timestamps.
    pub transmit_stamps: bool,
    /// Have stamps of the network card's own clock too, where it takes any; see [`super::ptp_clock`].
    pub hardware_stamps: bool,
    /// Report ICMP errors on the error queue.
    pub report_errors: bool,
    /// Deliver IPv6 hop-by-hop and destination options with each datagram. Takes CAP_NET_RAW to send, not to receive.
    pub extension_headers: bool,
    /// Let the kernel join datagrams of one flow and length that arrive together, where it can: that takes much less of the
    /// processor, and they share one timestamp. Takes room for 65,535 octets in each slot of a [`ReceiveBatch`].
    pub join_received: bool,
    /// Share the port with other sockets that also say so; the kernel spreads datagrams by flow.
    pub reuse_port: bool,
    /// TTL and Hop Limit of what is sent; 255 as draft-ietf-ippm-stamp-ext-hdr-15 §3.1 wants.
    pub ttl: u8,
    /// Fragmentation of what is sent.
    pub fragmentation: Fragmentation,
    /// Octets of the kernel's receive and send queue, as far as the system's limits (or CAP_NET_ADMIN) allow.
    pub queue_octets: Option<usize>,
    /// Send IPv4 datagrams with UDP checksum 0, so that bit errors in the payload arrive instead of being dropped.
    pub omit_checksum: bool,
}

impl Options {
    /// A socket at `bind` with none of the extras.
    pub const fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            device: None,
            transmit_stamps: false,
            hardware_stamps: false,
            report_errors: false,
            extension_headers: false,
            join_received: false,
            reuse_port: false,
            ttl: 255,
            fragmentation: Fragmentation::System,
            queue_octets: None,
            omit_checksum: false,
        }
    }
}

/// A non-blocking UDP socket of one address family.
///
/// Sending may be done from one thread at a time; receiving too, possibly from another thread.
pub struct Socket {
    socket: UdpSocket,
    stamp_ids: StampIds,
}

impl Socket {
    /// Opens, configures and binds.
    pub fn open(options: &Options) -> Result<Self, SocketError> {
        let is_v6 = options.bind.is_ipv6();
        let (domain, family) = if is_v6 { (AddressFamily::Inet6, "IPv6") } else { (AddressFamily::Inet, "IPv4") };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(domain, SockType::Datagram, flags, SockProtocol::Udp)
            .map_err(|error| SocketError::Open { family, source: error.into() })?;
        let this = Self { socket: socket.into(), stamp_ids: StampIds::new() };
        this.set_reporting(options, is_v6)?;
        this.set_sending(options, is_v6)?;
        if let Some(octets) = options.queue_octets {
            this.set_queues(octets);
        }
        if let Some(device) = &options.device {
            setsockopt(&this.socket, sockopt::BindToDevice, &OsString::from(device))
                .map_err(|error| SocketError::Device { device: device.clone(), source: error.into() })?;
        }
        bind(this.socket.as_raw_fd(), SystemAddress::from(options.bind).as_sockaddr())
            .map_err(|error| SocketError::Bind { address: options.bind, source: error.into() })?;
        Ok(this)
    }

    fn set_reporting(&self, options: &Options, is_v6: bool) -> Result<(), SocketError> {
        use libc::{IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET};
        let mut stamping =
            libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_CMSG;
        if options.transmit_stamps {
            // Which datagrams get one is said by each datagram's control message.
            stamping |= libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        }
        if options.hardware_stamps {
            // With the last one, the kernel's own stamp is reported as well.
            stamping |= libc::SOF_TIMESTAMPING_RX_HARDWARE
                | libc::SOF_TIMESTAMPING_RAW_HARDWARE
                | libc::SOF_TIMESTAMPING_OPT_TX_SWHW;
        }
        enable_timestamps(self.socket.as_fd(), stamping)
            .map_err(|source| SocketError::Option { option: "SO_TIMESTAMPING", source })?;
        self.set(SOL_SOCKET, libc::SO_RXQ_OVFL, 1, "SO_RXQ_OVFL")?;
        if is_v6 {
            self.set(IPPROTO_IPV6, libc::IPV6_V6ONLY, 1, "IPV6_V6ONLY")?;
            self.set(IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO")?;
            self.set(IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1, "IPV6_RECVHOPLIMIT")?;
            self.set(IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS")?;
        } else {
            self.set(IPPROTO_IP, libc::IP_PKTINFO, 1, "IP_PKTINFO")?;
            self.set(IPPROTO_IP, libc::IP_RECVTTL, 1, "IP_RECVTTL")?;
            self.set(IPPROTO_IP, libc::IP_RECVTOS, 1, "IP_RECVTOS")?;
        }
        if options.extension_headers && is_v6 {
            self.set(IPPROTO_IPV6, libc::IPV6_RECVHOPOPTS, 1, "IPV6_RECVHOPOPTS")?;
            self.set(IPPROTO_IPV6, libc::IPV6_RECVDSTOPTS, 1, "IPV6_RECVDSTOPTS")?;
        }
        if options.join_received
            && let Err(error) = self.set(libc::SOL_UDP, libc::UDP_GRO, 1, "UDP_GRO")
        {
            // A kernel before 5.0: they come one by one then.
            tracing::debug!(%error);
        }
        if options.report_errors {
            let (level, option) =
                if is_v6 { (IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (IPPROTO_IP, libc::IP_RECVERR) };
            self.set(level, option, 1, "IP_RECVERR")?;
        }
        Ok(())
    }

    fn set_sending(&self, options: &Options, is_v6: bool) -> Result<(), SocketError> {
        use libc::{IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET};
        let ttl = c_int::from(options.ttl);
        let discover = match options.fragmentation {
            Fragmentation::System => None,
            Fragmentation::Forbid => Some(libc::IP_PMTUDISC_DO),
            Fragmentation::Allow => Some(libc::IP_PMTUDISC_DONT),
        };
        if is_v6 {
            self.set(IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl, "IPV6_UNICAST_HOPS")?;
            if let Some(discover) = discover {
                self.set(IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover, "IPV6_MTU_DISCOVER")?;
            }
        } else {
            self.set(IPPROTO_IP, libc::IP_TTL, ttl, "IP_TTL")?;
            if let Some(discover) = discover {
                self.set(IPPROTO_IP, libc::IP_MTU_DISCOVER, discover, "IP_MTU_DISCOVER")?;
            }
        }
        if options.omit_checksum {
            self.set(SOL_SOCKET, libc::SO_NO_CHECK, 1, "SO_NO_CHECK")?;
        }
        if options.reuse_port {
            self.set(SOL_SOCKET, libc::SO_REUSEPORT, 1, "SO_REUSEPORT")?;
        }
        Ok(())
    }

    /// Larger queues where permitted. Smaller than wished is no failure: losses are counted in `queue_drops`.
    fn set_queues(&self, octets: usize) {
        let value = c_int::try_from(octets).unwrap_or(c_int::MAX);
        for (force, ordinary) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            if self.set(libc::SOL_SOCKET, force, value, "SO_RCVBUFFORCE").is_err() {
                let result = self.set(libc::SOL_SOCKET, ordinary, value, "SO_RCVBUF");
                if let Err(error) = result {
                    tracing::debug!(%error);
                }
            }
        }
    }

    fn set(&self, level: c_int, name: c_int, value: c_int, option: &'static str) -> Result<(), SocketError> {
        set_int(self.socket.as_fd(), level, name, value).map_err(|source| SocketError::Option { option, source })
    }

    /// Connects, so that only `peer` is heard; sends must still name it.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.socket.connect(peer)
    }

    /// The local address and port; the port is never 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// From now on receives only what does not fit into one IP packet of `mtu` octets.
    pub fn limit_to_longer_than(&self, mtu: u32) -> io::Result<()> {
        cbpf::longer_than(mtu, self.local_addr()?.is_ipv6()).attach(&self.socket)
    }

    /// Replaces the batch's content with what is waiting; does not wait itself.
    ///
    /// Returns the number of datagrams, 0 when none is waiting. An error that the network reported for an earlier
    /// datagram (`ECONNREFUSED`…) is not returned: it is on the error queue.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        self.fill(batch, 0)
    }

    /// Replaces the batch's content with what the error queue holds: transmit timestamps and refusals.
    /// See [`super::batch::Received::report`].
    pub fn receive_reports(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let count = self.fill(batch, libc::MSG_ERRQUEUE)?;
        if !kernel_takes_stamp_ids() {
            batch.map_stamp_ids(|id| self.stamp_ids.of_counter(id));
        }
        Ok(count)
    }

    fn fill(&self, batch: &mut ReceiveBatch, flags: c_int) -> io::Result<usize> {
        // A pending error is reported once and hides datagrams that are queued after it.
        for _ in 0..2 {
            match batch.fill(self.socket.as_raw_fd(), flags) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if is_pending_error(&error) => {}
                result => return result,
            }
        }
        Ok(0)
    }

    /// Hands all of the batch to the kernel, as far as it takes them without waiting.
    ///
    /// Returns `Ok` when nothing is left to try; datagrams that the kernel refused are in [`SendBatch::failed`].
    /// `WouldBlock` means that the send queue is full: wait until the socket is writable and call again.
    pub fn send(&self, batch: &mut SendBatch) -> io::Result<()> {
        let mut retried = false;
        while !batch.is_done() {
            match self.flush(batch) {
                Ok(_) => retried = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It may be about an earlier datagram; a second time it is about this one.
                Err(error) if is_pending_error(&error) && !retried => retried = true,
                Err(error) => {
                    batch.fail_next(error);
                    retried = false;
                }
            }
        }
        Ok(())
    }

    fn flush(&self, batch: &mut SendBatch) -> io::Result<usize> {
        if kernel_takes_stamp_ids() {
            return batch.flush(self.socket.as_raw_fd());
        }
        let ids: Vec<Option<u32>> = batch.pending_stamp_ids().collect();
        let sent = batch.flush(self.socket.as_raw_fd())?;
        ids[..sent].iter().flatten().for_each(|id| self.stamp_ids.record(*id));
        Ok(sent)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Returns true if the error may stem from an ICMP message about an earlier datagram.
fn is_pending_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EMSGSIZE | libc::ENOPROTOOPT)
    )
}

#[cfg(test)]
mod tests;
