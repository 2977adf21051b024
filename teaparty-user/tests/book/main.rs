//! Runs every command of README and book, and compares what comes with what the pages show. Root is needed; pages run in
//! parallel, each in namespaces of its own.
//!
//! A page names its lab in a comment, `<!-- lab: pair -->` or `<!-- lab: host -->`. `console` blocks are terminal sessions:
//! lines that begin with `# ` or `$ ` are commands, those after them their output, in which numbers match numbers and `…` any
//! lines. A command without output has to succeed only. Attributes of the block are `at=b.example`, `background`, `status=3`
//! and `not-run=REASON`. Blocks with `file=NAME` are written before the next command.

mod lab;
mod output;
mod page;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::Running;
use page::{Block, Kind, Page, Session};
use teaparty_testing::skip::or_skip;

/// Most lines of what came, in the report of a mismatch.
const REPORTED: usize = 60;

/// Time without a word after which a command has said all, and after which one that says nothing is taken for ready.
const QUIET: Duration = Duration::from_millis(700);
const SILENCE: Duration = Duration::from_secs(3);

/// The name of a configuration that the page gives none.
const UNNAMED: &str = "unnamed.toml";

/// Makes a test of each page.
macro_rules! pages {
    ($($test:ident = $page:literal;)*) => {
        /// The pages with something to run.
        const PAGES: &[&str] = &[$($page),*];

        $(#[test] fn $test() { check($page); })*
    };
}

pages! {
    readme = "README.md";
    access_limits = "docs/guides/access-limits.md";
    api = "docs/guides/api.md";
    authenticated = "docs/guides/authenticated.md";
    capture = "docs/guides/capture.md";
    ci_cron = "docs/guides/ci-cron.md";
    configuration = "docs/guides/configuration.md";
    containers = "docs/guides/containers.md";
    dashboard = "docs/guides/dashboard.md";
    firewalls = "docs/guides/firewalls.md";
    hardening = "docs/guides/hardening.md";
    interfaces = "docs/guides/interfaces.md";
    no_answer = "docs/guides/no-answer.md";
    one_way_delay = "docs/guides/one-way-delay.md";
    probe = "docs/guides/probe.md";
    provisioned = "docs/guides/provisioned.md";
    sending = "docs/guides/sending.md";
    service = "docs/guides/service.md";
    tlvs = "docs/guides/tlvs.md";
    twamp_light = "docs/guides/twamp-light.md";
    upgrade = "docs/guides/upgrade.md";
    wireshark = "docs/guides/wireshark.md";
    first_path = "docs/tutorial/first-path.md";
    prometheus_alert = "docs/tutorial/prometheus-alert.md";
    two_sites = "docs/tutorial/two-sites.md";
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(page: &str) -> Page {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    text.parse().unwrap_or_else(|error| panic!("{page}:{error}"))
}

/// Returns README and all pages of the book.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Does what a page says. Fails with all that is otherwise.
fn check(page: &str) {
    let Page { lab, blocks } = read(page);
    let Some(mut lab) = or_skip(Running::start(lab)) else { return };
    let problems = run(&mut lab, &blocks);
    assert!(problems.is_empty(), "{}", problems.iter().map(|one| format!("{page}:{one}\n")).collect::<String>());
}

/// Runs the blocks in their order; returns what was otherwise than shown.
fn run(lab: &mut Running, blocks: &[Block]) -> Vec<String> {
    let mut problems = Vec::new();
    for Block { line, kind } in blocks {
        let found = match kind {
            Kind::Session(session) => run_session(lab, session),
            Kind::File { name, text } => {
                lab.write(name, text);
                if name.ends_with(".toml") { check_configuration(lab, name) } else { Vec::new() }
            }
            Kind::Configuration(text) => {
                lab.write(UNNAMED, text);
                check_configuration(lab, UNNAMED)
            }
            Kind::NotRun(reason) => {
                println!("not run, line {line}: {reason}");
                Vec::new()
            }
        };
        problems.extend(found.into_iter().map(|what| format!("{line}: {what}")));
    }
    problems
}

/// Has the program say what is wrong with a configuration: of a probe, if its name says so, and else of a reflector.
fn check_configuration(lab: &Running, name: &str) -> Vec<String> {
    let check = match name.contains("probe") {
        true => format!("teaparty probe --check --config {name}"),
        false => format!("teaparty config check {name}"),
    };
    let ended = lab.run(None, &check);
    if ended.status == 0 { Vec::new() } else { vec![format!("the configuration is refused:\n{}", ended.output)] }
}

fn run_session(lab: &mut Running, session: &Session) -> Vec<String> {
    let at = session.at.as_deref();
    let mut problems = Vec::new();
    for (number, command) in (1..).zip(&session.commands) {
        let is_last = number == session.commands.len();
        let as_shown = |came: &str| command.output.is_empty() || output::matches(&command.output, came);
        let (came, status, expected) = if is_last && session.is_background {
            // A reflector says when it is ready. Others are, where nothing is shown, when they have said what they have to say.
            let is_enough = |came: &str, quiet: Duration| match command.output.is_empty() {
                true if command.words.contains("teaparty reflector") => came.contains("is ready"),
                true => quiet > if came.is_empty() { SILENCE } else { QUIET },
                false => as_shown(came),
            };
            match lab.leave(at, &command.words, is_enough) {
                Ok(came) => (came, 0, 0),
                Err(ended) => {
                    problems
                        .push(format!("`{}` ended, with status {}:\n{}", command.words, ended.status, ended.output));
                    continue;
                }
            }
        } else {
            let ended = lab.run(at, &command.words);
            (ended.output, ended.status, if is_last { session.status } else { 0 })
        };
        let shown = || came.lines().take(REPORTED).collect::<Vec<_>>().join("\n");
        if status != expected {
            problems.push(format!("`{}` ended with status {status}, and not {expected}:\n{}", command.words, shown()));
        } else if !as_shown(&came) {
            problems.push(format!("`{}` says otherwise:\n{}", command.words, shown()));
        }
    }
    problems
}

#[test]
fn every_page_can_be_read_and_those_with_commands_are_run() {
    let (mut not_run, mut commands) = (Vec::new(), 0);
    for document in documents() {
        let page = read(&document);
        let runs = |block: &Block| !matches!(block.kind, Kind::NotRun(_));
        let is_listed = PAGES.contains(&document.as_str());
        assert_eq!(page.blocks.iter().any(runs), is_listed, "{document}: PAGES lists it, or does not, wrongly");
        for Block { line, kind } in page.blocks {
            match kind {
                Kind::NotRun(reason) => not_run.push(format!("{document}:{line}: {reason}")),
                Kind::Session(session) => commands += session.commands.len(),
                Kind::File { .. } | Kind::Configuration(_) => {}
            }
        }
    }
    println!("{commands} commands are run; blocks that are not:\n{}", not_run.join("\n"));
    assert!(commands > 50, "{commands}");
}

#[test]
fn what_is_otherwise_than_shown_is_found() {
    let Some(mut lab) = or_skip(Running::start(page::Lab::Host)) else { return };
    let mut problems = |text: &str| run(&mut lab, &text.parse::<Page>().unwrap().blocks);
    for right in [
        "```console\n# echo 5 packets\n4 packets\n# false || true\n# echo one; echo two\n…\ntwo\n```\n",
        "```text,file=a/x\nhello\n```\n```console,status=3\n# cat a/x; exit 3\nhello\n```\n",
        "```console,background\n# echo ready; sleep 60\nready\n```\n```console\n# pgrep --count --full 'sleep 6[0]'\n1\n```\n",
        "```toml\niface = [\"lo\"]\n```\n",
    ] {
        assert_eq!(problems(right), [""; 0], "{right}");
    }
    for (wrong, what) in [
        ("```console\n# echo one\ntwo\n```\n", "1: `echo one` says otherwise:\none"),
        ("```console\n# true\n# false\n```\n", "1: `false` ended with status 1, and not 0"),
        ("```console,status=3\n# exit 4\n```\n", "1: `exit 4` ended with status 4, and not 3"),
        ("```console,status=3\n# false\n# exit 3\n```\n", "1: `false` ended with status 1, and not 0"),
        ("```console,background\n# echo soon\nsoon\nlater\n```\n", "1: `echo soon` ended, with status 0"),
        ("```console\n# nosuchprogram\n```\n", "1: `nosuchprogram` ended with status 127"),
        ("```toml\nifaces = 1\n```\n", "1: the configuration is refused"),
    ] {
        let found = problems(wrong);
        assert!(found.len() == 1 && found[0].starts_with(what), "{wrong}: {found:?}");
    }
}
