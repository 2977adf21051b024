//! The sessions: what is sent when, which reply belongs to which packet, and what it shows. No clock, no socket.
//!
//! [`sender_session`] is one target's session and uses the others: [`schedule`] (when), [`packet`] and [`reply`] (the base
//! packets), [`matcher`] (which reply to which packet, and what is lost where), [`transit`] and [`timeline`] (which clock a time is of),
//! [`delays`], [`stats`], [`variation`] and [`histogram`] (the figures), [`reflector_clock`] and [`clock_claims`]. [`record`] is what a session
//! tells, [`measurement`] the sessions of a whole run, and [`silence`] why none of them got a reply.

pub(crate) mod clock_claims;
pub(crate) mod delays;
pub(crate) mod histogram;
pub mod matcher;
pub(crate) mod measurement;
pub(crate) mod packet;
pub mod random;
pub mod record;
pub(crate) mod reflector_clock;
pub mod reply;
pub(crate) mod schedule;
pub mod sender_session;
pub(crate) mod silence;
pub(crate) mod stats;
pub mod timeline;
pub mod transit;
pub(crate) mod variation;
