//! The live view in a real terminal: what tmux shows of it, what keys do, and what is left on the screen afterwards.
//!
//! Needs tmux; skipped without.

use std::process::Command;
use std::time::{Duration, Instant};

use teaparty_testing::sender::{Act, Behaviour, Reflector};
use teaparty_testing::skip::or_skip;

/// A terminal with a server of its own, that ends with it.
struct Terminal {
    socket: tempfile::TempDir,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

impl Terminal {
    /// Runs a shell command in one of 110 by 30; `None`, having said so, where there is no tmux.
    fn start(command: &str) -> Option<Self> {
        let is_there = Command::new("tmux").arg("-V").output().map_err(|error| format!("cannot start tmux: {error}"));
        or_skip(is_there)?;
        let terminal = Self { socket: tempfile::tempdir().unwrap() };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "30", command]).unwrap();
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8").arg("-u").arg("-S").arg(self.socket.path().join("tmux"));
        let output = command.args(arguments).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).unwrap();
    }

    /// The screen, once `has` says that it is as it should be.
    fn wait_for(&self, what: &str, has: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]).unwrap();
            if has(&screen) {
                return screen;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what} does not show:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The fields of the line about a target.
fn fields<'a>(screen: &'a str, target: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.trim_start_matches('│').starts_with(target));
    line.map(|line| line.trim_matches('│').split_whitespace().collect()).unwrap_or_default()
}

#[test]
fn the_view_shows_targets_and_curves_keys_work_and_the_summary_stays() {
    let whole = Reflector::start("127.0.0.1", Behaviour::default());
    // Every fifth packet is lost on the way there, every seventh reply on the way back.
    let script = Box::new(|n| Act { lost_there: n % 5 == 4, lost_back: n % 7 == 6, ..Act::default() });
    let lossy = Reflector::start("127.0.0.1", Behaviour { script, ..Behaviour::default() });
    let [first, second] = [&whole, &lossy].map(|reflector| reflector.address.to_string());
    let program = env!("CARGO_BIN_EXE_teaparty");
    let command = format!("{program} sender {first} {second} -c 0 -i 10ms -W 200ms; echo status=$?; read wait");
    let Some(terminal) = Terminal::start(&command) else { return };
    let screen = terminal.wait_for("loss by direction", |screen| {
        let fields = fields(screen, &second);
        // Target, sent, loss and its unit, far end, near end, replies/s.
        fields.len() >= 7 && fields[4..6].iter().all(|count| count.parse().is_ok_and(|count: u64| count > 3))
    });
    for part in ["replies/s", "p99", "distribution of", "q stops", &format!("round trip of {first}")] {
        assert!(screen.contains(part), "{part} is missing:\n{screen}");
    }
    assert_eq!(fields(&screen, &first)[2], "0.00", "{screen}");
    // Bars of the sparkline or the histogram.
    assert!(screen.contains(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']), "{screen}");
    terminal.press("Down");
    let curve = format!("round trip of {second}");
    terminal.wait_for("the second target's curve", |screen| screen.contains(&curve) && screen.contains("× loss"));
    terminal.press("q");
    let screen = terminal.wait_for("the status", |screen| screen.contains("status="));
    assert!(screen.contains("status=0") && screen.contains("--- all 2 targets ---"), "{screen}");
    assert!(!screen.contains("q stops"), "the view is gone:\n{screen}");
}

#[test]
fn without_the_view_a_terminal_has_a_line_for_each_reply_while_they_come() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let command =
        format!("{} sender {} --plain -c 0 -i 50ms; read wait", env!("CARGO_BIN_EXE_teaparty"), reflector.address);
    let Some(terminal) = Terminal::start(&command) else { return };
    terminal.wait_for("the third reply", |screen| screen.contains(" seq=2 "));
    terminal.press("C-c");
    terminal.wait_for("the summary", |screen| screen.contains("0 lost (0.000 %)"));
}

#[test]
fn a_short_run_has_lines_unless_the_view_is_asked_for() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let run = |options: &str| {
        let program = env!("CARGO_BIN_EXE_teaparty");
        Terminal::start(&format!("{program} sender {} -i 50ms {options}; read wait", reflector.address))
    };
    let Some(terminal) = run("-c 10") else { return };
    let screen = terminal.wait_for("the summary", |screen| screen.contains("10 sent, 10 received"));
    assert!(screen.contains("seq=9 rtt="), "{screen}");
    drop(terminal);
    let Some(terminal) = run("-c 50 --live") else { return };
    terminal.wait_for("the view", |screen| screen.contains("q stops"));
    drop(terminal);
    let Some(terminal) = run("-c 100") else { return };
    terminal.wait_for("the view of a run of 5 s", |screen| screen.contains("q stops"));
}
