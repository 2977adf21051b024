//! This process and its host: what it keeps from its neighbours (arguments that hold a key, core dumps), how many descriptors it
//! may have, and how long its end may take.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys::stdio;

/// Forbids core dumps and reading of our memory by other processes of the same user. Called before a key is loaded.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(io::Error::from)
}

/// Raises the soft limit of open descriptors to the hard one: each interface takes some thirty.
pub(crate) fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::debug!("the limit of open descriptors stays as it is: {error}");
    }
}

/// An error's text with what to do about it, where it is that too many descriptors are open.
pub(crate) fn explain_descriptor_limit(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let (per_process, per_system) =
        (io::Error::from_raw_os_error(libc::EMFILE), io::Error::from_raw_os_error(libc::ENFILE));
    if text.contains(&format!("(os error {})", libc::ENFILE)) && text.contains(&per_system.to_string()) {
        return format!("{text}; the whole system has no more: raise it with sysctl -w fs.file-max=N");
    }
    if !text.contains(&per_process.to_string()) {
        return text;
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or_else(|_| String::new(), |(_, hard)| format!(" ({hard})"));
    format!(
        "{text}; this process may have no more descriptors open than its hard limit{limit}, and each interface takes some \
         thirty: raise it with LimitNOFILE= in the unit, `ulimit -Hn`, or --ulimit nofile= of the container"
    )
}

/// Ends the process after this time if it has not ended by then, with status 1 and a message.
pub(crate) fn end_within(limit: Duration) {
    let end = move || {
        std::thread::sleep(limit);
        stdio::complain(
            "teaparty: the end takes too long and is cut short; a program may go on answering, `teaparty detach --all` \
             removes it",
        );
        // SAFETY: takes no pointers. Not exit(3), whose handlers could wait for what keeps us waiting.
        unsafe { libc::_exit(1) }
    };
    if let Err(error) = std::thread::Builder::new().name("end".into()).spawn(end) {
        tracing::debug!("nothing limits the end: {error}");
    }
}

/// Overwrites every occurrence of `secret` among the process's arguments with `x`, so that `/proc/<pid>/cmdline` and
/// `ps` show it no longer. Returns how many there were.
///
/// Must be called while the process has one thread: it writes to memory that others might read.
pub(crate) fn hide_argument(secret: &[u8]) -> io::Result<usize> {
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
    fn too_many_descriptors_are_told_with_limit_and_remedy() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let text = explain_descriptor_limit(format!("cannot do it: {}", io::Error::from_raw_os_error(libc::EMFILE)));
        for word in ["LimitNOFILE", "ulimit -Hn", &hard.to_string()] {
            assert!(text.contains(word), "no {word} in {text}");
        }
        assert_eq!(explain_descriptor_limit("something else"), "something else");
    }

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
