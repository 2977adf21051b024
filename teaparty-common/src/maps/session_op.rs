//! Requests by which the controller has the kernel write to a session that the kernel owns: each session has one writer.
//!
//! The controller runs the program with a [`SessionOpRequest`] as its packet; the answer comes back in the same octets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{HistorySlot, Session, SessionKey};

/// Request to, and answer of, the program for session operations.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SessionOpRequest {
    /// The session.
    pub key: SessionKey,
    /// [`SessionOp`] as a number.
    pub operation: u32,
    /// Sequence Numbers to take. 0 notes a packet that was received and is not answered.
    pub count: u32,
    /// Answer: the first Sequence Number taken.
    pub sequence: u32,
    /// Answer: packets received in the session, modulo 2^32.
    pub received: u32,
    /// Arrival of the packet, in nanoseconds of CLOCK_MONOTONIC.
    pub received_ns: u64,
    /// The exchange to remember; its tag is the session's. Of a claim: Sequence Number and T1 of the request alone.
    pub exchange: HistorySlot,
    /// Answer: T3 of the session's previous reply as it went on the wire.
    pub previous_timestamp: u64,
    /// Answer: Sequence Number of that reply.
    pub previous_sequence: u32,
    /// Nothing.
    pub reserved: u32,
    /// Answer: the session's flags.
    pub flags: u32,
    /// Answer: Sequence Number of the previous request.
    pub previous_sender_sequence: u32,
    /// Answer: the session's history tag.
    pub history_tag: u32,
    /// Answer: 1 if the session was found or made.
    pub is_found: u32,
}

impl SessionOpRequest {
    /// Returns the session of an answer, as far as [`Session::fill_meta`] looks at it.
    pub fn session(&self) -> Session {
        Session {
            previous_timestamp: self.previous_timestamp,
            previous_sequence: self.previous_sequence,
            sender_sequence: self.previous_sender_sequence,
            history_tag: self.history_tag,
            flags: self.flags,
            ..Session::default()
        }
    }
}

/// An operation on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SessionOp {
    /// Take `count` Sequence Numbers for replies that the controller will send, making the session if it is new.
    Claim = 1,
    /// Remember an exchange whose reply the controller has sent.
    Record = 2,
    /// Take `count` more Sequence Numbers for further replies to a packet that has one already (RFC 10052 §3). Makes no
    /// session.
    Again = 3,
}
