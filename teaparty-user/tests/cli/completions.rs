//! Completions as a shell makes them: the script is sourced, and asked what may follow.

use std::process::Command;

use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::Dscp;

/// bash-completion, where it is installed: the script must work with it and without.
const PACKAGE: &str = "/usr/share/bash-completion/bash_completion";

/// Returns the output of a shell that runs this text, with the program on its path.
fn shell(program: &str, options: &[&str], text: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_teaparty")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(options).args(["-c", text]).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{program}: {} {error}\n{text}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the words that bash offers after these, of which the last is being typed.
fn bash(prelude: &str, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let [.., before, last] = quoted.as_slice() else { panic!("{words:?}") };
    let text = format!(
        "set -u\n{prelude}\nsource <(teaparty completions bash)\n\
         # The function that bash itself would call.\n\
         read -ra spec <<<\"$(complete -p teaparty)\"\n\
         for at in \"${{!spec[@]}}\"; do [[ ${{spec[at]}} == -F ]] && name=${{spec[at+1]}}; done\n\
         COMP_WORDS=({}); COMP_CWORD={}; COMP_LINE=\"${{COMP_WORDS[*]}}\"; COMP_POINT=${{#COMP_LINE}}\n\
         \"$name\" teaparty {last} {before} || true\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
    );
    shell("bash", &["--norc", "--noprofile"], &text).lines().map(str::to_owned).collect()
}

fn interfaces() -> Vec<String> {
    let names = std::fs::read_dir("/sys/class/net").unwrap().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.contains(&"lo".to_owned()), "{names:?}");
    names
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

#[test]
fn bash_completes_options_and_their_values() {
    let mut preludes = vec![String::new()];
    if std::path::Path::new(PACKAGE).exists() {
        preludes.push(format!("set +u; source {PACKAGE}"));
    }
    for prelude in preludes {
        let offered = |words: &[&str]| bash(&prelude, words);
        let interfaces = interfaces();
        for words in [
            &["teaparty", "reflector", "--iface", ""][..],
            &["teaparty", "reflector", "-i", ""],
            &["teaparty", "doctor", "--iface", ""],
            &["teaparty", "detach", "--iface", ""],
            &["teaparty", "sender", "192.0.2.1", "--interface", ""],
        ] {
            assert_eq!(sorted(offered(words)), interfaces, "{words:?}");
        }
        assert_eq!(offered(&["teaparty", "reflector", "--iface", "l"]), ["lo"]);
        let names: Vec<String> = Dscp::NAMED.iter().map(|(name, _)| (*name).to_owned()).collect();
        let dscps = offered(&["teaparty", "sender", "--dscp", ""]);
        assert_eq!(sorted(dscps), sorted(names.clone()));
        assert_eq!(offered(&["teaparty", "sender", "--dscp", "af4"]), ["af41", "af42", "af43"]);
        let of_a_tlv = offered(&["teaparty", "sender", "a.example", "tlvs", "class-of-service", "--dscp", ""]);
        assert_eq!(sorted(of_a_tlv), sorted(names));
        assert_eq!(offered(&["teaparty", "rep"]), ["report"]);
        assert_eq!(offered(&["teaparty", "sender", "--max-r"]), ["--max-rtt"]);
        assert_eq!(offered(&["teaparty", "completions", "ba"]), ["bash"]);
        assert_eq!(sorted(offered(&["teaparty", "status", "--format", ""])), ["human", "json"]);
    }
}

#[test]
fn bash_completes_the_names_of_tlvs_that_a_sender_can_send() {
    // All of the registry but those that come back in the place of others and those that only reflectors send.
    let sendable = Command::new(env!("CARGO_BIN_EXE_teaparty")).args(["sender", "tlvs", "-h"]).output().unwrap();
    let help = String::from_utf8(sendable.stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let sendable: Vec<String> = commands
        .take_while(|line| line.starts_with("  "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(REGISTRY.iter().filter(|entry| sendable.contains(&entry.name.to_owned())).count() >= 15, "{help}");
    for words in [
        &["teaparty", "sender", "a.example", "tlvs", ""][..],
        &["teaparty", "sender", "tlvs", ""],
        // A further TLV.
        &["teaparty", "sender", "a.example", "tlvs", "time", "--", ""],
        &["teaparty", "sender", "a.example", "tlvs", "class-of-service", "--dscp", "ef", "--", ""],
    ] {
        let offered: Vec<String> = bash("", words).into_iter().filter(|word| !word.starts_with('-')).collect();
        for name in &sendable {
            assert!(offered.contains(name), "{words:?} offers no {name}: {offered:?}");
        }
    }
    assert_eq!(bash("", &["teaparty", "sender", "a.example", "tlvs", "loc"]), ["location"]);
    assert_eq!(bash("", &["teaparty", "sender", "a.example", "tlvs", "time", "--", "loc"]), ["location"]);
}

/// Asks a shell that need not be there.
fn other_shell(program: &str, options: &[&str], text: &str) -> Option<String> {
    if Command::new(program).arg("--version").output().is_err() {
        println!("{program} is not installed: its completions are not tried");
        return None;
    }
    Some(shell(program, options, text))
}

#[test]
fn fish_completes_values_where_it_is_installed() {
    let ask = |words: &str| {
        let text = format!("teaparty completions fish | source; complete --do-complete '{words}'");
        let offered = other_shell("fish", &["--no-config"], &text)?;
        Some(offered.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect::<Vec<_>>())
    };
    let Some(offered) = ask("teaparty reflector --iface ") else { return };
    assert!(interfaces().iter().all(|name| offered.contains(name)), "{offered:?}");
    assert_eq!(ask("teaparty sender --dscp af4").unwrap(), ["af41", "af42", "af43"]);
    assert!(ask("teaparty sender a.example tlvs loc").unwrap().contains(&"location".to_owned()));
}

#[test]
fn zsh_takes_the_script_where_it_is_installed() {
    let text = "autoload -U compinit; compinit -D -u; source <(teaparty completions zsh); print ${_comps[teaparty]}";
    let Some(name) = other_shell("zsh", &["-f"], text) else { return };
    assert_eq!(name, "_teaparty\n");
}
