//! Runs other programs: quietly while they succeed, with all they said when they fail.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The time after which a build says that it builds, and then that it still does.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);
const REPEATED_AFTER: Duration = Duration::from_secs(15);

/// Runs `command` and returns what it wrote to stdout, without the last newline.
///
/// Fails, with all output in the error, if it cannot be started or does not end with status 0.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}):\n{stdout}{stderr}", shown(command), output.status);
    }
    Ok(stdout.trim_end_matches('\n').to_owned())
}

/// Runs `command` and hands over each line of its stdout and stderr as it comes.
///
/// Fails like [`capture`].
pub fn follow(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let (sender, lines) = mpsc::channel();
    let readers = [
        child.stdout.take().map(|pipe| forward(pipe, sender.clone())),
        child.stderr.take().map(|pipe| forward(pipe, sender)),
    ];
    let mut said = String::new();
    for line in lines {
        on_line(&line);
        said += &line;
        said.push('\n');
    }
    for reader in readers.into_iter().flatten() {
        reader.join().expect("a reader only reads and sends");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status}):\n{}", shown(command), said.trim_end());
    }
    Ok(())
}

/// Runs `command` with our own stdin, stdout and stderr.
///
/// Fails if it cannot be started or does not end with status 0; what it said has then been seen.
pub fn show(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Returns true if this process may do what root may.
///
/// By the owner of its folder in /proc: a crate that asks the kernel is a third of what xtask would compile.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

/// `program` as root: as it is when we are root already, through sudo otherwise.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Runs this program again through sudo, with `arguments`, if root is needed; returns true if it did.
///
/// Fails if the other one does.
pub fn again_as_root(arguments: &[OsString]) -> Result<bool> {
    if is_root() {
        return Ok(false);
    }
    let itself = std::env::current_exe().context("cannot find the program itself")?;
    show(as_root(itself).args(arguments)).map(|()| true)
}

/// The cargo that runs us, in the environment in which a user would call it.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_package(command.current_dir(crate::paths::root()));
    command
}

/// Hides from `command` what `cargo run` says about the package that it runs.
///
/// Build scripts are run again when a variable that they read has changed, and ring's reads some of these: with them, every
/// build from here and every `cargo build` by hand would compile ring and all that needs it.
pub fn without_package(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// Returns true if `cargo run` sets this variable for the package that it runs.
fn is_of_package(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_BIN_", "CARGO_MANIFEST_"];
    let alone = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || alone.contains(&name)
}

/// Runs `command`, which builds `what`, with our own stdin, stdout and stderr; says so on stderr if it takes longer than a
/// second, and how long it has taken from time to time.
///
/// Fails like [`show`].
pub fn build(what: &str, command: &mut Command) -> Result<()> {
    announced(what, [ANNOUNCED_AFTER, REPEATED_AFTER], |line| eprintln!("{line}"), || show(command))
}

/// Does `work`, which builds `what`. If that takes longer than the first of `waits`, says so, after each of the second
/// again, and at the end.
fn announced<T>(what: &str, waits: [Duration; 2], say: impl Fn(String) + Sync, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let (working, end) = mpsc::channel::<()>();
    let say = &say;
    thread::scope(|scope| {
        let announcer = scope.spawn(move || {
            // Nothing is ever sent: a wait ends early when the sender is dropped.
            let is_working = |end: &mpsc::Receiver<()>, wait| end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
            let mut is_announced = false;
            while is_working(&end, waits[usize::from(is_announced)]) {
                let so_far = if is_announced { format!(": {:.0?} so far", started.elapsed()) } else { String::new() };
                say(format!("Building {what}{so_far} …"));
                is_announced = true;
            }
            is_announced
        });
        let result = work();
        drop(working);
        if announcer.join().expect("the announcer only waits and prints") {
            say(format!("Building {what}: ended after {:.0?}", started.elapsed()));
        }
        result
    })
}

/// The first program of this name on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The command line as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The message that `command` cannot be started, with what to do about it where that is known.
pub fn cannot_start(command: &Command) -> String {
    let is_sudo_missing = command.get_program() == "sudo" && find("sudo").is_none();
    let remedy = if is_sudo_missing { "; this needs root: run it as root, or install sudo" } else { "" };
    format!("cannot start `{}`{remedy}", shown(command))
}

/// Returns the exit status that `result` stands for, after printing its error.
// `main` cannot return the error itself, which would print a backtrace where RUST_BACKTRACE is set.
pub fn exit(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn forward(pipe: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        // `lines` would end at the first octet that is not UTF-8.
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_shows_what_was_said_on_both_outputs() {
        let script = "echo to stdout; echo to stderr >&2; exit 3";
        for error in [capture(&mut shell(script)).unwrap_err(), follow(&mut shell(script), |_| ()).unwrap_err()] {
            let text = format!("{error:#}");
            assert!(["to stdout", "to stderr", "exit status: 3"].iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn lines_are_handed_over_and_need_not_be_utf_8() {
        let mut lines = Vec::new();
        follow(&mut shell("echo one; printf 'two \\377\\n'"), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two \u{fffd}"]);
    }

    #[test]
    fn cargo_is_called_as_a_user_would_call_it() {
        // Cargo has set it for this test as it does for xtask.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && std::env::var_os("CARGO_PKG_NAME").is_some());
        let variables = capture(without_package(&mut Command::new("env"))).unwrap();
        let left: Vec<&str> = variables.lines().filter(|line| is_of_package(line)).collect();
        assert_eq!(left, [""; 0]);
        assert!(variables.contains("PATH="), "{variables}");
        assert!(cargo().get_envs().any(|(name, value)| name == "CARGO_MANIFEST_DIR" && value.is_none()));
    }

    #[test]
    fn only_a_build_that_takes_long_says_so() {
        let said = std::sync::Mutex::new(Vec::new());
        let say = |line: String| said.lock().unwrap().push(line);
        let [short, long] = [Duration::from_millis(10), Duration::from_secs(3600)];
        assert_eq!(announced("x", [long, long], say, || 1), 1);
        assert_eq!(*said.lock().unwrap(), [""; 0]);
        announced("x", [short, short], say, || {
            // Until the announcer has spoken twice, however late it gets a processor.
            while said.lock().unwrap().len() < 2 {
                thread::yield_now();
            }
        });
        let said = said.into_inner().unwrap();
        assert_eq!(said[0], "Building x …");
        assert!(
            said[1].ends_with(" so far …") && said.last().unwrap().starts_with("Building x: ended after "),
            "{said:?}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = capture(&mut Command::new("/does/not/exist")).unwrap_err();
        assert!(format!("{error:#}").contains("/does/not/exist"));
    }
}
