//! Help fits its screen, short help is short, and every table names what there is.

use clap::CommandFactory;

use super::*;
use crate::cli::Teaparty;

/// Every command with its path, the program itself first.
fn all(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    found.push((path.to_owned(), command.clone()));
    for inner in command.get_subcommands() {
        all(inner, format!("{path} {}", inner.get_name()).trim(), found);
    }
}

fn commands(length: Length) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    all(&dressed(Teaparty::command(), length), "", &mut found);
    found
}

#[test]
fn short_help_has_a_line_for_each_option_and_60_lines_at_most() {
    let mut faults = Vec::new();
    for (path, mut command) in commands(Length::Short) {
        let text = command.render_help().to_string();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        if lines.len() > 60 {
            faults.push(format!("{path} has {} lines", lines.len()));
        }
        let is_cut = |line: &&&str| line.chars().count() > 80;
        faults.extend(lines.iter().filter(is_cut).map(|line| format!("{path}: {line}")));
        let is_torn = |line: &&&str| line.ends_with('…');
        faults.extend(lines.iter().filter(is_torn).map(|line| format!("{path} has no room for: {line}")));
        for arg in command.get_arguments().filter(|arg| !tables::is_rare(&path, arg)) {
            let Some(long) = arg.get_long() else { continue };
            let option = format!("--{long}");
            let is_its = |line: &&&str| line.split_whitespace().take(2).any(|word| word == option);
            if lines.iter().filter(is_its).count() != 1 {
                faults.push(format!("{path}: {option} has not one line"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn long_help_groups_options_and_ends_with_examples() {
    for (path, mut command) in commands(Length::Long) {
        let text = command.render_long_help().to_string();
        assert!(text.contains("\nGeneral options:\n"), "{path}:\n{text}");
        if !examples(&path).is_empty() {
            assert!(text.contains("\nExamples:\n"), "{path}:\n{text}");
        }
        if ["sender", "reflector"].contains(&&*path) {
            assert!(!text.contains("\nOptions:\n"), "every option of {path} has a heading:\n{text}");
        }
        if path == "sender" {
            for heading in ["What to measure:", "Schedule:", "Packet:", "Time:", "Output:", "Thresholds", "TLVs:"] {
                assert!(text.contains(&format!("\n{heading}")), "{heading} is missing:\n{text}");
            }
            for word in ["far end", "near end", "residence", "pacing error", "hex:", "16 octets"] {
                assert!(text.contains(word), "{word}:\n{text}");
            }
        }
    }
}

#[test]
fn tables_name_commands_and_options_that_exist() {
    let commands = commands(Length::Long);
    for (path, command) in &commands {
        for Example { words, .. } in examples(path) {
            let words = words.trim_start_matches("source <(").split(['>', ')']).next().unwrap();
            let words: Vec<&str> = words.split_whitespace().collect();
            // The files and hosts of an example need not exist: only its words are parsed.
            let parsed = dressed(Teaparty::command(), Length::Long).try_get_matches_from(&words);
            let is_help = |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayHelp;
            assert!(parsed.as_ref().err().is_none_or(is_help), "{words:?}: {}", parsed.unwrap_err());
        }
        assert!(examples(path).is_empty() || command.get_about().is_some(), "{path}");
    }
    assert!(commands.iter().any(|(path, _)| path == "sender tlvs"), "its examples are shown");
    for (path, option) in tables::named() {
        let (_, command) = commands.iter().find(|(known, _)| known == path).unwrap_or_else(|| panic!("no {path}"));
        assert!(command.get_arguments().any(|arg| arg.get_long() == Some(option)), "{path} has no --{option}");
    }
}

#[test]
fn man_pages_have_the_sections_that_readers_look_for() {
    let folder = tempfile::tempdir().unwrap();
    man::write_all(&dressed(Teaparty::command(), Length::Long), "", folder.path()).unwrap();
    for name in ["teaparty.1", "teaparty-sender.1", "teaparty-reflector.1", "teaparty-status.1"] {
        let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
        for section in ["NAME", "SYNOPSIS", "EXAMPLES", "EXIT STATUS", "FILES", "ENVIRONMENT"] {
            let is_head = |line: &str| line.trim_start_matches(".SH ").trim_matches('"') == section;
            assert!(page.lines().any(|line| line.starts_with(".SH") && is_head(line)), "{name}: {section}\n{page}");
        }
    }
}

#[test]
fn shells_complete_values() {
    use clap_complete::Shell;
    let script = |shell| shells::script(Teaparty::command(), shell);
    let bash = script(Shell::Bash);
    for part in ["$(command ls /sys/class/net", "voiceadmit", "history=244", "class-of-service-v2"] {
        assert!(bash.contains(part), "{part}");
    }
    assert!(script(Shell::Zsh).contains(":_net_interfaces"));
    assert!(script(Shell::Fish).contains("(command ls /sys/class/net)"));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
        assert!(!script(shell).contains("TEAPARTY_INTERFACES"), "{shell}");
    }
}
