//! What became of a packet, and of a reply.

use serde::Serialize;

use crate::sender::session::transit::SentPacket;

/// The kind of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyKind {
    /// The first reply to its packet, in time.
    Reply,
    /// A further reply that the packet asked for (Reflected Test Packet Control).
    Further,
    /// A reply to a packet that has one already.
    Duplicate,
    /// A reply that came too late. Its packet is lost.
    Late,
}

/// A reply that belongs to one of our packets.
#[derive(Clone, Copy, Debug)]
pub struct MatchedReply {
    /// Its kind.
    pub kind: ReplyKind,
    /// Number of the packet, from 0.
    pub index: u64,
    /// The packet.
    pub departure: SentPacket,
    /// Replies to later packets came before it: how many, since the first of them (RFC 4737 §4.2.1); 0 if in order.
    pub reordering_extent: u32,
    /// True if the packet is lost by this: its reply came too late, before it was given up.
    pub is_loss: bool,
    /// True if T4 − T1 has a meaning: the clock was not set between.
    pub is_one_life: bool,
}

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was answered, or no reply was asked for, or it was told before that it is lost, or this host refused to send it.
    Known,
    /// It is lost.
    Lost,
    /// Nobody waited for its reply long enough.
    Unsettled,
}

/// A packet whose outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedPacket {
    /// Its number, from 0.
    pub index: u64,
    /// The kind of change.
    pub fate: Resolution,
    /// True if the reflector has restarted between the reply before and the one to this packet.
    pub is_restart: bool,
}
