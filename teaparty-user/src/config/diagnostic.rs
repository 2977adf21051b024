//! What is wrong in a configuration: where, with which key, and what to do.

use std::fmt;
use std::ops::Range;
use std::path::Path;

/// Something that keeps a configuration from being used. Never shows a value that might be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line and column, both from 1, the column in characters; `None` for what was not written in the file.
    pub place: Option<(usize, usize)>,
    /// The key, or the option without its dashes; empty where the text is no TOML at all.
    pub key: String,
    /// The problem and the remedy.
    pub what: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// All that is wrong with a configuration; not empty.
#[derive(Clone, Debug)]
pub(crate) struct Diagnostics {
    /// Name of the file or folder; `None` where there is none.
    pub file: Option<String>,
    /// The files of a folder with the line of its whole text at which each begins, in their order.
    pub files: Vec<(String, usize)>,
    /// The problems, in the order of the file.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Returns what is wrong with a single file.
    pub(crate) fn of_file(path: &Path, list: Vec<Diagnostic>) -> Self {
        Self { file: Some(name_of(path)), files: Vec::new(), list }
    }

    /// Returns a problem as one of the file in which it is.
    fn in_file(&self, problem: &Diagnostic) -> (Option<&str>, Diagnostic) {
        let mut problem = problem.clone();
        let Some((line, column)) = problem.place else { return (self.file.as_deref(), problem) };
        let found = self.files.iter().rev().find(|(name, first)| !name.is_empty() && *first <= line);
        let Some((name, first)) = found else { return (self.file.as_deref(), problem) };
        problem.place = Some((line - first + 1, column));
        (Some(name), problem)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match self.in_file(problem) {
                (Some(file), problem) if problem.place.is_some() => write!(f, "{file}:{problem}")?,
                (Some(file), problem) => write!(f, "{file}: {problem}")?,
                (None, problem) => write!(f, "{problem}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Returns true if a file's name is for standard input, which can be read once.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file's name in messages.
pub(crate) fn name_of(path: &Path) -> String {
    if is_standard_input(path) { "standard input".into() } else { path.display().to_string() }
}

/// A text whose places can be had without reading it again for each.
pub(crate) struct PlacedText<'a> {
    text: &'a str,
    /// Offset of each line's first octet.
    lines: Vec<usize>,
}

impl<'a> PlacedText<'a> {
    /// Reads the text once.
    pub(crate) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    /// Returns line and column of an octet of the text, both from 1; those of the end for what is behind it.
    pub(crate) fn place(&self, span: &Range<usize>) -> (usize, usize) {
        let end = if self.text.is_char_boundary(span.start) { span.start } else { self.text.len() };
        let line = self.lines.partition_point(|start| *start <= end);
        let column = self.text[self.start(line)..end].chars().count() + 1;
        (line, column)
    }

    /// Returns a line by its number from 1.
    pub(crate) fn line(&self, line: usize) -> &'a str {
        self.text[self.start(line)..].lines().next().unwrap_or_default()
    }

    fn start(&self, line: usize) -> usize {
        self.lines.get(line.wrapping_sub(1)).copied().unwrap_or(self.text.len())
    }
}

/// The name among `known` that somebody may have meant, if one is near.
pub(crate) fn meant<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // snake_case, or a name for several where ours is for one of them.
    let bare = written.to_ascii_lowercase().replace('_', "-");
    let nearness = |name: &str| strsim::jaro_winkler(&bare, name);
    let best = known.map(|name| (nearness(name), name)).max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(nearness, _)| *nearness > 0.8).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = PlacedText::new("a = 1\nµ = 2\n");
        assert_eq!(text.place(&(0..1)), (1, 1));
        assert_eq!(text.place(&(5..6)), (1, 6));
        assert_eq!(text.place(&(6..8)), (2, 1));
        assert_eq!(text.place(&(11..12)), (2, 5));
        assert_eq!(text.place(&(99..100)), (3, 1));
        assert_eq!([text.line(1), text.line(2), text.line(3), text.line(4)], ["a = 1", "µ = 2", "", ""]);
        assert_eq!(PlacedText::new("").place(&(0..0)), (1, 1));
    }

    #[test]
    fn near_names_are_offered_and_far_ones_not() {
        let known = ["port", "stateless", "rate-limit"];
        assert_eq!(meant("prot", known.into_iter()), Some("port"));
        assert_eq!(meant("rate_limit", known.into_iter()), Some("rate-limit"));
        assert_eq!(meant("Ports", known.into_iter()), Some("port"));
        assert_eq!(meant("colour", known.into_iter()), None);
    }
}
