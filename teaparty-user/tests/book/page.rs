//! Reads a page: its lab, and its fenced blocks in their order. What a page may say is a closed list; anything else is refused.

use std::str::FromStr;

/// The hosts that a page's commands run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lab {
    /// One host with a loopback interface.
    Host,
    /// `a.example` and `b.example`, joined by a veth pair.
    Pair,
}

/// Why a block can't be run here.
const REASONS: [&str; 7] = [
    "needs-a-network",
    "needs-a-network-card",
    "needs-a-router",
    "needs-a-terminal",
    "needs-kubernetes",
    "needs-rust-toolchain",
    "needs-systemd-as-init",
];
/// Languages of blocks that show something and are not run.
const SHOWN: [&str; 10] = ["bash", "c", "ini", "json", "markdown", "promql", "rust", "text", "toml", "yaml"];

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) lab: Lab,
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block with something to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A terminal session.
    Session(Session),
    /// A file to write.
    File { name: String, text: String },
    /// A configuration of a reflector, to be checked.
    Configuration(String),
    /// A terminal session that can't be run here, and why.
    NotRun(&'static str),
}

/// Commands, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// The host, if it is not the lab's first one.
    pub(crate) at: Option<String>,
    /// True if the last command is left running.
    pub(crate) is_background: bool,
    /// The exit status of the last command.
    pub(crate) status: i32,
    pub(crate) commands: Vec<Command>,
}

/// A command and the output that the page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) words: String,
    pub(crate) output: Vec<String>,
}

/// A block as it stands in the page.
struct Fenced<'a> {
    line: usize,
    info: &'a str,
    lines: Vec<&'a str>,
}

impl FromStr for Page {
    type Err = String;

    /// Fails with `line: what`, at the first thing that a page can't say.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut page = Self { lab: lab(text)?, blocks: Vec::new() };
        for fenced in fenced(text)? {
            let line = fenced.line;
            let kind = kind(&fenced, page.lab).map_err(|what| format!("{line}: {what}"))?;
            page.blocks.extend(kind.map(|kind| Block { line, kind }));
        }
        Ok(page)
    }
}

fn lab(text: &str) -> Result<Lab, String> {
    let Some((_, rest)) = text.split_once("<!-- lab:") else { return Ok(Lab::Host) };
    match rest.split_once("-->").map_or("", |(name, _)| name.trim()) {
        "host" => Ok(Lab::Host),
        "pair" => Ok(Lab::Pair),
        other => Err(format!("1: there is no lab `{other}`; there are `host` and `pair`")),
    }
}

/// Returns all fenced blocks; what is indented loses the indentation of its fence.
fn fenced(text: &str) -> Result<Vec<Fenced<'_>>, String> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        let trimmed = text.trim_start();
        let Some(info) = trimmed.strip_prefix("```") else { continue };
        let ticks = trimmed.len() - trimmed.trim_start_matches('`').len();
        let (end, info) = (&trimmed[..ticks], info.trim_start_matches('`').trim());
        let indent = text.len() - trimmed.len();
        let mut inside = Vec::new();
        loop {
            match lines.next() {
                Some((_, text)) if text.trim() == end => break,
                Some((_, text)) => inside.push(text.get(indent..).unwrap_or(text.trim_start())),
                None => return Err(format!("{line}: the block has no end")),
            }
        }
        blocks.push(Fenced { line, info, lines: inside });
    }
    Ok(blocks)
}

fn kind(fenced: &Fenced<'_>, lab: Lab) -> Result<Option<Kind>, String> {
    let mut attributes = fenced.info.split(',').map(str::trim);
    let language = attributes.next().unwrap_or_default();
    let attributes: Vec<(&str, &str)> = attributes.map(|one| one.split_once('=').unwrap_or((one, ""))).collect();
    if language == "console" {
        return session(&fenced.lines, &attributes, lab).map(Some);
    }
    if !SHOWN.contains(&language) {
        return Err(format!("`{language}` blocks are refused: `console` is run, and shown are {}", SHOWN.join(", ")));
    }
    let text = fenced.lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    match attributes.as_slice() {
        [("file", name)] if !name.is_empty() && !name.contains("..") => {
            Ok(Some(Kind::File { name: (*name).to_owned(), text }))
        }
        [] if language == "toml" => Ok(Some(Kind::Configuration(text))),
        [] => Ok(None),
        [(name, value), ..] => Err(format!("`{language}` blocks know no `{name}={value}`")),
    }
}

fn session(lines: &[&str], attributes: &[(&str, &str)], lab: Lab) -> Result<Kind, String> {
    let mut session = Session { commands: commands(lines)?, ..Session::default() };
    for (name, value) in attributes {
        match *name {
            "at" if lab == Lab::Pair && ["a.example", "b.example"].contains(value) => {
                session.at = Some((*value).into())
            }
            "background" if value.is_empty() => session.is_background = true,
            "status" => session.status = value.parse().map_err(|_| format!("`{value}` is no exit status"))?,
            "not-run" => {
                let reason = REASONS.iter().find(|reason| *reason == value);
                let reason =
                    reason.ok_or(format!("`{value}` is no reason not to run; there are {}", REASONS.join(", ")))?;
                return Ok(Kind::NotRun(reason));
            }
            _ => return Err(format!("`console` blocks of this lab know no `{name}={value}`")),
        }
    }
    if session.is_background && session.status != 0 {
        return Err("what is left running has no exit status".into());
    }
    Ok(Kind::Session(session))
}

fn commands(lines: &[&str]) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut continues = false;
    for line in lines {
        let start = line.strip_prefix("# ").or(line.strip_prefix("$ "));
        match (commands.last_mut(), start) {
            (Some(command), _) if continues => command.words += &format!("\n{line}"),
            (_, Some(words)) => commands.push(Command { words: words.to_owned(), output: Vec::new() }),
            (Some(command), None) => command.output.push((*line).to_owned()),
            (None, None) => return Err(format!("a session begins with `# ` or `$ `, and not with `{line}`")),
        }
        let is_command = continues || start.is_some();
        continues = is_command && line.ends_with('\\');
    }
    if commands.is_empty() { Err("a session without a command".into()) } else { Ok(commands) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        text.parse::<Page>().unwrap().blocks.into_iter().map(|block| block.kind).collect()
    }

    #[test]
    fn a_session_is_read_with_its_commands_outputs_and_attributes() {
        let text = "<!-- lab: pair -->\n```console,at=b.example,status=3\n# one \\\n  more\nout\n\n$ two\n```\n";
        let command = |words: &str, output: &[&str]| Command {
            words: words.into(),
            output: output.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            kinds(text),
            [Kind::Session(Session {
                at: Some("b.example".into()),
                is_background: false,
                status: 3,
                commands: vec![command("one \\\n  more", &["out", ""]), command("two", &[])],
            })]
        );
    }

    #[test]
    fn files_and_configurations_are_read_and_other_blocks_show_something() {
        let text = "```toml,file=x.toml\na = 1\n```\n- x\n  ```toml\n  a = 1\n  ```\n```text\nx\n```\n````markdown\n```console\n```\n````\n";
        assert_eq!(
            kinds(text),
            [Kind::File { name: "x.toml".into(), text: "a = 1\n".into() }, Kind::Configuration("a = 1\n".into())]
        );
        let text = "```console,not-run=needs-a-router\n# show version\n```\n";
        assert_eq!(kinds(text), [Kind::NotRun("needs-a-router")]);
    }

    #[test]
    fn what_a_page_can_not_say_is_refused_with_its_line() {
        for (block, what) in [
            ("```sh\nls\n```", "3: `sh` blocks are refused"),
            ("```\nls\n```", "3: `` blocks are refused"),
            ("```console,quiet\n# ls\n```", "3: `console` blocks of this lab know no `quiet=`"),
            ("```console,at=b.example\n# ls\n```", "3: `console` blocks of this lab know no `at=b.example`"),
            ("```console,not-run=too-hard\n# ls\n```", "3: `too-hard` is no reason not to run"),
            ("```console,status=x\n# ls\n```", "3: `x` is no exit status"),
            ("```console,background,status=1\n# ls\n```", "3: what is left running has no exit status"),
            ("```console\nls\n```", "3: a session begins with"),
            ("```console\n```", "3: a session without a command"),
            ("```yaml,name=x\n```", "3: `yaml` blocks know no `name=x`"),
            ("```text\n", "3: the block has no end"),
        ] {
            let error = format!("# Page\n\n{block}\n").parse::<Page>().unwrap_err();
            assert!(error.starts_with(what), "{block}: {error}");
        }
        assert!("<!-- lab: moon -->\n".parse::<Page>().is_err());
    }
}
