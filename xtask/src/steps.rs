//! Shows the present step and the progress: a spinner at a terminal, plain lines elsewhere. All of it on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// A known number of steps, run one after the other.
pub struct Steps {
    total: usize,
    done: usize,
}

impl Steps {
    /// Announces `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// Runs one step; `work` gets a function that shows the newest line of output beside the title.
    ///
    /// Fails with the error of `work`, after the title of the step.
    pub fn run<T>(&mut self, title: &str, work: impl FnOnce(&dyn Fn(&str)) -> Result<T>) -> Result<T> {
        self.done += 1;
        let count = format!("[{}/{}]", self.done, self.total);
        let started = Instant::now();
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&count, title));
        if spinner.is_none() {
            eprintln!("{count} {title} …");
        }
        let result = work(&|line| {
            if let Some(spinner) = &spinner {
                spinner.set_message(line.trim().to_owned());
            }
        });
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        let outcome = if result.is_ok() { "done in" } else { "failed after" };
        eprintln!("{count} {title}: {outcome} {:.0?}", started.elapsed());
        result.with_context(|| format!("failed: {title}"))
    }
}

/// Shows at a terminal what one long command says last; nothing elsewhere.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows a spinner with this title.
    pub fn new(title: &str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| spinner("", title)))
    }

    /// Shows the newest line.
    pub fn show(&self, line: &str) {
        if let Some(spinner) = &self.0 {
            spinner.set_message(line.trim().to_owned());
        }
    }

    /// Takes the spinner away.
    pub fn finish(self) {
        if let Some(spinner) = self.0 {
            spinner.finish_and_clear();
        }
    }
}

fn spinner(count: &str, title: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}").expect("the template is fixed");
    let spinner = ProgressBar::new_spinner().with_style(style).with_prefix(format!("{count} {title}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
