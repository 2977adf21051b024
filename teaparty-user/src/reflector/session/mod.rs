//! The sessions that the controller owns, and what the engines ask of all sessions.

pub mod lru;
pub mod session_store;
pub mod sessions;
pub mod table_layout;
