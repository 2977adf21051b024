//! Configuration files: their keys, as the JSON Schema of `teaparty config schema` describes them.

use serde_json::{Map, Value};
use teaparty_user::cli::config::schema::schema;
use teaparty_user::config::file_kind::FileKind;

use crate::markdown::{code, head, plain, table};

const ABOUT: &str = "\
Files are TOML. An editor takes the schema that `teaparty config schema` prints (with `--for probe`, of a probe's file), and \
`teaparty config check FILE` says all that is wrong with a file. What is typed wins over the file.";

pub(crate) fn page() -> String {
    let mut text = head("Configuration files", "the schema of configuration files", ABOUT);
    for (kind, title) in [(FileKind::Reflector, "The file of a reflector"), (FileKind::Probe, "The file of a probe")] {
        let schema = schema(kind);
        text += &format!("\n## {title}\n");
        text += &keys(properties(&schema), &Map::new());
        text += &tables(properties(&schema), &Map::new(), "");
    }
    text
}

fn properties(table: &Value) -> &Map<String, Value> {
    table["properties"].as_object().expect("a table has properties")
}

/// Returns the keys of a table that are no tables themselves. Those that the table above has alike are only named.
fn keys(properties: &Map<String, Value>, above: &Map<String, Value>) -> String {
    let values = properties.iter().filter(|(_, value)| nested(value).is_none());
    let (alike, own): (Vec<_>, Vec<_>) = values.partition(|(name, value)| above.get(*name) == Some(*value));
    let row = |(name, value): (&String, &Value)| {
        let default = match &value["default"] {
            Value::Null => String::new(),
            default => code(&default.to_string()),
        };
        [code(name), kind(value), default, plain(value["description"].as_str().unwrap_or_default())]
    };
    let mut text = String::new();
    if !own.is_empty() {
        text += &table(["key", "takes", "default", "meaning"], own.into_iter().map(row));
    }
    if !alike.is_empty() {
        text += "\nFrom the table above, with the same meaning:\n\n";
        // A line for each initial: nobody finds a name among a hundred.
        for group in alike.chunk_by(|(one, _), (next, _)| one[..1] == next[..1]) {
            let names: Vec<String> = group.iter().map(|(name, _)| code(name)).collect();
            text += &format!("- {}\n", names.join(", "));
        }
    }
    text
}

/// Returns the sections of the tables inside a table.
fn tables(properties: &Map<String, Value>, above: &Map<String, Value>, path: &str) -> String {
    let mut text = String::new();
    for (name, value) in properties.iter().filter(|(name, value)| above.get(*name) != Some(*value)) {
        let Some((inner, is_list)) = nested(value) else { continue };
        let path = format!("{path}{name}");
        let title = if is_list { format!("[[{path}]]") } else { format!("[{path}]") };
        text += &format!("\n### `{title}`\n\n{}\n", plain(value["description"].as_str().unwrap_or_default()));
        text += &keys(inner, properties);
        text += &tables(inner, properties, &format!("{path}."));
    }
    text
}

/// Returns the properties of a key that is a table, and whether there may be several.
fn nested(value: &Value) -> Option<(&Map<String, Value>, bool)> {
    let own = |value: &'_ Value| value.get("properties").is_some();
    if own(value) {
        return Some((properties(value), false));
    }
    let choices = value["anyOf"].as_array().into_iter().flatten();
    let lists = std::iter::once(value).chain(choices).filter_map(|choice| choice.get("items"));
    lists.filter(|items| own(items)).map(|items| (properties(items), true)).next()
}

/// Returns the values that a key takes, in words.
fn kind(value: &Value) -> String {
    if let Some(choices) = value["enum"].as_array() {
        return choices.iter().map(|choice| code(&choice.to_string())).collect::<Vec<_>>().join(", ");
    }
    if value["type"] == "array" {
        return format!("list of {}", kind(&value["items"]));
    }
    if value["type"] == "integer" {
        return match (value["minimum"].as_u64(), value["maximum"].as_u64()) {
            (Some(least), Some(most)) if most < i64::MAX as u64 => format!("integer, {least} to {most}"),
            (Some(least), _) => format!("integer from {least}"),
            _ => "integer".into(),
        };
    }
    if let (Some(choices), false) = (value["anyOf"].as_array(), value["type"] == "string") {
        return choices.iter().map(kind).collect::<Vec<_>>().join(", or ");
    }
    match (value["type"].as_str(), value["anyOf"].as_array()) {
        (Some("string"), Some(formats)) => {
            let formats: Vec<&str> = formats.iter().filter_map(|one| one["format"].as_str()).collect();
            format!("string ({})", formats.join(" or "))
        }
        (Some("boolean"), _) => "`true` or `false`".into(),
        (Some("object"), _) => "table of strings".into(),
        (Some(kind), _) => kind.into(),
        (None, _) => match value["format"].as_str() {
            Some(format) => format!("string ({format})"),
            None => "any".into(),
        },
    }
}
