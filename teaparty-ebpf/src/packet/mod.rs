//! Access to packet memory: the only pointer arithmetic of the program.

mod access;
mod checked_header;
pub(crate) mod ip_family;
mod opaque;

pub(crate) use self::access::{Packet, REACH};
pub(crate) use self::checked_header::CheckedHeader;
pub(crate) use self::opaque::opaque_to_verifier;
