//! `cargo xtask dist`: what a package has beside the program, written by the program itself into `target/dist`: man pages,
//! completions, and the JSON Schema of configuration files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::program::{self, Profile};
use xtask::{exec, paths};

/// Shells, and what each calls a file of completions for `teaparty`.
const COMPLETIONS: &[(&str, &str)] =
    &[("bash", "teaparty"), ("elvish", "teaparty.elv"), ("fish", "teaparty.fish"), ("zsh", "_teaparty")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program that writes, instead of one in release build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => program::teaparty(Profile::Release)?,
    };
    let folder = paths::root().join("target/dist");
    // Nothing of an earlier version may stay.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("cannot begin anew"),
        _ => {}
    }
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", paths::shown(folder)))?;
    }
    exec::capture(Command::new(&program).args(["man", "--output"]).arg(&man))?;
    for (shell, name) in COMPLETIONS {
        write(&completions.join(name), &exec::capture(Command::new(&program).args(["completions", shell]))?)?;
    }
    for (kind, name) in [("reflector", "teaparty.schema.json"), ("probe", "teaparty-probe.schema.json")] {
        let mut schema = Command::new(&program);
        write(&folder.join(name), &exec::capture(schema.args(["config", "schema", "--for", kind]))?)?;
    }
    let pages = lint(&man)?;
    println!("{pages} man pages, {} completions and the schemas are in {}", COMPLETIONS.len(), paths::shown(&folder));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", paths::shown(path)))
}

/// Has mandoc, where it is installed, look for errors in the pages; how many pages there are.
fn lint(folder: &Path) -> Result<usize> {
    let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let pages: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    if pages.is_empty() {
        bail!("the program has written no man pages");
    }
    if exec::find("mandoc").is_none() {
        eprintln!("warning: the man pages are not checked; install mandoc");
        return Ok(pages.len());
    }
    // What it calls warnings is mostly style, such as a date that a reproducible page can't have.
    exec::capture(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(&pages))?;
    Ok(pages.len())
}
