//! What a type in Rust does not say of a value, in the OpenAPI document: forms of addresses, ids, prefixes and lists.
//!
//! An address alone has `format: ipv4` or `ipv6` and a short pattern that leaves out what is no host's. In an id, in a prefix
//! and before a port an address is part of a string, and a format describes only a whole one: these have a long pattern. With
//! a short one schemathesis would report prefixes and targets that are refused, and ask only for ids that no session can have.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teaparty_common::reflect::LocationFields;
use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::{DEFAULT_PORT, Dscp, Ecn};

use crate::reflector::config::MAX_RESTART_S;

/// A number from 0 to 255.
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
/// First octet of a unicast address.
const UNICAST: &str = "(22[0-3]|2[01][0-9]|1[0-9][0-9]|[1-9][0-9]?)";
/// A number from 0 to 65535.
const NUMBER: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)";
/// A group of an IPv6 address.
const GROUP: &str = "[0-9a-f]{1,4}";
/// First group of a unicast address that is not near zero.
const UNICAST_GROUP: &str = "([1-9a-f][0-9a-f]{0,2}|[1-9a-e][0-9a-f]{3}|f[0-9a-e][0-9a-f]{2})";

/// The beginning of an IPv4 address of a host: neither zero, nor multicast or above.
const V4_HOST: &str = "^([1-9]|[1-9][0-9]|1[0-9]{2}|2[01][0-9]|22[0-3])\\.";
/// The beginning of an IPv6 address of a host: neither multicast nor near zero, except loopback.
const V6_HOST: &str = "^(::1$|[1-9a-e]|f[0-9a-e]|f[0-9a-f]{0,2}:)";
/// The addresses that stand for any.
const ANY: [&str; 2] = ["0.0.0.0", "::"];

/// An IPv4 address of a host, in a longer string.
fn v4() -> String {
    format!("{UNICAST}(\\.{OCTET}){{3}}")
}

/// An IPv6 address of a host, in a longer string, as RFC 5952 writes it or longer; the near end of the zeros is loopback alone.
fn v6() -> String {
    let mut forms = vec!["::1".to_owned(), format!("{UNICAST_GROUP}(:{GROUP}){{7}}"), format!("{UNICAST_GROUP}::")];
    for before in 1..=6 {
        let more = before - 1;
        forms.push(format!("{UNICAST_GROUP}(:{GROUP}){{{more}}}:(:{GROUP}){{1,{}}}", 7 - before));
    }
    format!("({})", forms.join("|"))
}

/// Adds the forms of addresses and ids, for reflectors of these names that listen on these ports.
pub(super) fn constrain(document: &mut Value, ports: &[BTreeSet<u16>], names: &[String]) {
    let all: BTreeSet<u16> = ports.iter().flatten().copied().collect();
    // Where they listen on different ports, a schema can't say which one a body is for.
    let common = ports.iter().all(|own| *own == all).then_some(&all);
    if let Some(body) = document["components"]["schemas"].get_mut("SessionBody") {
        constrain_session(body, ["source_port", "destination_port"], common);
        let members = ["source", "destination"];
        body["oneOf"] = json!([family(members, &v4_address(), &ANY[..1]), family(members, &v6_address(), &ANY[1..])]);
        if common.is_some_and(|common| !common.contains(&DEFAULT_PORT)) {
            // What is taken where none is given is not listened on.
            body["required"] = json!(["source", "destination_port"]);
        }
    }
    if let Some(body) = document["components"]["schemas"].get_mut("NamesakeSessionBody") {
        constrain_session(body, ["src_port", "dst_port"], common);
        // Any is any there, in whatever family it is written.
        let members = ["src_ip", "dst_ip"];
        body["oneOf"] = json!([family(members, &v4_address(), &ANY), family(members, &v6_address(), &ANY)]);
    }
    let (v4, v6) = (v4(), v6());
    let listed: Vec<String> = all.iter().map(u16::to_string).collect();
    let listed = listed.join("|");
    let id = |of: &str, any: &str| format!("{of},{NUMBER},({of}|{any}),({listed}),{NUMBER}");
    let id = format!("^({}|{})$", id(&v4, "0\\.0\\.0\\.0"), id(&v6, "::"));
    let target = format!("^({v4}|{v4}:[1-9][0-9]{{0,3}}|\\[{v6}\\]:[1-9][0-9]{{0,3}})$");
    if let Some(body) = document["components"]["schemas"].get_mut("HeartbeatBody") {
        body["properties"]["target"]["pattern"] = json!(target);
    }
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    let parameters = operations.filter_map(|(_, operation)| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters {
        let pattern = match parameter["name"].as_str() {
            Some("id" | "after") => &id,
            Some("target") => &target,
            Some("source") => {
                parameter["schema"]["anyOf"] = json!([v4_address(), v6_address()]);
                continue;
            }
            Some("destination") => {
                parameter["schema"]["anyOf"] = json!([v4_address(), v6_address(), {"enum": ANY}]);
                continue;
            }
            Some("name") => {
                parameter["schema"]["enum"] = json!(names);
                continue;
            }
            Some("ssid" | "source_port") => {
                parameter["schema"]["maximum"] = json!(u16::MAX);
                continue;
            }
            _ => continue,
        };
        parameter["schema"]["pattern"] = json!(pattern);
    }
}

fn v4_address() -> Value {
    json!({"format": "ipv4", "pattern": V4_HOST})
}

fn v6_address() -> Value {
    json!({"format": "ipv6", "pattern": V6_HOST})
}

/// Both addresses of one family; the second may be one of `any`.
fn family([source, destination]: [&str; 2], host: &Value, any: &[&str]) -> Value {
    json!({"properties": {source: host, destination: {"anyOf": [host, {"enum": any}]}}})
}

/// The numbers of a session's body, whose members have these names.
fn constrain_session(body: &mut Value, [source_port, port]: [&str; 2], ports: Option<&BTreeSet<u16>>) {
    for number in [source_port, "ssid"] {
        body["properties"][number]["maximum"] = json!(u16::MAX);
    }
    let property = &mut body["properties"][port];
    match ports {
        Some(ports) => {
            property["enum"] = json!(ports);
            property["example"] = json!(ports.first());
        }
        None => (property["minimum"], property["maximum"]) = (json!(1), json!(u16::MAX)),
    }
}

/// Adds what a setting can be, where its type says too little.
pub(super) fn constrain_setting(name: &str, schema: &mut Value) {
    let names = |known: &[&str]| known.join("|");
    let list = |names: &str, numbers: &str| {
        let item = format!("({names}|{numbers})");
        json!(format!("^(all|none|{item}(, ?{item})*)$"))
    };
    match name {
        "deny-dscp" => {
            let known: Vec<&str> = Dscp::NAMED.iter().map(|(name, _)| *name).collect();
            schema["pattern"] = list(&names(&known), "[1-5][0-9]|6[0-3]|[0-9]");
        }
        "deny-ecn" => {
            let known: Vec<&str> = Ecn::NAMED.iter().map(|(name, _)| *name).collect();
            schema["pattern"] = list(&names(&known), "[0-3]");
        }
        "location-hide" => {
            schema["items"]["enum"] = json!(LocationFields::NAMED.map(|(name, _)| name));
        }
        "tlv-code" => {
            let known: Vec<&str> = REGISTRY.iter().filter(|e| e.is_experimental()).map(|e| e.name).collect();
            let number = "(1[3-9]|[2-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-4])";
            schema["items"]["pattern"] = json!(format!("^({})={number}$", names(&known)));
        }
        "allow" => {
            let (v4, v6) = (v4(), v6());
            let prefix = format!("^({v4}(/([12]?[0-9]|3[0-2]))?|{v6}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$");
            schema["items"]["pattern"] = json!(prefix);
            schema["maxItems"] = json!(8192);
        }
        "rate-limit" | "punt-limit" => {
            schema["type"] = json!(["string", "integer", "null"]);
            schema["pattern"] = json!("^(0|[1-9][0-9]{0,8}|1000000000)(:[1-9][0-9]{0,8})?$");
            (schema["minimum"], schema["maximum"]) = (json!(0), json!(1_000_000_000));
        }
        "rate-limit-prefix" => {
            let (v4, v6) = ("3[0-2]|[12][0-9]|[1-9]", "12[0-8]|1[01][0-9]|[1-9][0-9]?");
            schema["type"] = json!(["string", "integer", "null"]);
            schema["pattern"] = json!(format!("^({v6})(:({v4}))?$"));
            (schema["minimum"], schema["maximum"]) = (json!(1), json!(128));
        }
        "session-restart" => schema["maximum"] = json!(MAX_RESTART_S),
        "reflected-control-interval" => schema["pattern"] = json!("^([1-9][0-9]{1,2}us|[1-9][0-9]{0,2}ms|[1-4]s)$"),
        "reflected-control-count" => (schema["minimum"], schema["maximum"]) = (json!(1), json!(u16::MAX)),
        "reflected-control-session-rate" | "reflected-control-rate" => schema["minimum"] = json!(1),
        "micro-session-id" | "min-payload" | "reflected-control-length" => schema["maximum"] = json!(u16::MAX),
        _ => {}
    }
}
