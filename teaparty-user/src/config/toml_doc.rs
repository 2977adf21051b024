//! A configuration's text as tables whose parts know where they were written.

mod layers;

use std::ops::Range;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::cli_overrides::describe;
use super::config_text::ConfigText;
use super::diagnostic::{Diagnostic, PlacedText, meant};
use super::file_kind::FileKind;
use crate::http::auth::credentials::{TLS_CERT, TLS_KEY};
use crate::reflector::config::ConfigError;

/// A table of the file, or of several layers of it.
#[derive(Clone, Default)]
pub struct Table<'a> {
    /// Its members.
    pub members: DeTable<'a>,
    /// Its place in the file, unless that is the whole file.
    pub span: Option<Range<usize>>,
}

impl<'a> Table<'a> {
    /// The table that a value is, if it is one.
    pub fn of(value: &Spanned<DeValue<'a>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(members) => Some(Self { members: members.clone(), span: Some(value.span()) }),
            _ => None,
        }
    }

    /// A member's value.
    pub fn get(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        self.members.iter().find(|(name, _)| *name.get_ref() == key).map(|(_, value)| value)
    }
}

/// The text, and what was found wrong with it so far.
pub struct TomlDocument<'a> {
    text: PlacedText<'a>,
    kind: FileKind,
    /// The problems.
    pub problems: Vec<Diagnostic>,
    /// Lines that are no TOML, in order.
    broken: Vec<usize>,
}

impl<'a> TomlDocument<'a> {
    /// Parses the text, each of its files laid over those before; syntax errors become problems.
    pub(crate) fn parse(text: &'a ConfigText, kind: FileKind) -> (Self, Table<'a>) {
        let places = PlacedText::new(text.all());
        let (mut table, mut problems) = (DeTable::new(), Vec::new());
        for (start, part) in text.parts() {
            let (own, errors) = DeTable::parse_recoverable(part);
            layers::lay_over(&mut table, layers::shifted(own.into_inner(), start));
            problems.extend(errors.iter().map(|error| Diagnostic {
                place: error.span().map(|span| places.place(&(span.start + start..span.end + start))),
                key: String::new(),
                what: format!("this is not TOML: {}", one_line(error.message())),
            }));
        }
        // A second mistake on a line is mostly seen because of the first.
        let line = |problem: &Diagnostic| problem.place.map(|(line, _)| line);
        problems.sort_by_key(|problem| problem.place);
        problems.dedup_by_key(|problem| line(problem));
        let broken = problems.iter().filter_map(line).collect();
        (Self { text: places, kind, problems, broken }, Table { members: table, span: None })
    }

    /// Returns all problems in the order of the file, each once.
    ///
    /// A line that is no TOML is not blamed twice. Where such a line begins a table, all that
    /// follows may be in the wrong one.
    pub fn into_problems(self) -> Vec<Diagnostic> {
        let is_header = |line: &&usize| self.text.line(**line).trim_start().starts_with('[');
        let lost_from = self.broken.iter().find(is_header).copied().unwrap_or(usize::MAX);
        let is_sure = |problem: &Diagnostic| match problem.place {
            _ if problem.key.is_empty() || self.broken.is_empty() => true,
            Some((line, _)) => line < lost_from && self.broken.binary_search(&line).is_err(),
            // Missing from the file: it may be on a line that can't be read.
            None => false,
        };
        let mut problems: Vec<Diagnostic> = self.problems.iter().filter(|problem| is_sure(problem)).cloned().collect();
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        problems
    }

    /// Notes a problem with what was written at `span`.
    pub fn wrong(&mut self, span: Range<usize>, key: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Diagnostic { place: Some(self.text.place(&span)), key: key.into(), what: what.into() });
    }

    /// Notes a problem with a member of a table, or with the table as a whole if it has no such member.
    pub fn wrong_in(&mut self, table: &Table<'a>, key: &str, what: impl Into<String>) {
        let span = table.get(key).map(Spanned::span).or_else(|| table.span.clone());
        let place = span.map(|span| self.text.place(&span));
        self.problems.push(Diagnostic { place, key: key.into(), what: what.into() });
    }

    /// Notes that a setting was refused, which the table gives unless it was typed.
    pub fn refused(&mut self, table: &Table<'a>, is_typed: bool, ConfigError { field, problem }: ConfigError) {
        if is_typed {
            self.problems.push(Diagnostic { place: None, key: format!("--{field}"), what: problem });
        } else {
            self.wrong_in(table, field, problem);
        }
    }

    /// Notes each key of the table that is none of the known ones; `above` are those that only the top of the file has.
    pub fn unknown_keys(&mut self, table: &Table<'a>, known: &[String], above: &[String]) {
        for (name, _) in table.members.iter().filter(|(name, _)| !known.iter().any(|known| *known == **name.get_ref()))
        {
            let near = meant(name.get_ref(), known.iter().map(String::as_str));
            let what = match near {
                _ if above.iter().any(|above| *above == **name.get_ref()) => {
                    format!("holds for the whole process; put it above the first {}", self.kind.first_table())
                }
                Some(near) => format!("there is no such key; did you mean `{near}`?"),
                None => format!("there is no such key; `{}` describes all there are", self.kind.schema()),
            };
            self.wrong(name.span(), name.get_ref().clone(), what);
        }
    }

    /// The settings that a table writes, the others being `T`'s defaults. Each value that does not fit is a problem, and
    /// then there are none. Keys that `T` does not have are not looked at.
    pub fn settings<T: Args + Default + Serialize + DeserializeOwned>(&mut self, table: &Table<'a>) -> Option<T> {
        let before = self.problems.len();
        let settings = self.fitting(table);
        (self.problems.len() == before).then_some(settings)
    }

    /// Returns the same with defaults in place of values that do not fit, for finding further problems.
    pub fn fitting<T: Args + Default + Serialize + DeserializeOwned>(&mut self, table: &Table<'a>) -> T {
        let defaults = defaults::<T>();
        let mut fitting = DeTable::new();
        for (name, value) in &table.members {
            let Some(default) = defaults.get(&**name.get_ref()) else { continue };
            let value = listed(value.clone(), default);
            let attempt = |value: Spanned<DeValue<'a>>| {
                let mut alone = DeTable::new();
                alone.insert(name.clone(), value.clone());
                T::deserialize(Deserializer::from(Spanned::new(value.span(), alone))).map(drop)
            };
            let Err(error) = attempt(value.clone()) else {
                fitting.insert(name.clone(), value);
                continue;
            };
            // Each entry of a list by itself: all that do not fit are reported.
            let entries: Vec<_> = match value.get_ref() {
                DeValue::Array(entries) if default.is_array() => entries.iter().cloned().collect(),
                _ => Vec::new(),
            };
            let alone = |entry: Spanned<DeValue<'a>>| {
                let span = entry.span();
                attempt(Spanned::new(span.clone(), DeValue::Array([entry].into_iter().collect())))
                    .err()
                    .map(|error| (error, span))
            };
            let mut wrong: Vec<_> = entries.into_iter().filter_map(alone).collect();
            // A single one is reported at the list's start, as a value that is no list is.
            if wrong.len() < 2 {
                wrong = vec![(error, value.span())];
            }
            for (error, span) in wrong {
                let what = format!("{}; {}", plain(error.message()), describe::<T>(name.get_ref()));
                self.wrong(error.span().unwrap_or(span), name.get_ref().clone(), what);
            }
        }
        // Each value fits alone, and none depends on another one.
        T::deserialize(Deserializer::from(Spanned::new(0..0, fitting))).unwrap_or_default()
    }
}

/// Tries settings; each setting that `attempt` refuses is passed to `refused` and replaced by its default for another
/// try.
///
/// So all that is wrong comes out at once, although `attempt` stops at the first mistake. Returns `None` if there was one.
pub fn try_each<T, R, E>(
    mut settings: T,
    mut attempt: impl FnMut(&T) -> Result<R, (&'static str, E)>,
    mut refused: impl FnMut(&'static str, E),
) -> Option<R>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut known: Vec<&'static str> = Vec::new();
    loop {
        match attempt(&settings) {
            Ok(result) => return known.is_empty().then_some(result),
            // Its default is refused as well, because of another setting that was told already.
            Err((field, _)) if known.contains(&field) => return None,
            Err((field, error)) => {
                known.push(field);
                refused(field, error);
                let next = without(&settings, field)?;
                settings = next;
            }
        }
    }
}

/// Settings with the default in place of one.
fn without<T: Default + Serialize + DeserializeOwned>(settings: &T, field: &str) -> Option<T> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(settings) else { return None };
    let mut defaults = defaults::<T>();
    members.insert(field.to_owned(), defaults.remove(field)?);
    // Without the certificate its key would be blamed next, which is there for it.
    if field == TLS_CERT {
        defaults.remove(TLS_KEY).and_then(|default| members.insert(TLS_KEY.to_owned(), default));
    }
    serde_json::from_value(Value::Object(members)).ok()
}

/// The names of `T`'s keys with their defaults.
pub fn defaults<T: Default + Serialize>() -> serde_json::Map<String, Value> {
    match serde_json::to_value(T::default()) {
        Ok(Value::Object(members)) => members,
        // Settings are structures with named fields.
        _ => serde_json::Map::new(),
    }
}

/// The names of `T`'s keys.
pub fn keys<T: Default + Serialize>() -> Vec<String> {
    defaults::<T>().into_iter().map(|(name, _)| name).collect()
}

/// A single value where a list may be is a list of one.
fn listed<'a>(value: Spanned<DeValue<'a>>, default: &Value) -> Spanned<DeValue<'a>> {
    if !default.is_array() || matches!(value.get_ref(), DeValue::Array(_)) {
        return value;
    }
    let span = value.span();
    Spanned::new(span, DeValue::Array([value].into_iter().collect()))
}

/// Returns serde's message in plain words.
fn plain(message: &str) -> String {
    let message = one_line(message);
    let numbers = [("u8", u64::from(u8::MAX)), ("u16", u64::from(u16::MAX)), ("u32", u64::from(u32::MAX))];
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message };
    let Some(found) = ["invalid type: ", "invalid value: "].iter().find_map(|head| found.strip_prefix(head)) else {
        return message;
    };
    let range = numbers.iter().find(|(name, _)| *name == expected).map(|(_, most)| most.to_string());
    let expected = match (range, expected) {
        (Some(most), _) => format!("a whole number from 0 to {most}"),
        (None, "u64") => "a whole number, 0 or more".into(),
        (None, "a string") => "text in quotation marks".into(),
        (None, "a boolean") => "true or false".into(),
        (None, other) => other.into(),
    };
    format!("{found} is not {expected}")
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
