//! `cargo xtask docs`: builds the book of `docs/` into `target/book`, and checks what can be wrong with its pages.
//!
//! The pages load nothing from elsewhere, so that the book can be read without a network.

pub(crate) mod links;
mod offline;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use xtask::steps::Steps;
use xtask::{exec, paths};

use crate::codegen;

/// The version of mdbook that builds the book, so that it looks alike everywhere.
const MDBOOK: &str = "0.5.4";
/// The list of the book's pages.
const SUMMARY: &str = "docs/SUMMARY.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Open the book in a browser
    #[arg(long, conflicts_with = "check")]
    open: bool,
    /// Build nothing; only check links, generated pages and the list of pages
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let mut problems = problems(&crate::tidy::files(paths::root())?)?;
    problems.extend(codegen::main(&codegen::Args { check: true }).err().map(|error| format!("{error:#}")));
    if !problems.is_empty() {
        bail!("{}\n{} to fix in the documents", problems.join("\n"), problems.len());
    }
    if args.check {
        println!("docs: links, generated pages and the list of pages are right");
        return Ok(());
    }
    let index = build()?;
    println!("The book is in {}", paths::shown(&index));
    if args.open {
        exec::show(Command::new("xdg-open").arg(&index))?;
    }
    Ok(())
}

/// Returns what is wrong with links and with the list of pages, each as `file:line: what`.
pub(crate) fn problems(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        documents.push((file.clone(), std::fs::read_to_string(paths::root().join(file))?));
    }
    let mut problems = links::problems(&documents, files);
    let summary = documents.iter().find(|(file, _)| file == Path::new(SUMMARY)).map_or("", |(_, text)| text);
    problems.extend(unlisted(summary, files));
    Ok(problems)
}

/// Returns the pages that the book's list lacks: nobody would find them.
fn unlisted(summary: &str, files: &[PathBuf]) -> Vec<String> {
    let listed: Vec<PathBuf> =
        links::targets(summary).into_iter().map(|target| Path::new("docs").join(target.path)).collect();
    let is_page = |file: &&PathBuf| {
        file.starts_with("docs") && file.extension().is_some_and(|end| end == "md") && **file != Path::new(SUMMARY)
    };
    let missing = files.iter().filter(is_page).filter(|file| !listed.contains(file));
    missing.map(|file| format!("{SUMMARY}: lacks {}", file.display())).collect()
}

/// Builds the book with warnings denied, and returns its first page.
fn build() -> Result<PathBuf> {
    let mdbook = install()?;
    let book = paths::root().join("target/book");
    let mut said = Vec::new();
    let mut command = Command::new(mdbook);
    exec::follow(command.arg("build").arg(paths::root().join("docs")), |line| said.push(line.to_owned()))?;
    let warnings: Vec<&str> =
        said.iter().map(String::as_str).filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    if !warnings.is_empty() {
        bail!("mdbook warns:\n{}", warnings.join("\n"));
    }
    let requests = offline::requests(&book)?;
    if !requests.is_empty() {
        bail!("the book loads from elsewhere:\n{}", requests.join("\n"));
    }
    offline::check_search(&book)?;
    Ok(book.join("index.html"))
}

/// Returns the program, installed first if this version of it is not there.
fn install() -> Result<PathBuf> {
    let root = paths::tools().join(format!("mdbook-{MDBOOK}"));
    let program = root.join("bin/mdbook");
    if !program.is_file() {
        let title = format!("mdbook {MDBOOK} (once; compiles for one to four minutes)");
        Steps::new(1).run(&title, |show| {
            let mut command = exec::cargo();
            command.args(["install", "mdbook", "--version", MDBOOK, "--locked"]);
            // Neither its server nor its watcher.
            command.args(["--no-default-features", "--features", "search"]);
            command.arg("--root").arg(&root).arg("--target-dir").arg(paths::tools().join("build"));
            exec::follow(&mut command, show)
        })?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_listed_is_reported() {
        let files = ["README.md", "docs/SUMMARY.md", "docs/book.toml", "docs/a.md", "docs/guides/b.md"];
        let summary = "# Summary\n\n[A](a.md)\n- [C](guides/c.md)\n";
        assert_eq!(unlisted(summary, &files.map(PathBuf::from)), ["docs/SUMMARY.md: lacks docs/guides/b.md"]);
        assert_eq!(unlisted("[A](a.md)\n\n[B](guides/b.md)\n", &files.map(PathBuf::from)), [""; 0]);
    }
}
