//! UDP with everything a measurement needs from the kernel: timestamps, TTL, traffic class, both addresses, batches.
//!
//! Reading order: [`socket`] opens and configures, [`batch`] is what goes through it in either direction, [`received`] is what the kernel says of each, [`cmsg`]
//! is how facts travel beside a datagram, [`poll`] sleeps until something happens. A reflector's loop is
//!
//! ```no_run
//! # use teaparty_user::net::{batch::{Outgoing, ReceiveBatch, SendBatch}, poll::wait, socket::{Options, Socket}};
//! # fn answer(_: &[u8]) -> Vec<u8> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = Socket::open(&Options::new("0.0.0.0:862".parse()?))?;
//! let (mut requests, mut replies) = (ReceiveBatch::new(64, 9216), SendBatch::new());
//! loop {
//!     wait(&[&socket], None)?;
//!     socket.receive(&mut requests)?;
//!     for request in requests.iter() {
//!         let mut reply = Outgoing::to(request.peer().unwrap());
//!         reply.source = request.local;
//!         reply.traffic_class = request.traffic_class;
//!         replies.push(&reply, &answer(request.payload));
//!     }
//!     // What has to be written as late as possible goes through `replies.payload_mut(i)` here.
//!     socket.send(&mut replies)?;
//!     replies.clear();
//! }
//! # }
//! ```
//!
//! Only this module and [`crate::sys`] call libc.

pub(crate) mod address;
pub mod batch;
pub(crate) mod cbpf;
pub(crate) mod clock_watch;
pub(crate) mod cmsg;
pub(crate) mod ethtool;
pub mod host;
pub mod interface;
mod ioctl;
mod mmsg;
pub mod namespace;
pub mod packet;
pub(crate) mod peer_uid;
pub mod poll;
pub(crate) mod ptp_clock;
pub(crate) mod raw;
pub(crate) mod received;
pub mod socket;
mod sockopt;
mod stamp_ids;
pub(crate) mod transmit_errors;
pub(crate) mod xdp_features;
pub mod xdp_link;
