//! Calls in other network namespaces, each on a thread of its own, so that the test's own thread stays where it is.

use std::fs::File;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// Calls `f` in the namespace of this name.
pub(crate) fn inside<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let file = File::open(format!("/run/netns/{namespace}")).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Calls `f` in a new namespace that has nothing but `lo`; fails if this process may not create one.
pub fn alone<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace: {error}"))?;
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            if !up.is_ok_and(|status| status.success()) {
                return Err("`ip link set lo up` fails".to_owned());
            }
            Ok(f())
        };
        scope.spawn(run).join().unwrap()
    })
}
