//! Nodes of a YAML document, as far as a configuration has them.

use std::borrow::Cow;

use saphyr::{MarkedYaml, Scalar, YamlData};

/// A key of a map and its value.
pub(super) struct Pair<'a> {
    pub(super) key: String,
    /// Line and column of the key, both from 1.
    pub(super) place: (usize, usize),
    pub(super) value: &'a MarkedYaml<'a>,
    pub(super) is_null: bool,
}

/// Line and column of a node, both from 1.
pub(super) fn place(node: &MarkedYaml<'_>) -> (usize, usize) {
    (node.span.start.line(), node.span.start.col() + 1)
}

/// A key with underscores where people write dashes too.
pub(super) fn underscored(key: &str) -> String {
    key.replace('-', "_")
}

/// The nodes of a list.
pub(super) fn items<'a>(node: &'a MarkedYaml<'a>) -> Option<&'a [MarkedYaml<'a>]> {
    match &node.data {
        YamlData::Sequence(list) => Some(list),
        _ => None,
    }
}

/// The members of a map. A key that is no text is given as it would be written.
pub(super) fn pairs<'a>(node: &'a MarkedYaml<'a>) -> Option<Vec<Pair<'a>>> {
    let YamlData::Mapping(map) = &node.data else { return None };
    let pair = |(key, value): (&'a MarkedYaml<'a>, &'a MarkedYaml<'a>)| Pair {
        key: text(key).map_or_else(|| "?".into(), Cow::into_owned),
        place: place(key),
        value,
        is_null: matches!(value.data, YamlData::Value(Scalar::Null)),
    };
    Some(map.iter().map(pair).collect())
}

/// A text, or a number as it is written.
pub(super) fn text<'a>(node: &'a MarkedYaml<'_>) -> Option<Cow<'a, str>> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(Cow::Borrowed(text)),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string().into()),
        _ => None,
    }
}

/// A truth value.
pub(super) fn boolean(node: &MarkedYaml<'_>) -> Option<bool> {
    match node.data {
        YamlData::Value(Scalar::Boolean(value)) => Some(value),
        _ => None,
    }
}
