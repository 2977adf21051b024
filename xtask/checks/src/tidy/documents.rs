//! Which files a document names, and whether they exist.

use std::path::{Component, Path, PathBuf};

/// Endings by which a word is taken for the name of one of our files.
const ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".json", ".sh", ".pcap", ".yaml", ".lua"];

/// Returns what `text`, the content of `document`, names and `files` lacks, each as `line: what`.
///
/// Looked at are words between backquotes, outside of fenced blocks; `docs::links` looks at links. A path is right if it is
/// one from the root or from the document's folder, or the end of one: of a section about a crate, the part inside it.
pub(super) fn missing(text: &str, document: &Path, files: &[PathBuf]) -> Vec<String> {
    let tops = top_level(files);
    let folder = document.parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2).filter(|word| is_path(word, &tops));
        let named = quoted.flat_map(expand);
        for name in named.filter(|name| !exists(name, folder, files)) {
            problems.push(format!("{number}: names {name}, which does not exist"));
        }
    }
    problems
}

/// The names in the repository's root, with which every path in it begins.
fn top_level(files: &[PathBuf]) -> Vec<&str> {
    files.iter().filter_map(|file| file.iter().next()?.to_str()).collect()
}

fn is_path(word: &str, tops: &[&str]) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./{},*".contains(c));
    let ours = word.split_once('/').is_some_and(|(top, _)| tops.contains(&top));
    let absolute = word.starts_with(['/', '*']);
    let built = word.starts_with("target/");
    plain && !absolute && !built && (ours || ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expand(name: &str) -> Vec<String> {
    let braces = name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    match braces {
        Some((head, (choices, tail))) => choices.split(',').map(|choice| format!("{head}{choice}{tail}")).collect(),
        None => vec![name.to_owned()],
    }
}

fn exists(name: &str, folder: &Path, files: &[PathBuf]) -> bool {
    // Of a pattern, the folder that it is about.
    let name = match name.split_once('*') {
        Some((before, _)) => before.rsplit_once('/').map_or("", |(folder, _)| folder),
        None => name,
    };
    let places = [normal(Path::new(name)), normal(&folder.join(name))];
    files.iter().any(|file| places.iter().any(|place| file.starts_with(place)) || file.ends_with(name))
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
        normal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_in(text: &str) -> Vec<String> {
        let files =
            ["README.md", "xtask/src/main.rs", "xtask/src/tidy.rs", "testing_data/README.md", "testing_data/a.toml"];
        missing(text, Path::new("testing_data/README.md"), &files.map(PathBuf::from))
    }

    #[test]
    fn what_exists_is_not_reported() {
        let text = "`xtask/src/main.rs`, `xtask/src`, `main.rs`, `xtask/src/{main,tidy}.rs`, `src/tidy.rs`, `a.toml`, `testing_data/*.toml`\n";
        assert_eq!(missing_in(text), [""; 0]);
    }

    #[test]
    fn what_does_not_exist_is_reported_with_its_line() {
        let text = "one\n`xtask/src/gone.rs`\n`gone.rs` `xtask/src/{main,gone}.rs`\n";
        let found = missing_in(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("2: ") && found[2].starts_with("3: "), "{found:?}");
    }

    #[test]
    fn other_words_addresses_and_blocks_are_left_alone() {
        let text = "`cargo xtask run`, `/sys/fs/bpf/teaparty`, `target/ebpf/x.rs`, `a/b`\n```\n`gone.rs`\n```\n";
        assert_eq!(missing_in(text), [""; 0]);
    }
}
