//! Says whether a test can run here, and leaves a line that counts it as skipped where it can't.

use std::fmt::Display;

/// Makes a skipped test a failed one: for machines that are known to have everything.
const DEMAND: &str = "TEAPARTY_TEST_DEMAND";

/// Returns the value, or prints `SKIPPED: name: reason` and returns `None`. With `TEAPARTY_TEST_DEMAND=1` it panics instead.
///
/// The name is the thread's: the test harness gives it that of the test.
pub fn or_skip<T, E: Display>(outcome: Result<T, E>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(reason) => {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            let demanded = std::env::var_os(DEMAND).is_some_and(|value| value == "1");
            assert!(!demanded, "{name} must run, says {DEMAND}, and can't: {reason}");
            println!("SKIPPED: {name}: {reason}");
            None
        }
    }
}
