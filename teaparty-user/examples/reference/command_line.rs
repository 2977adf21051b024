//! The command line: every command with its options, defaults and values, as clap knows them.

use clap::{Arg, Command, CommandFactory};
use teaparty_user::cli::Teaparty;
use teaparty_user::cli::help::{Length, dressed, examples};

use crate::markdown::{code, head, plain, table};

const ABOUT: &str = "\
`teaparty COMMAND -h` shows one line for each option, `--help` all of this. Options that every command has are listed once, \
under `teaparty`. Keys of configuration files have the same names: see [Configuration files](configuration.md).";

pub(crate) fn page() -> String {
    let mut command = dressed(Teaparty::command(), Length::Long);
    command.build();
    head("Command line", "the options that the program reads", ABOUT) + &section(&command, "")
}

/// Returns the section of a command, and those of its subcommands after it.
fn section(command: &Command, path: &str) -> String {
    let name = format!("teaparty {path}");
    let depth = if path.split(' ').count() > 1 { "###" } else { "##" };
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n{depth} {}\n\n{}\n", name.trim(), plain(about.trim()));
    let usage = command.clone().render_usage().to_string();
    text += &format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage:").trim());
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help").collect();
    if !subcommands.is_empty() {
        let row = |inner: &&Command| {
            [code(inner.get_name()), plain(&inner.get_about().map(ToString::to_string).unwrap_or_default())]
        };
        text += &table(["command", "what it does"], subcommands.iter().map(row));
    }
    for (heading, options) in groups(command, path) {
        text += &format!("\n**{heading}**\n");
        text += &table(["option", "meaning", "default"], options.into_iter().map(row));
    }
    let examples = examples(path);
    if !examples.is_empty() {
        text += "\n**Examples**\n";
        text += &table(["to", "type"], examples.iter().map(|one| [plain(one.what), code(one.words)]));
    }
    for inner in subcommands {
        text += &section(inner, format!("{path} {}", inner.get_name()).trim());
    }
    text
}

/// Returns a command's own arguments and options by their headings, in the order of their first ones.
fn groups<'a>(command: &'a Command, path: &str) -> Vec<(String, Vec<&'a Arg>)> {
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    let is_own = |arg: &&Arg| {
        let is_general = arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        !arg.is_hide_set() && (path.is_empty() || !is_general)
    };
    for arg in command.get_arguments().filter(is_own) {
        let other = if arg.is_positional() { "Arguments" } else { "Options" };
        let heading = arg.get_help_heading().unwrap_or(other);
        match groups.iter_mut().find(|(name, _)| name == heading) {
            Some((_, group)) => group.push(arg),
            None => groups.push((heading.to_owned(), vec![arg])),
        }
    }
    groups
}

fn row(arg: &Arg) -> [String; 3] {
    let names = arg.get_value_names().unwrap_or_default().iter().map(|name| format!(" {name}")).collect::<String>();
    let takes_value = arg.get_action().takes_values();
    let value = if takes_value { names.as_str() } else { "" };
    let long = arg.get_long().map(|long| format!("--{long}{value}"));
    let option = match (arg.get_short(), long) {
        (Some(short), Some(long)) => format!("{}, {}", code(&format!("-{short}")), code(&long)),
        (None, Some(long)) => code(&long),
        (Some(short), None) => code(&format!("-{short}{value}")),
        (None, None) => code(value.trim()),
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = plain(help.trim());
    let values: Vec<_> = arg.get_possible_values();
    if takes_value && !values.is_empty() && !arg.is_hide_possible_values_set() {
        let one = |value: &clap::builder::PossibleValue| match value.get_help() {
            Some(help) => format!("{} ({})", code(value.get_name()), plain(&help.to_string())),
            None => code(value.get_name()),
        };
        let shown: Vec<String> = values.iter().filter(|value| !value.is_hide_set()).map(one).collect();
        meaning += &format!(". Values: {}", shown.join(", "));
    }
    let default: Vec<String> = arg.get_default_values().iter().map(|one| code(&one.to_string_lossy())).collect();
    let default = if takes_value && !arg.is_hide_default_value_set() { default.join(", ") } else { String::new() };
    [option, meaning, default]
}
