//! What is wrong in a configuration: where, with which key, and what to do.

use std::fmt;
use std::ops::Range;

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
    /// Name of the file; `None` where there is none.
    pub file: Option<String>,
    /// The problems, in the order of the file.
    pub list: Vec<Diagnostic>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match (&self.file, problem.place) {
                (Some(file), Some(_)) => write!(f, "{file}:{problem}")?,
                (Some(file), None) => write!(f, "{file}: {problem}")?,
                (None, _) => write!(f, "{problem}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Line and column of an octet of the text, both from 1.
pub(crate) fn place(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
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
        let text = "a = 1\nµ = 2\n";
        assert_eq!(place(text, &(0..1)), (1, 1));
        assert_eq!(place(text, &(6..8)), (2, 1));
        assert_eq!(place(text, &(11..12)), (2, 5));
        assert_eq!(place(text, &(99..100)), (3, 1));
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
