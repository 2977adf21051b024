//! What a type in Rust does not say of a value, in the OpenAPI document: forms of addresses, ids, prefixes and lists.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teaparty_common::reflect::LocationFields;
use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::{DEFAULT_PORT, Dscp, Ecn};

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

/// An IPv4 address of a host.
fn v4() -> String {
    format!("{UNICAST}(\\.{OCTET}){{3}}")
}

/// An IPv6 address of a host, as RFC 5952 writes it or longer; the near end of the zeros is loopback alone.
fn v6() -> String {
    let mut forms = vec!["::1".to_owned(), format!("{UNICAST_GROUP}(:{GROUP}){{7}}"), format!("{UNICAST_GROUP}::")];
    for before in 1..=6 {
        let more = before - 1;
        forms.push(format!("{UNICAST_GROUP}(:{GROUP}){{{more}}}:(:{GROUP}){{1,{}}}", 7 - before));
    }
    format!("({})", forms.join("|"))
}

/// Adds the forms of addresses and ids, for a reflector that listens on these ports.
pub(super) fn constrain(document: &mut Value, ports: &BTreeSet<u16>) {
    let (v4, v6) = (v4(), v6());
    let body = &mut document["components"]["schemas"]["SessionBody"];
    let family = |of: &str, any: &str| {
        let (source, destination) = (format!("^{of}$"), format!("^({of}|{any})$"));
        json!({"properties": {"source": {"pattern": source}, "destination": {"pattern": destination}}})
    };
    body["oneOf"] = json!([family(&v4, "0\\.0\\.0\\.0"), family(&v6, "::")]);
    for number in ["source_port", "ssid"] {
        body["properties"][number]["maximum"] = json!(u16::MAX);
    }
    body["properties"]["destination_port"]["enum"] = json!(ports);
    body["properties"]["destination_port"]["example"] = json!(ports.first());
    if !ports.contains(&DEFAULT_PORT) {
        // What is taken where none is given is not listened on.
        body["required"] = json!(["source", "destination_port"]);
    }
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let listed = listed.join("|");
    let id = |of: &str, any: &str| format!("{of},{NUMBER},({of}|{any}),({listed}),{NUMBER}");
    let id = format!("^({}|{})$", id(&v4, "0\\.0\\.0\\.0"), id(&v6, "::"));
    let address = format!("^({v4}|{v6})$");
    let any_address = format!("^({v4}|{v6}|0\\.0\\.0\\.0|::)$");
    let target = format!("^({v4}|{v4}:[1-9][0-9]{{0,3}}|\\[{v6}\\]:[1-9][0-9]{{0,3}})$");
    document["components"]["schemas"]["HeartbeatBody"]["properties"]["target"]["pattern"] = json!(target);
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    let parameters = operations.filter_map(|(_, operation)| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters {
        let pattern = match parameter["name"].as_str() {
            Some("id" | "after") => &id,
            Some("source") => &address,
            Some("destination") => &any_address,
            Some("target") => &target,
            Some("ssid" | "source_port") => {
                parameter["schema"]["maximum"] = json!(u16::MAX);
                continue;
            }
            _ => continue,
        };
        parameter["schema"]["pattern"] = json!(pattern);
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
        "rate-limit" => {
            schema["type"] = json!(["string", "integer", "null"]);
            schema["pattern"] = json!("^(0|[1-9][0-9]{0,8}|1000000000)(:[1-9][0-9]{0,8})?$");
            (schema["minimum"], schema["maximum"]) = (json!(0), json!(1_000_000_000));
        }
        "reflected-control-interval" => schema["pattern"] = json!("^([1-9][0-9]{1,2}us|[1-9][0-9]{0,2}ms|[1-4]s)$"),
        "reflected-control-count" => (schema["minimum"], schema["maximum"]) = (json!(1), json!(u16::MAX)),
        "reflected-control-session-rate" | "reflected-control-rate" => schema["minimum"] = json!(1),
        "micro-session-id" | "min-payload" | "reflected-control-length" => schema["maximum"] = json!(u16::MAX),
        _ => {}
    }
}
