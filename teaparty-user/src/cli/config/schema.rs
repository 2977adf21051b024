//! The JSON Schema of a configuration file, derived from the options: what the command line takes, the file takes.
//!
//! Names, descriptions, kinds, ranges and words come from the options' own parsers, defaults from the settings' `Default`.

use std::any::TypeId;
use std::net::IpAddr;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::file_kind::FileKind;
use crate::config::plan::REFLECTOR;
use crate::config::service::{ApiSettings, Service};
use crate::config::toml_doc::defaults;
use crate::probe::config::{FILE_SD, HTTP_SD, LABELS, SLA, TARGET};
use crate::probe::settings::{FileSd, HistogramSettings, HttpSd, Measure, Number, TargetTable};
use crate::probe::target::{LABEL_OCTETS, MOST_LABELS, label};
use crate::reflector::config::{RateLimit, RateLimitPrefix, ReflectorSettings, SessionSettings};
use crate::sla::SlaConfig;
use crate::units::{Marking, Percent};

/// Returns the schema (JSON Schema 2020-12) of files of this kind.
pub fn schema(kind: FileKind) -> Value {
    let (program, description, properties) = match kind {
        FileKind::Reflector => ("teaparty reflector", "The file of --config. What is typed wins over it.", reflector()),
        FileKind::Probe => ("teaparty probe", "The file of --config.", probe()),
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Configuration of {program}"),
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn reflector() -> Map<String, Value> {
    let own = properties::<ReflectorSettings>();
    let mut root = properties::<Service>();
    root.extend(own.clone());
    let description = "A reflector of its own; what stands above all tables holds for it too, unless it says otherwise";
    root.insert(REFLECTOR.into(), one_or_many(table(own, &[]), description.into()));
    root
}

fn probe() -> Map<String, Value> {
    let measured = properties::<Measure>();
    let tables = |own: Map<String, Value>, needed: &str, description: &str| {
        let mut own = own;
        own.extend(measured.clone());
        own.insert(LABELS.into(), labels());
        json!({ "description": description, "type": "array", "items": table(own, &[needed]) })
    };
    let mut level = table(properties::<SlaConfig>(), &[]);
    level["description"] = "The service level: what is promised of all targets".into();
    let mut root = properties::<ApiSettings>();
    let whom =
        tables(properties::<TargetTable>(), "address", "A target; what stands above all tables holds for it too");
    let files =
        tables(properties::<FileSd>(), "file", "Files with more targets, which are measured as this table says");
    let address = tables(properties::<HttpSd>(), "url", "A document with more targets, by HTTP, in the same form");
    root.extend(properties::<HistogramSettings>());
    root.extend(measured.clone());
    for (key, value) in [(TARGET, whom), (FILE_SD, files), (HTTP_SD, address), (SLA, level)] {
        root.insert(key.into(), value);
    }
    root
}

/// Labels of a target, as [`check_label`](crate::probe::target::check_label) has them.
fn labels() -> Value {
    json!({
        "description": "Labels that the target's metrics have besides the probe's own",
        "type": "object",
        "propertyNames": { "pattern": "^(?!__)[A-Za-z_][A-Za-z0-9_]*$", "maxLength": LABEL_OCTETS, "not": { "enum": label::ALL } },
        "additionalProperties": { "type": "string", "maxLength": LABEL_OCTETS },
        "maxProperties": MOST_LABELS,
    })
}

fn table(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

/// A schema for each of `T`'s keys.
fn properties<T: Args + Default + Serialize>() -> Map<String, Value> {
    let own = T::augment_args_for_update(Command::new(""));
    // Some settings of the process are options of every command.
    let program = crate::cli::Teaparty::command();
    let option = |key: &str| {
        let named = |arg: &&Arg| arg.get_long() == Some(key);
        own.get_arguments().find(named).or_else(|| program.get_arguments().find(named)).cloned()
    };
    let all = defaults::<T>().into_iter();
    all.filter_map(|(key, default)| Some((key.clone(), property(&option(&key)?, default)))).collect()
}

fn property(arg: &Arg, default: Value) -> Value {
    let description = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let value = value(arg);
    let mut property = match arg.get_action() {
        ArgAction::Append => one_or_many(value, description),
        _ => {
            let mut value = value;
            value["description"] = description.into();
            value
        }
    };
    if !default.is_null() {
        property["default"] = default;
    }
    property
}

/// A list, for which its only member may stand.
fn one_or_many(value: Value, description: String) -> Value {
    json!({ "description": description, "anyOf": [value, { "type": "array", "items": value }] })
}

/// Returns the schema of one value of an option.
fn value(arg: &Arg) -> Value {
    let kind = arg.get_value_parser();
    let is = |other: TypeId| kind.type_id() == other;
    let words: Vec<String> = arg.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    match arg.get_action() {
        ArgAction::SetTrue => return json!({ "type": "boolean" }),
        ArgAction::Count => return json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
        _ => {}
    }
    let most = [
        (TypeId::of::<u8>(), u64::from(u8::MAX)),
        (TypeId::of::<u16>(), u64::from(u16::MAX)),
        (TypeId::of::<u32>(), u64::from(u32::MAX)),
        (TypeId::of::<u64>(), i64::MAX as u64),
    ];
    if let Some((_, most)) = most.into_iter().find(|(known, _)| is(*known)) {
        return json!({ "type": "integer", "minimum": least(kind), "maximum": most });
    }
    if is(TypeId::of::<SessionSettings>()) {
        return table(properties::<SessionSettings>(), &["source"]);
    }
    if is(TypeId::of::<Marking>()) {
        return json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 63 }, { "type": "string" }] });
    }
    if is(TypeId::of::<Percent>()) {
        return json!({ "anyOf": [{ "type": "number", "minimum": 0, "maximum": 100 }, { "type": "string" }] });
    }
    if is(TypeId::of::<Number>()) {
        return json!({ "type": "number" });
    }
    if is(TypeId::of::<RateLimit>()) {
        return json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }] });
    }
    if is(TypeId::of::<RateLimitPrefix>()) {
        return json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 128 }, { "type": "string" }] });
    }
    if is(TypeId::of::<IpAddr>()) {
        return json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] });
    }
    if words.is_empty() { json!({ "type": "string" }) } else { json!({ "enum": words }) }
}

/// 0 where a number's parser takes it, else 1.
fn least(parser: &ValueParser) -> u8 {
    let zero = Arg::new("number").value_parser(parser.clone());
    u8::from(Command::new("").no_binary_name(true).arg(zero).try_get_matches_from(["0"]).is_err())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names<'a>(args: impl Iterator<Item = &'a Arg>) -> BTreeSet<String> {
        args.filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
    }

    /// Options that are no keys, and why.
    const ONLY_TYPED: &[&str] = &[
        // Names the file.
        "config", // Short for timestamp-format = "ptp".
        "ptp",    // Ask about the program.
        "help", "version",
    ];

    #[test]
    fn file_and_command_line_have_the_same_settings() {
        let mut program = crate::cli::Teaparty::command();
        program.build();
        let reflector = program.find_subcommand("reflector").unwrap();
        let mut options = names(reflector.get_arguments());
        for only in ONLY_TYPED {
            options.remove(*only);
        }
        let schema = schema(FileKind::Reflector);
        let mut keys: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        // Tables, each of which is a reflector: the command line makes one.
        assert!(keys.remove(REFLECTOR));
        assert_eq!(keys, options);
        let known: BTreeSet<String> =
            defaults::<ReflectorSettings>().into_iter().chain(defaults::<Service>()).map(|(key, _)| key).collect();
        assert_eq!(known, options, "a setting without an option, or an option that no file can say");
    }

    #[test]
    fn kinds_ranges_words_and_defaults_are_the_options_own() {
        let schema = schema(FileKind::Reflector);
        let of = |key: &str| &schema["properties"][key];
        assert_eq!(of("port")["anyOf"][0], json!({ "type": "integer", "minimum": 1, "maximum": 65535 }));
        assert_eq!(of("port")["default"], json!([862]));
        assert_eq!(of("min-payload")["minimum"], 0);
        assert_eq!(of("xdp-mode")["enum"], json!(["auto", "native", "skb", "off"]));
        assert_eq!(of("strict")["type"], "boolean");
        assert_eq!(of("log-format")["enum"], json!(["text", "json"]));
        let session = &of("session")["anyOf"][0];
        assert_eq!(session["properties"]["ssid"]["maximum"], 65535);
        let described = |value: &Value| !value["description"].as_str().unwrap().is_empty();
        assert!(schema["properties"].as_object().unwrap().values().all(described));
        assert!(session["properties"].as_object().unwrap().values().all(described));
    }

    #[test]
    fn what_a_probe_may_be_told_has_its_kind_and_is_described() {
        let schema = schema(FileKind::Probe);
        let root = &schema["properties"];
        assert_eq!(root["interval"]["type"], "string");
        assert_eq!(root["interval"]["default"], "1s");
        assert_eq!(root["dscp"]["anyOf"][0]["maximum"], 63);
        assert_eq!(root["family"]["enum"], json!(["any", "ipv4", "ipv6"]));
        assert_eq!(root["sla"]["properties"]["good-loss"]["anyOf"][0]["type"], "number");
        assert_eq!(root["sla"]["properties"]["unavailable-after"]["minimum"], 1);
        for (table, needed) in [("target", "address"), ("file-sd", "file"), ("http-sd", "url")] {
            let items = &root[table]["items"];
            assert_eq!(items["required"], json!([needed]));
            let known = items["properties"].as_object().unwrap();
            assert!(known.contains_key("labels") && known.contains_key("interval") && !known.contains_key("api"));
            assert!(known.iter().all(|(_, value)| !value["description"].as_str().unwrap().is_empty()), "{known:?}");
        }
        assert!(root.as_object().unwrap().iter().all(|(_, value)| value["description"].is_string()));
    }
}
