//! Records of the punt ring: frames that the controller is to answer, and events that it is to know.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::SessionKey;
use crate::packet_meta::PacketMeta;

/// Sizes of a punted frame that the ring has records for: its memory must be reserved in a constant size.
pub const PUNT_CLASSES: [usize; 3] = [256, 2048, 10_240];

/// Longest frame that can be punted, in octets.
pub const MAX_PUNT_FRAME: usize = PUNT_CLASSES[PUNT_CLASSES.len() - 1];

/// Head of each record; the frame's `frame_len` octets follow, exactly as they arrived.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct PuntHeader {
    /// [`RecordKind`] as a number.
    pub kind: u32,
    /// [`crate::reason::Reason`] as a number.
    pub reason: u32,
    /// Octets of the frame after this header.
    pub frame_len: u32,
    /// Octets of UDP payload.
    pub payload_len: u32,
    /// Offset of the IP header in the frame.
    pub ip_at: u16,
    /// Offset of the UDP payload in the frame.
    pub payload_at: u16,
    /// Flags of the session, [`super::Session::flags`]; 0 where there is none.
    pub session_flags: u32,
    /// The session.
    pub key: SessionKey,
    /// The facts about the packet. A kernel-owned session has its Sequence Number assigned in them.
    pub meta: PacketMeta,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A frame that the controller is to answer.
    Frame = 1,
    /// A frame that the kernel has answered, and whose Access Report the controller is to know: `frame_len` is 0,
    /// `reason` holds the Access ID in bits 8 to 11 and the Return Code in the lowest eight.
    AccessReport = 2,
    /// A packet of the session `key` that the loop guard has dropped: one in a second at most is reported.
    /// `frame_len` is 0.
    LoopGuard = 3,
}
