//! The layout of a new session table.

use std::io;

use rustix::rand::GetRandomFlags;
use teaparty_common::maps::session_table::TableLayout;

/// Returns the layout of a new table for this many sessions, with a random seed.
///
/// # Errors
/// Fails where the system gives no random numbers.
pub fn new_layout(max_sessions: u32) -> io::Result<TableLayout> {
    let mut seed = [[0u8; 8]; 5];
    for word in &mut seed {
        rustix::rand::getrandom(&mut *word, GetRandomFlags::empty())?;
    }
    Ok(TableLayout::new(max_sessions, seed.map(u64::from_ne_bytes)))
}
