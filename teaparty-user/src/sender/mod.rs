//! The Session-Sender.

pub mod exchange;
pub mod histogram;
pub mod packet;
pub mod reply;
pub mod sample;
pub mod schedule;
pub mod stats;
pub mod tlvs;
