//! Parses headers, filters by port, and records the arrival time and addresses. Nothing here decides on an answer.

mod arrival;
mod plain;
mod slow;

pub(crate) use self::plain::{is_ipv6, parse_v4, parse_v6};
pub(crate) use self::slow::parse_slow;
