//! The engines: where packets arrive and how replies leave.

pub mod af_packet;
pub mod burst_queue;
pub mod burst_scheduler;
pub mod context;
pub mod fair_queue;
pub mod frame_replies;
pub mod loop_log;
pub mod punted_frame;
pub mod reassembly;
pub mod reply_record;
pub mod residence_histogram;
pub mod ring;
pub mod srv6;
pub mod transmit;
pub mod udp;
