//! Help in two lengths: `-h` has one line for each option, `--help` explains them and ends with examples.
//!
//! Headings, short lines and examples stand in `tables`; man pages are made of the same ([`man`]). An option that no table
//! knows is shown all the same, without a heading of its own.

pub mod man;
pub mod shells;
mod tables;

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

use crate::layout::{clip, columns};

pub use tables::{ENVIRONMENT, EXIT_STATUS, Example, FILES, examples, explanation};

/// Heading of the options that every command has.
const GENERAL: &str = "General options";
/// Columns of an option with its value in short help; longer ones move their text to the right.
const OPTION_COLUMNS: usize = 30;

/// The kind of help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `-h`.
    Short,
    /// `--help`, and `help COMMAND`.
    Long,
}

/// Returns the command with headings, examples and the help of this length, for all its subcommands too.
pub fn dressed(command: Command, length: Length) -> Command {
    let globals: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    dress(command, "", &globals, length)
}

fn dress(command: Command, path: &str, globals: &[Arg], length: Length) -> Command {
    let ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let mut command = ids.into_iter().fold(command, |command, id| {
        command.mut_arg(&id, |arg| match heading(path, &arg) {
            Some(heading) => arg.help_heading(heading),
            None => arg,
        })
    });
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help_heading(GENERAL);
    command = command
        .disable_help_flag(true)
        .arg(help.help("Print help: -h one line for each option, --help all of it with examples"))
        .term_width(columns());
    if path.is_empty() {
        let version = Arg::new("version").short('V').long("version").action(ArgAction::Version).help_heading(GENERAL);
        command = command.disable_version_flag(true).arg(version.help("Print the version"));
    }
    if let Some(after) = after(&command, path) {
        command = command.after_long_help(after);
    }
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    for name in names {
        let inner = format!("{path} {name}").trim().to_owned();
        command = command.mut_subcommand(&name, |command| dress(command, &inner, globals, length));
    }
    if length == Length::Short {
        let text = short(&command, path, globals);
        command = command.override_help(text);
    }
    command
}

fn heading(path: &str, arg: &Arg) -> Option<&'static str> {
    if arg.is_positional() {
        return None;
    }
    if arg.is_global_set() {
        return Some(GENERAL);
    }
    tables::heading(path, arg.get_long()?)
}

/// Returns the text after the options in long help: explanations, examples, exit status.
fn after(command: &Command, path: &str) -> Option<String> {
    let mut text = command.get_after_help().map(|after| format!("{after}\n\n")).unwrap_or_default();
    if let Some(explanation) = explanation(path) {
        let _ = writeln!(text, "{explanation}\n");
    }
    let examples = examples(path);
    if !examples.is_empty() {
        text += "Examples:\n";
        for Example { words, what } in examples {
            let _ = writeln!(text, "  {what}:\n      {words}");
        }
        text.push('\n');
    }
    if path.is_empty() || path == "sender" {
        text += "Exit status:\n";
        for (status, what) in EXIT_STATUS {
            let _ = writeln!(text, "  {status}  {what}");
        }
    }
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns short help: a line each for the command, its usage, its subcommands and its options.
fn short(command: &Command, path: &str, globals: &[Arg]) -> String {
    let width = columns();
    let mut lines = vec![command.get_about().map(first_sentence).unwrap_or_default()];
    let words: Vec<String> = command
        .get_positionals()
        .filter(|arg| !arg.is_hide_set())
        .map(|arg| if arg.is_required_set() { value(arg) } else { format!("[{}]", value(arg)) })
        .collect();
    let has_commands = command.has_subcommands();
    let usage = ["Usage: teaparty", path, "[OPTIONS]", &words.join(" "), if has_commands { "[COMMAND]" } else { "" }];
    lines.push(usage.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "));
    if has_commands {
        lines.push("Commands:".into());
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            let about = inner.get_about().map(first_sentence).unwrap_or_default();
            lines.push(format!("  {:<13} {about}", inner.get_name()));
        }
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let own = command.get_arguments().filter(|arg| !arg.is_positional());
    let inherited = globals.iter().filter(|_| !path.is_empty());
    for arg in own.chain(inherited).filter(|arg| !arg.is_hide_set() && !tables::is_rare(path, arg)) {
        let heading = arg.get_help_heading().or(arg.is_global_set().then_some(GENERAL)).unwrap_or("Options");
        let line = option_line(path, arg);
        match groups.iter_mut().find(|(name, _)| name == heading) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((heading.to_owned(), vec![line])),
        }
    }
    // General options come last.
    groups.sort_by_key(|(name, _)| name == GENERAL);
    for (name, options) in groups {
        lines.push(format!("{name}:"));
        lines.extend(options);
    }
    if command.get_arguments().any(|arg| tables::is_rare(path, arg)) {
        lines.push("More options, and examples: --help".into());
    }
    lines.iter().map(|line| clip(line, width)).collect::<Vec<_>>().join("\n")
}

fn option_line(path: &str, arg: &Arg) -> String {
    let short = arg.get_short().map_or("    ".into(), |short| format!("-{short}, "));
    let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let takes_value = arg.get_action().takes_values() && !tables::is_flag(arg);
    let value = if takes_value { format!(" {}", value(arg)) } else { String::new() };
    let option = format!("  {short}{long}{value}");
    let text = match tables::short(path, arg.get_long().unwrap_or_default()) {
        Some(text) => text.to_owned(),
        None => arg.get_help().map(first_sentence).unwrap_or_default(),
    };
    let default: Vec<String> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into()).collect();
    let default = match default.join(", ") {
        _ if text.ends_with(']') => String::new(),
        default if takes_value && !default.is_empty() && !arg.is_hide_default_value_set() => format!(" [{default}]"),
        _ => String::new(),
    };
    format!("{option:<OPTION_COLUMNS$} {text}{default}")
}

fn value(arg: &Arg) -> String {
    let choices: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match arg.get_value_names() {
        Some([name]) if (1..=3).contains(&choices.len()) && **name == *arg.get_id().as_str().to_ascii_uppercase() => {
            choices.join("|")
        }
        Some(names) => names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" "),
        None => arg.get_id().to_string().to_ascii_uppercase(),
    }
}

/// Returns the first sentence or clause of a help text, without its end.
fn first_sentence(text: &StyledStr) -> String {
    let text = text.to_string();
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = [". ", "; ", ", as ", ": "].iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let text = text[..end].trim_end_matches('.');
    // The default has a place of its own at the end of the line.
    match text.split_once(" [default: ") {
        Some((text, default)) => format!("{text} [{}", default),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
