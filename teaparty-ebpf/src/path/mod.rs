//! The ways of a packet whose datagram is known: the fast path, or the full one.

pub(crate) mod fast;
pub(crate) mod full;
mod packet_ctx;
mod tlv_steps;
