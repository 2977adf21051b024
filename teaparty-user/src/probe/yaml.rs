//! YAML as far as documents with targets have it, as the JSON that it could have been.
//!
//! A scalar is the text that was written: what people put after a label is its value, be it `yes` or `0x10`. There
//! are no aliases, by which a short document could become one without end.
//!
//! The loader of `saphyr`, which `config convert` uses, would expand aliases, and name no key that is there twice.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Value};

/// Maps and lists in each other at most: a document has five.
const MOST_DEPTH: usize = 16;

/// A map or list whose end has not come yet.
enum Open {
    List(Vec<Value>),
    /// With the key that waits for its value.
    Map(Map<String, Value>, Option<String>),
}

/// A document that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlError {
    /// It is no YAML.
    #[error("is no YAML: {0}")]
    Syntax(#[from] ScanError),
    /// It has what is not taken.
    #[error("line {line}, column {column}: {refusal}")]
    Refused {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The content.
        refusal: YamlRefusal,
    },
}

/// YAML that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlRefusal {
    /// A node that stands for another one.
    #[error("aliases (*name) are not taken; write it out")]
    Alias,
    /// More maps and lists in each other than any document has.
    #[error("is too deep")]
    TooDeep,
    /// The end of a map or list that has not begun.
    #[error("an end without a beginning")]
    StrayEnd,
    /// A second document.
    #[error("one document to a file is taken")]
    SecondDocument,
    /// A second value for this key.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// A map, a list or nothing as a key.
    #[error("a key is a text")]
    KeyIsNoText,
}

/// Returns the value of a document.
pub(crate) fn value(text: &str) -> Result<Value, YamlError> {
    let mut open: Vec<Open> = Vec::new();
    let mut whole = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let at = |refusal| YamlError::Refused { line, column, refusal };
        let value = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
            Event::Alias(_) => return Err(at(YamlRefusal::Alias)),
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == MOST_DEPTH => {
                return Err(at(YamlRefusal::TooDeep));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Map(map, _)) => Value::Object(map),
                None => return Err(at(YamlRefusal::StrayEnd)),
            },
        };
        match (open.last_mut(), value) {
            (None, value) if whole.is_none() => whole = Some(value),
            (None, _) => return Err(at(YamlRefusal::SecondDocument)),
            (Some(Open::List(list)), value) => list.push(value),
            (Some(Open::Map(map, key)), value) => match (key.take(), value) {
                (Some(key), value) => drop(map.insert(key, value)),
                (None, Value::String(name)) if map.contains_key(&name) => {
                    return Err(at(YamlRefusal::Twice(name)));
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err(at(YamlRefusal::KeyIsNoText)),
            },
        }
    }
    Ok(whole.unwrap_or(Value::Null))
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Value::Null,
        text => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_prometheus_users_write_is_the_json_that_it_could_have_been() {
        let text = "# all of them\n- targets: ['a:862', b.example]\n  labels:\n    site: north\n    rack: 0x10\n    on: yes\n\
                    - labels:\n  targets:\n  - \"[2001:db8::1]:862\"\n";
        let expected = json!([
            { "targets": ["a:862", "b.example"], "labels": { "site": "north", "rack": "0x10", "on": "yes" } },
            { "labels": null, "targets": ["[2001:db8::1]:862"] },
        ]);
        assert_eq!(value(text), Ok(expected));
        assert_eq!(value(r#"[{"targets": ["a"]}]"#), Ok(json!([{ "targets": ["a"] }])));
        assert_eq!(value(""), Ok(Value::Null));
    }

    #[test]
    fn what_is_not_taken_has_its_place() {
        let [deep, deeper] = [MOST_DEPTH + 1, 100_000].map(|depth| "[".repeat(depth) + &"]".repeat(depth));
        for (text, parts) in [
            ("- targets: [a", &["no YAML"][..]),
            ("- &x [a]\n- *x\n", &["line 2, column 3", "aliases"]),
            ("--- a\n--- b\n", &["line 2", "one document"]),
            ("a: 1\na: 2\n", &["line 2, column 1", "`a` is there twice"]),
            ("? [a]\n: b\n", &["a key is a text"]),
            (deep.as_str(), &["too deep"]),
            (deeper.as_str(), &["no YAML"]),
        ] {
            let error = value(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text:.40}: {error}");
        }
    }
}
