//! Checks the links of documents without a network: files, sections, and the hosts that pages may refer to.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Hosts that documents may refer to. A link to another one is probably a slip, or goes here.
const HOSTS: &[&str] = &[
    "datatracker.ietf.org",
    "docs.ebpf.io",
    "docs.kernel.org",
    "doc.rust-lang.org",
    "github.com",
    "grafana.com",
    "keepachangelog.com",
    "prometheus.io",
    "rustup.rs",
    "semver.org",
    "www.iana.org",
    "www.iso.org",
    "www.kernel.org",
    "www.mef.net",
    "www.rfc-editor.org",
    "www.wireshark.org",
];

/// The target of a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The line of the link, from 1.
    pub(crate) line: usize,
    /// The file or address, without the section.
    pub(crate) path: String,
    /// The section, if the link names one.
    section: Option<String>,
}

/// Returns what is wrong with the links of these documents, each as `file:line: what`.
///
/// Pages of the book may link only to pages of the book, because nothing else is beside them once it is built.
pub(crate) fn problems(documents: &[(PathBuf, String)], files: &[PathBuf]) -> Vec<String> {
    let sections: HashMap<&Path, Vec<String>> =
        documents.iter().map(|(file, text)| (file.as_path(), sections(text))).collect();
    let check = |(document, text): &(PathBuf, String)| -> Vec<String> {
        let of_one = |target: Target| {
            problem(document, &target, &sections, files)
                .map(|what| format!("{}:{}: {what}", document.display(), target.line))
        };
        targets(text).into_iter().filter_map(of_one).collect()
    };
    documents.iter().flat_map(check).collect()
}

fn problem(
    document: &Path,
    target: &Target,
    sections: &HashMap<&Path, Vec<String>>,
    files: &[PathBuf],
) -> Option<String> {
    let Target { path, section, .. } = target;
    if let Some((scheme, rest)) = path.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        let is_known = ["http", "https"].contains(&scheme) && HOSTS.contains(&host);
        return (!is_known).then(|| format!("links to {path}, whose host is not in xtask/checks/src/docs/links.rs"));
    }
    if path.starts_with("mailto:") {
        return None;
    }
    let file = if path.is_empty() { document.to_owned() } else { beside(document, path) };
    let is_there = files.contains(&file) || (!document.starts_with("docs") && is_folder(&file, files));
    if !is_there {
        return Some(format!("links to {path}, which does not exist"));
    }
    if document.starts_with("docs") && !file.starts_with("docs") {
        return Some(format!("links to {path}, which is not in the book"));
    }
    let section = section.as_ref()?;
    let has_it = sections.get(file.as_path()).is_some_and(|all| all.contains(section));
    (!has_it).then(|| format!("links to {path}#{section}, and there is no such section"))
}

fn is_folder(path: &Path, files: &[PathBuf]) -> bool {
    files.iter().any(|file| file.starts_with(path))
}

/// Returns a path relative to the document's folder, without `.` and `..`.
fn beside(document: &Path, path: &str) -> PathBuf {
    let joined = document.parent().unwrap_or(Path::new("")).join(path);
    joined.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
        normal
    })
}

fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_HEADING_ATTRIBUTES
}

/// Returns the links and images of a document. What is in code is no link.
pub(crate) fn targets(text: &str) -> Vec<Target> {
    let events = Parser::new_ext(text, options()).into_offset_iter();
    let links = events.filter_map(|(event, range)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some((dest_url.into_string(), range)),
        _ => None,
    });
    let target = |(address, range): (String, std::ops::Range<usize>)| {
        let (path, section) = match address.split_once('#') {
            Some((path, section)) => (path.to_owned(), Some(section.to_owned())),
            None => (address, None),
        };
        Target { line: 1 + text[..range.start].matches('\n').count(), path, section }
    };
    links.map(target).collect()
}

/// Returns the names by which links reach the sections of a document, as GitHub and mdbook make them of headings.
fn sections(text: &str) -> Vec<String> {
    let mut names = Vec::<String>::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, options()) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(words) | Event::Code(words), Some(heading)) => heading.push_str(&words),
            (Event::End(TagEnd::Heading(_)), _) => {
                let name = name(&heading.take().unwrap_or_default());
                let same = names.iter().filter(|one| is_numbered(one, &name)).count();
                names.push(if same == 0 { name } else { format!("{name}-{same}") });
            }
            _ => {}
        }
    }
    names
}

/// Returns true for `name` itself and for `name-1`, `name-2`, which are later headings with the same words.
fn is_numbered(one: &str, name: &str) -> bool {
    let rest = one.strip_prefix(name);
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<u8>().is_ok())
    })
}

fn name(heading: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        ' ' => Some('-'),
        _ => None,
    };
    heading.trim().chars().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 5] = ["README.md", "LICENSE", "docs/a.md", "docs/guides/b.md", "testing_data/x.toml"];

    fn problems_of(document: &str, text: &str) -> Vec<String> {
        let other = "# Two words, and `code`!\n\n## Same\n\n## Same\n";
        let documents = [(document, text), ("docs/guides/b.md", other)];
        problems(&documents.map(|(file, text)| (PathBuf::from(file), text.to_owned())), &FILES.map(PathBuf::from))
    }

    #[test]
    fn right_links_are_not_reported() {
        let text = "[b](guides/b.md#two-words-and-code) [b](guides/b.md#same-1) [here](#top) `[x](gone.md)`\n\n\
                    # Top\n\n[rfc](https://www.rfc-editor.org/rfc/rfc8762#section-4) [mail](mailto:a@b.example)\n\n\
                    ```text\n[x](gone.md)\n```\n";
        assert_eq!(problems_of("docs/a.md", text), [""; 0]);
        assert_eq!(problems_of("README.md", "[x](docs/a.md) [y](testing_data) [z](LICENSE)\n"), [""; 0]);
    }

    #[test]
    fn files_sections_and_hosts_that_do_not_exist_are_reported_with_their_line() {
        let text = "[b](guides/gone.md)\n\n[b](guides/b.md#gone)\n[b](#gone)\n![b](https://evil.example/x.png)\n\
                    [b](guides/b.md#same-2) [b]: unused\n[c][d]\n\n[d]: gone.md\n";
        let found = problems_of("docs/a.md", text);
        let lines: Vec<&str> = found.iter().map(|one| one.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["1", "3", "4", "5", "6", "7"], "{found:#?}");
    }

    #[test]
    fn the_book_links_to_nothing_outside_of_it() {
        assert_eq!(
            problems_of("docs/a.md", "[x](../README.md)\n"),
            ["docs/a.md:1: links to ../README.md, which is not in the book"]
        );
        assert_eq!(problems_of("docs/a.md", "[x](guides)\n").len(), 1, "a folder has no page");
    }
}
