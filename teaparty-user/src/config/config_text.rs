//! The text of a configuration: one file's, or that of a folder with a file and its drop-ins, one after the other.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, is_standard_input, name_of};
use super::file_kind::FileKind;
use crate::files;
use crate::files::limit::reading;
use crate::files::stamp::FileStamp;

/// Most octets of a configuration, all its files together.
const MAX_TEXT: u64 = 64 << 20;
/// Most drop-ins of a folder.
const MAX_DROP_INS: usize = 1_000;

/// The text of a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigText {
    /// That of all files. Each ends with its line.
    text: String,
    /// The name of each file with the octet and the line at which it begins, in their order.
    files: Vec<(String, usize, usize)>,
    /// The name of what was asked for, if anything was.
    name: Option<String>,
}

impl From<&str> for ConfigText {
    /// Returns a text without a name.
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), files: vec![(String::new(), 0, 1)], name: None }
    }
}

impl ConfigText {
    /// Reads a file, `-` for standard input, or a folder: the file of this kind and then its drop-ins in the order of their names.
    ///
    /// A folder may lack the file, or the folder of drop-ins, and that may be empty. The error names the file that can't be read.
    pub(crate) fn read(path: &Path, kind: FileKind) -> Result<Self, Diagnostics> {
        let is_folder = !is_standard_input(path) && reading(|| path.is_dir());
        let paths = match is_folder {
            true => members(path, kind).map_err(|error| unreadable(path, &error))?,
            false => vec![path.to_owned()],
        };
        let mut config = Self { name: Some(name_of(path)), ..Self::default() };
        for path in paths {
            let text =
                text_of(&path, MAX_TEXT - config.text.len() as u64).map_err(|error| unreadable(&path, &error))?;
            if !config.text.is_empty() && !config.text.ends_with('\n') {
                config.text.push('\n');
            }
            let line = config.files.last().map_or(1, |(_, start, line)| line + lines(&config.text[*start..]));
            config.files.push((name_of(&path), config.text.len(), line));
            config.text += &text;
        }
        Ok(config)
    }

    /// Returns all of it, in which problems have their places.
    pub(crate) fn all(&self) -> &str {
        &self.text
    }

    /// Returns the text of each file with the octet at which it begins.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, &str)> {
        let ends = self.files.iter().skip(1).map(|(_, start, _)| *start).chain([self.text.len()]);
        self.files.iter().zip(ends).map(|((_, start, _), end)| (*start, &self.text[*start..end]))
    }

    /// Returns problems with their files.
    pub(crate) fn diagnostics(&self, list: Vec<Diagnostic>) -> Diagnostics {
        let files = self.files.iter().map(|(name, _, line)| (name.clone(), *line)).collect();
        Diagnostics { file: self.name.clone(), files, list }
    }
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

fn unreadable(path: &Path, error: &TextError) -> Diagnostics {
    Diagnostics::of_file(path, vec![Diagnostic { place: None, key: String::new(), what: error.to_string() }])
}

/// Returns the files of a folder, in the order in which they are read.
fn members(folder: &Path, kind: FileKind) -> Result<Vec<PathBuf>, TextError> {
    let (file, drop_ins) = (folder.join(kind.file_name()), folder.join(kind.drop_ins()));
    let found = reading(|| {
        let mut names = Vec::new();
        match fs::read_dir(&drop_ins) {
            Ok(entries) => {
                for entry in entries {
                    names.push(entry?.file_name());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((file.try_exists()?, None)),
            Err(error) => return Err(error),
        }
        Ok((file.try_exists()?, Some(names)))
    });
    let (has_file, names) = found.map_err(TextError::Unreadable)?;
    if !has_file && names.is_none() {
        return Err(TextError::NoConfig(kind));
    }
    let mut names = names.unwrap_or_default();
    names.retain(|name| name.to_string_lossy().ends_with(".toml") && !name.to_string_lossy().starts_with('.'));
    if names.len() > MAX_DROP_INS {
        return Err(TextError::TooMany);
    }
    names.sort();
    Ok(has_file.then_some(file).into_iter().chain(names.iter().map(|name| drop_ins.join(name))).collect())
}

/// Returns the stamps of all files of a configuration, by which a change is noticed.
pub(crate) fn stamps(path: &Path, kind: FileKind) -> Vec<(PathBuf, Option<FileStamp>)> {
    let inside = if path.is_dir() { members(path, kind).unwrap_or_default() } else { Vec::new() };
    // A folder's own stamp changes when a file comes or goes.
    [path.to_owned(), path.join(kind.drop_ins())]
        .into_iter()
        .chain(inside)
        .map(|path| (path.clone(), FileStamp::of(&path)))
        .collect()
}

/// A file whose text cannot be had. Who shows it names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It has more octets than any file that is meant.
    #[error("is longer than {most} MiB; is this the right file?", most = MAX_TEXT >> 20)]
    TooLong,
    /// From this octet on it is no text.
    #[error("is not UTF-8 from octet {0} on; is this the right file?")]
    NotUtf8(usize),
    /// It is a folder of something else.
    #[error("is a folder without {file} and {folder}; is this the right one?", file = .0.file_name(), folder = .0.drop_ins())]
    NoConfig(FileKind),
    /// It is a folder with more files than any that is meant.
    #[error("has more than {MAX_DROP_INS} drop-ins; is this the right folder?")]
    TooMany,
}

/// Returns a file's text.
pub(crate) fn text_of(path: &Path, most: u64) -> Result<String, TextError> {
    let read = |source: &mut dyn Read| {
        let mut octets = Vec::new();
        source.take(most + 1).read_to_end(&mut octets).map(|_| octets)
    };
    let octets = reading(|| match is_standard_input(path) {
        true => read(&mut io::stdin().lock()),
        false => files::open(path).and_then(|mut file| read(&mut file)),
    });
    let octets = octets.map_err(TextError::Unreadable)?;
    if octets.len() as u64 > most {
        return Err(TextError::TooLong);
    }
    String::from_utf8(octets).map_err(|error| TextError::NotUtf8(error.utf8_error().valid_up_to()))
}

/// Returns the text of one file that is no folder.
pub(crate) fn whole_text(path: &Path) -> Result<String, TextError> {
    text_of(path, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_follow_the_file_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let drop_ins = folder.path().join("conf.d");
        fs::create_dir(&drop_ins).unwrap();
        for (path, text) in [
            (folder.path().join("teaparty.toml"), "a = 1"),
            (drop_ins.join("20-x.toml"), "c = 3\n\n"),
            (drop_ins.join("10-y.toml"), "b = 2\n"),
            (drop_ins.join(".hidden.toml"), "no"),
            (drop_ins.join("note.txt"), "no"),
        ] {
            fs::write(path, text).unwrap();
        }
        let text = ConfigText::read(folder.path(), FileKind::Reflector).unwrap();
        let parts: Vec<&str> = text.parts().map(|(_, part)| part).collect();
        assert_eq!(parts, ["a = 1\n", "b = 2\n", "c = 3\n\n"]);
        let problem = |line| Diagnostic { place: Some((line, 1)), key: String::new(), what: "x".into() };
        let said = text.diagnostics((1..=4).map(problem).collect()).to_string();
        let names = said.lines().map(|line| line.strip_prefix(folder.path().to_str().unwrap()).unwrap().to_owned());
        let expected = [
            "/teaparty.toml:1:1: x",
            "/conf.d/10-y.toml:1:1: x",
            "/conf.d/20-x.toml:1:1: x",
            "/conf.d/20-x.toml:2:1: x",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_folder_for_drop_ins_suffices_and_a_change_in_it_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let kind = FileKind::Probe;
        let said = ConfigText::read(folder.path(), kind).unwrap_err().to_string();
        assert!(said.ends_with(": is a folder without probe.toml and probe.conf.d; is this the right one?"), "{said}");
        let drop_ins = folder.path().join("probe.conf.d");
        let file = drop_ins.join("a.toml");
        let mut before = stamps(folder.path(), kind);
        for step in [
            &(|| fs::create_dir(&drop_ins)) as &dyn Fn() -> io::Result<()>,
            &|| fs::write(&file, "a"),
            &|| fs::write(&file, "ab"),
            &|| fs::remove_file(&file),
        ] {
            step().unwrap();
            let after = stamps(folder.path(), kind);
            assert_ne!(before, after);
            before = after;
        }
        assert_eq!(ConfigText::read(folder.path(), kind).unwrap().all(), "");
    }
}
