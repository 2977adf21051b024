//! Man pages: what clap knows of a command, with examples, exit status, files and environment.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::{ENVIRONMENT, EXIT_STATUS, Example, FILES, examples, explanation};

/// Returns the page of a command in roff. `path` is the words after `teaparty`.
pub fn page(command: &Command, path: &str) -> io::Result<Vec<u8>> {
    let name = name(path);
    let about = command.get_about().cloned().unwrap_or_default();
    let words = format!("teaparty {path}").trim().to_owned();
    let named = command.clone().display_name(name).bin_name(words).disable_help_subcommand(true);
    // Examples and explanations have sections of their own.
    let man = Man::new(named.about(about).after_long_help("").after_help("")).section("1");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if let Some(explanation) = explanation(path) {
        write!(page, ".nf\n{}\n.fi\n", escape(explanation))?;
    }
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.write_all(sections(path).as_bytes())?;
    Ok(page)
}

/// Writes the pages of a command and of all its subcommands into a folder.
pub fn write_all(command: &Command, path: &str, folder: &Path) -> io::Result<()> {
    std::fs::write(folder.join(format!("{}.1", name(path))), page(command, path)?)?;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        write_all(inner, format!("{path} {}", inner.get_name()).trim(), folder)?;
    }
    Ok(())
}

/// The name of a page: `teaparty-sender`.
fn name(path: &str) -> String {
    format!("teaparty {path}").trim().replace(' ', "-")
}

fn sections(path: &str) -> String {
    let mut text = String::new();
    let examples = examples(path);
    if !examples.is_empty() {
        text += ".SH EXAMPLES\n";
        for Example { words, what } in examples {
            let _ = write!(text, ".TP\n{}\n.B {}\n", escape(what), escape(words));
        }
    }
    for (title, entries) in [("EXIT STATUS", EXIT_STATUS), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        let _ = writeln!(text, ".SH \"{title}\"");
        for (term, what) in entries {
            let _ = write!(text, ".TP\n.B {}\n{}\n", escape(term), escape(what));
        }
    }
    let others = if path.is_empty() { "teaparty-sender(1), teaparty-reflector(1)" } else { "teaparty(1)" };
    let _ = write!(text, ".SH \"SEE ALSO\"\n{}\n", escape(others));
    text
}

/// Text as roff takes it: no line is a request, and hyphens stay what they are.
fn escape(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}
