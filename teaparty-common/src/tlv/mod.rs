//! The TLVs: one file for each or for a family of them, how they are walked, and the names of the registry.

pub mod access_report;
pub mod bit_error;
pub mod class_of_service;
pub mod destination_port;
pub mod header;
pub mod history;
pub mod hmac;
mod iter;
pub mod location;
pub mod measurement;
pub mod micro_session;
pub mod reflected_control;
pub mod reflected_header;
pub mod return_path;
mod views;

pub use self::header::{Flags, HEADER_LEN, Header};
pub use self::iter::{Tlv, TlvItem, next_tlv};
pub use self::views::{TlvIter, TlvOverrun, TlvView, tlvs};
pub use crate::registry::{CodePoints, Entry, HandledBy, Kind, KindSet, LENGTH_RULES, LengthRule, Profile, REGISTRY};
