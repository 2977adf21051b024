//! The engines: where packets arrive and how replies leave.

pub(crate) mod af_packet;
pub(crate) mod burst_queue;
pub(crate) mod burst_scheduler;
pub(crate) mod capture_ring;
pub(crate) mod context;
pub(crate) mod fair_queue;
pub(crate) mod frame_replies;
pub(crate) mod loop_log;
mod mirror;
pub(crate) mod punted_frame;
pub(crate) mod reassembly;
pub(crate) mod reply_record;
pub(crate) mod residence_histogram;
pub(crate) mod ring;
pub(crate) mod srv6;
pub(crate) mod transmit;
pub(crate) mod udp;
