//! The kernel's side: loading, attaching, pins and maps.

pub mod address_maps;
pub mod attachment;
pub mod clock_step;
pub mod kernel_log;
pub mod kernel_session_store;
pub mod kernel_sessions;
mod link;
pub mod load_error;
pub mod loader;
pub mod map_reader;
pub mod maps;
pub mod object;
pub mod pinned_map;
pub mod pins;
