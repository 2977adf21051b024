//! `cargo xtask tidy`: what no compiler checks. Documents name files that exist, source files say what they are for,
//! links reach what they name, nothing is left undone, imports run down the layers, no type name is there twice,
//! and no dependency needs a newer Rust than we promise.

mod architecture;
mod dependencies;
mod documents;
mod layers;
mod names;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xtask::paths;

use crate::docs;

/// Past this many lines a file should be looked at for its second noun. Reported, and no failure.
const LONG: usize = 400;

/// The page with the layers and the invariants.
const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// The page with the attackers, the guards and their tests.
const THREATS: &str = "docs/threat-model.md";
pub(crate) fn main() -> Result<()> {
    let files = files(paths::root())?;
    let mut problems = Vec::new();
    let mut long = Vec::new();
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| has_extension(file, "rs")) {
        let text = read(file)?;
        problems.extend(source::problems(&text).into_iter().map(|problem| format!("{}:{problem}", file.display())));
        long.extend(Some((text.lines().count(), file)).filter(|(lines, _)| *lines > LONG));
        sources.push((file.as_path(), text));
    }
    let list = read(Path::new(layers::LIST))?;
    problems.extend(layers::problems(&list, sources.iter().map(|(file, text)| (*file, text.as_str()))));
    problems.extend(names::problems(sources.iter().map(|(file, text)| (*file, text.as_str()))));
    let architecture = read(Path::new(ARCHITECTURE))?;
    let found =
        architecture::problems(&architecture, &layers::drawing(&list), sources.iter().map(|(_, text)| text.as_str()));
    problems.extend(found.into_iter().map(|problem| format!("{ARCHITECTURE}: {problem}")));
    let found = architecture::unguarded(&read(Path::new(THREATS))?, sources.iter().map(|(_, text)| text.as_str()));
    problems.extend(found.into_iter().map(|problem| format!("{THREATS}: {problem}")));
    problems.extend(dependencies::problems(&dependencies::metadata()?));
    for document in files.iter().filter(|file| has_extension(file, "md")) {
        let found = documents::missing(&read(document)?, document, &files);
        problems.extend(found.into_iter().map(|problem| format!("{}:{problem}", document.display())));
    }
    problems.extend(docs::problems(&files)?);
    report(&files, &long, &problems)
}

fn report(files: &[PathBuf], long: &[(usize, &PathBuf)], problems: &[String]) -> Result<()> {
    for (lines, file) in long {
        println!("long: {} has {lines} lines", file.display());
    }
    if problems.is_empty() {
        println!("tidy: {} files, {} of them long, nothing to fix", files.len(), long.len());
        return Ok(());
    }
    for problem in problems {
        println!("{problem}");
    }
    bail!("tidy: {} to fix", problems.len());
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(paths::root().join(file)).with_context(|| format!("cannot read {}", file.display()))
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

/// All files of the repository, relative to `root`, sorted; without what is built or belongs to git.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
