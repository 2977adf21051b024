//! The kernel's side: loading, attaching, pins and maps.

pub(crate) mod address_maps;
pub(crate) mod attachment;
pub(crate) mod capture;
pub(crate) mod clock_step;
pub(crate) mod kernel_log;
pub(crate) mod kernel_session_store;
pub mod kernel_sessions;
mod link;
pub(crate) mod load_error;
pub(crate) mod loader;
pub(crate) mod map_reader;
pub mod maps;
pub mod object;
pub(crate) mod pinned_map;
pub(crate) mod pins;
