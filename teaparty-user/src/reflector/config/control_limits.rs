//! Limits of Reflected Test Packet Control (RFC 10052 §3).

/// The limits of one request, and of all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// Most replies to one request.
    pub max_count: u16,
    /// Longest UDP payload of a reply, in octets, where the request is not longer itself.
    pub max_len: u16,
    /// Least time from one reply to the next, in nanoseconds.
    pub min_interval_ns: u32,
    /// Octets of UDP payload per second for one session.
    pub session_rate: u64,
    /// Octets of UDP payload per second for all sessions on an interface.
    pub total_rate: u64,
}
