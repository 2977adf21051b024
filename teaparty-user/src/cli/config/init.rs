//! A configuration file to begin with: every key with its help, commented out with its default. Derived from the schema, as the
//! reference is.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};

use super::schema::schema;
use crate::config::diagnostic::is_standard_input;
use crate::config::file_kind::FileKind;
use crate::exit_code::{Exit, UsageError};
use crate::layout::fold;
use crate::sys::stdio;

/// The folder that the services read.
const FOLDER: &str = "/etc/teaparty";
/// Columns of the file.
const WIDTH: usize = 100;

/// Returns the file that the service of this kind reads.
pub(super) fn default_path(kind: FileKind) -> PathBuf {
    Path::new(FOLDER).join(kind.file_name())
}

/// Writes the file, or prints it for `-`. A file that is there is left alone unless it is to be overwritten.
pub(super) fn init(kind: FileKind, file: Option<&Path>, is_forced: bool) -> anyhow::Result<Exit> {
    let path = file.map_or_else(|| default_path(kind), Path::to_owned);
    let text = text(kind);
    if is_standard_input(&path) {
        stdio::print(text)?.any();
        return Ok(Exit::Success);
    }
    let shown = path.display();
    if file.is_none() {
        fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).truncate(is_forced).create(true).create_new(!is_forced);
    match options.open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(|| format!("cannot write {shown}"))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let what = format!("{shown} is there already; name another file, or overwrite it with --force");
            return Err(UsageError::new(what).into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {shown}")),
    }
    stdio::print(format!("{shown}: written; take away the # of the settings that you want\n"))?.any();
    Ok(Exit::Success)
}

/// Returns the text of the file.
pub(super) fn text(kind: FileKind) -> String {
    let (program, check) = match kind {
        FileKind::Reflector => ("reflector", "teaparty config check"),
        FileKind::Probe => ("probe", "teaparty probe --check --config"),
    };
    let mut text = String::new();
    comment(&mut text, &format!("Configuration of teaparty {program} {}, in TOML.", env!("CARGO_PKG_VERSION")));
    comment(
        &mut text,
        &format!(
            "Every key is here with its default; take away the # in front of one to set it. `{check} FILE` says all that is \
             wrong. Files of {}/{} with names in .toml are read after this one, in the order of their names.",
            FOLDER,
            kind.drop_ins()
        ),
    );
    let schema = schema(kind);
    let all = properties(&schema);
    keys(&mut text, all, &Map::new(), "");
    tables(&mut text, all, &Map::new(), "");
    text
}

fn comment(text: &mut String, line: &str) {
    for line in fold(line, WIDTH - 2, 0).lines() {
        let _ = writeln!(text, "# {line}");
    }
}

fn properties(table: &Value) -> &Map<String, Value> {
    static NONE: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    table["properties"].as_object().unwrap_or_else(|| NONE.get_or_init(Map::new))
}

/// Returns the properties of a key that is a table, and whether there may be several.
fn nested(value: &Value) -> Option<(&Map<String, Value>, bool)> {
    if value.get("properties").is_some() {
        return Some((properties(value), false));
    }
    let choices = value["anyOf"].as_array().into_iter().flatten();
    let lists = std::iter::once(value).chain(choices).filter_map(|choice| choice.get("items"));
    lists.filter(|items| items.get("properties").is_some()).map(|items| (properties(items), true)).next()
}

/// Writes the keys of a table that are no tables; those that the table above has alike are only named.
fn keys(text: &mut String, own: &Map<String, Value>, above: &Map<String, Value>, indent: &str) {
    let plain = own.iter().filter(|(_, value)| nested(value).is_none());
    let (alike, own): (Vec<_>, Vec<_>) = plain.partition(|(name, value)| above.get(*name) == Some(*value));
    for (name, value) in own {
        text.push('\n');
        comment(text, value["description"].as_str().unwrap_or_default());
        let _ = match &value["default"] {
            Value::Null => writeln!(text, "#{indent}{name} = {}  # not set", example(value)),
            default => writeln!(text, "#{indent}{name} = {default}"),
        };
    }
    if !alike.is_empty() {
        let names: Vec<&str> = alike.iter().map(|(name, _)| name.as_str()).collect();
        text.push('\n');
        comment(
            text,
            &format!("Each of these may stand here too, with the same meaning as above: {}.", names.join(", ")),
        );
    }
}

/// Writes the tables inside a table, but those that the table above has alike.
fn tables(text: &mut String, own: &Map<String, Value>, above: &Map<String, Value>, path: &str) {
    for (name, value) in own.iter().filter(|(name, value)| above.get(*name) != Some(*value)) {
        let Some((inner, is_list)) = nested(value) else { continue };
        let path = format!("{path}{name}");
        text.push('\n');
        comment(text, value["description"].as_str().unwrap_or_default());
        let _ = if is_list { writeln!(text, "#[[{path}]]") } else { writeln!(text, "#[{path}]") };
        keys(text, inner, own, "");
        tables(text, inner, own, &format!("{path}."));
    }
}

/// Returns a value of the kind that a key takes.
fn example(value: &Value) -> String {
    if let Some(first) = value["enum"].as_array().and_then(|words| words.first()) {
        return first.to_string();
    }
    match value["type"].as_str() {
        Some("boolean") => "false".into(),
        Some("integer") => value["minimum"].to_string(),
        Some("number") => "0".into(),
        Some("object") => "{}".into(),
        Some("array") => "[]".into(),
        Some(_) => "\"\"".into(),
        None => value["anyOf"].as_array().and_then(|all| all.first()).map_or_else(|| "\"\"".into(), example),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reflector::of_file;
    use crate::config::plan::ProcessPlan;
    use crate::reflector::keys::KeyLoader;

    fn is_key(line: &str) -> bool {
        line.starts_with('#') && line.chars().nth(1).is_some_and(|c| c.is_ascii_lowercase())
    }

    #[test]
    fn a_new_file_sets_nothing_and_fits() {
        for kind in [FileKind::Reflector, FileKind::Probe] {
            let text = text(kind);
            assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
            assert!(toml::from_str::<toml::Table>(&text).unwrap().is_empty());
            let wide = text.lines().find(|line| line.chars().count() > WIDTH && !is_key(line));
            assert_eq!(wide, None);
        }
    }

    #[test]
    fn every_key_of_the_schema_is_there_once_for_each_table() {
        for (kind, tables) in [
            (FileKind::Reflector, vec!["#[[reflector]]", "#[[session]]"]),
            (FileKind::Probe, vec!["#[[target]]", "#[[file-sd]]", "#[[http-sd]]", "#[sla]"]),
        ] {
            let text = text(kind);
            let top = text.split("\n#[").next().unwrap();
            for (key, value) in properties(&schema(kind)) {
                let line = format!("\n#{key} = ");
                assert_eq!(top.matches(&line).count(), usize::from(nested(value).is_none()), "{key}:\n{text}");
            }
            for table in tables {
                assert_eq!(text.lines().filter(|line| *line == table).count(), 1, "{table}:\n{text}");
            }
        }
    }

    #[test]
    fn every_default_is_taken_when_its_line_is_no_comment_any_more() {
        let text = text(FileKind::Reflector);
        let top = text.split("\n#[").next().unwrap();
        let lines =
            top.lines().filter(|line| is_key(line) && !line.ends_with("# not set") && !line.starts_with("#iface"));
        let set: Vec<&str> = lines.map(|line| &line[1..]).collect();
        assert!(set.len() > 30, "{set:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("iface = \"lo\"\n{}\n", set.join("\n"))).unwrap();
        let plan = ProcessPlan::read(&of_file(file.path().into()), &KeyLoader::default());
        assert!(plan.is_ok(), "{}", plan.unwrap_err());
    }
}
