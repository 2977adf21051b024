//! One packet's way through the controller.

pub mod burst_limits;
pub(crate) mod segment_routing;
pub mod slow_path;
pub mod test_packet_control;
pub mod tlv_env;
