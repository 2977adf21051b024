//! What this process keeps from its neighbours on the host: arguments that hold a key, and core dumps.

use std::io;

/// Forbids core dumps and reading of our memory by other processes of the same user. Called before a key is loaded.
pub fn forbid_dumps() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(io::Error::from)
}

/// Overwrites every occurrence of `secret` among the process's arguments with `x`, so that `/proc/<pid>/cmdline` and
/// `ps` show it no longer. Returns how many there were.
///
/// Must be called while the process has one thread: it writes to memory that others might read.
pub fn hide_argument(secret: &[u8]) -> io::Result<usize> {
    let (start, end) = argument_area(&std::fs::read_to_string("/proc/self/stat")?)
        .ok_or_else(|| io::Error::other("/proc/self/stat does not say where the arguments are"))?;
    if secret.is_empty() || end <= start {
        return Ok(0);
    }
    // SAFETY: the kernel put the arguments there, on this process's stack, and says where they begin and end. Nothing
    // in Rust refers to them: `std::env::args` hands out copies. There is no other thread that could read them.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    Ok(overwrite(area, secret))
}

/// The fields `arg_start` and `arg_end` (48 and 49) of proc_pid_stat(5).
fn argument_area(stat: &str) -> Option<(usize, usize)> {
    // The second field is a name in parentheses that may hold anything, spaces and parentheses included.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(48 - 3);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn overwrite(area: &mut [u8], secret: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    while at + secret.len() <= area.len() {
        if area[at..].starts_with(secret) {
            area[at..at + secret.len()].fill(b'x');
            at += secret.len();
            count += 1;
        } else {
            at += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_found_behind_any_process_name() {
        let mut stat = String::from("1234 (a) b) (c) S");
        for field in 4..=52 {
            stat += &format!(" {}", field * 1000);
        }
        assert_eq!(argument_area(&stat), Some((48_000, 49_000)));
        assert_eq!(argument_area("1 (x) S 1 2"), None);
    }

    #[test]
    fn every_occurrence_is_overwritten_in_place() {
        let mut area = *b"teaparty\0--authenticated\0key\0--authenticated=key\0";
        assert_eq!(overwrite(&mut area, b"key"), 2);
        assert_eq!(&area, b"teaparty\0--authenticated\0xxx\0--authenticated=xxx\0");
    }
}
