//! The YAML configuration of the earlier implementation (cerfcast/teaparty), read and written again as one of our
//! files.
//!
//! Its file is a list of instances, each a list of one map, `general`, with the keys of `KEYS`. Also taken are what people write
//! instead: instances that are maps, one instance alone, `IP:PORT` for a map of the two, and dashes for underscores. What has no
//! counterpart is an error; what comes out otherwise than it was there is a note, which the file written has as a comment.

mod nodes;
mod written;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use saphyr::{LoadableYamlNode, MarkedYaml};
use teaparty_common::wire::DEFAULT_PORT;

use self::nodes::{Pair, boolean, items, pairs, text};
use super::diagnostic::{Diagnostic, meant};
use super::service::DEFAULT_API;
use crate::heartbeat::{Heartbeat, InvalidHeartbeat};
use crate::http::listen::ListenAddress;
use crate::reflector::config::{ReflectorConfig, ReflectorSettings};
use crate::reflector::keys::SessionKeys;

/// Most characters of a line. The parser takes blocks as deep as a line is long, and frees them by recursion.
const MAX_LINE: usize = 1024;

/// The one map of an instance.
const GENERAL: &str = "general";

/// A key's value, taken into an instance.
type KeyHandler = fn(&mut Reading, &mut LegacyInstance, &Pair<'_>);

/// The keys of an instance.
const KEYS: &[(&str, KeyHandler)] = &[
    ("name", Reading::name),
    ("stateless", |reading, instance, pair| reading.flag(&mut instance.settings.stateless, pair)),
    ("heartbeat", Reading::heartbeat),
    ("link_layer", |reading, instance, pair| reading.flag(&mut instance.settings.link_layer, pair)),
    ("listen", Reading::listen),
    ("meta_addr", Reading::api),
];

/// A converted file, and notes for its author.
#[derive(Debug)]
pub(crate) struct Converted {
    /// The file, in TOML. `teaparty config check` takes it.
    pub text: String,
    /// The differences, with their places in the YAML.
    pub notes: Vec<Diagnostic>,
}

/// An instance of the earlier implementation.
#[derive(Default)]
struct LegacyInstance {
    place: (usize, usize),
    settings: ReflectorSettings,
    heartbeats: Vec<(Heartbeat, (usize, usize))>,
    api: Option<(SocketAddr, (usize, usize))>,
    notes: Vec<Diagnostic>,
}

/// The problems so far.
#[derive(Default)]
struct Reading {
    problems: Vec<Diagnostic>,
}

/// Reads a file of the earlier implementation; all that is wrong with it otherwise, in its order.
pub(crate) fn convert(yaml: &str) -> Result<Converted, Vec<Diagnostic>> {
    let mut reading = Reading::default();
    let mut instances = reading.instances(yaml);
    // What follows a mistake is mostly taken amiss because of it.
    if reading.problems.is_empty() {
        reading.tell_apart(&mut instances);
    }
    let shared = reading.shared(&instances);
    if reading.problems.is_empty() {
        return Ok(written::file(shared, instances));
    }
    reading.problems.sort_by_key(|problem| problem.place);
    Err(reading.problems)
}

/// The settings of the process as a whole.
#[derive(Default)]
struct LegacyShared {
    heartbeats: Vec<Heartbeat>,
    api: Option<SocketAddr>,
    notes: Vec<Diagnostic>,
}

fn problem(place: (usize, usize), key: &str, what: impl Into<String>) -> Diagnostic {
    Diagnostic { place: Some(place), key: key.into(), what: what.into() }
}

impl Reading {
    fn wrong(&mut self, place: (usize, usize), key: &str, what: impl Into<String>) {
        self.problems.push(problem(place, key, what));
    }

    fn instances(&mut self, yaml: &str) -> Vec<LegacyInstance> {
        if let Some(at) = yaml.lines().position(|line| line.chars().nth(MAX_LINE).is_some()) {
            let what = format!("has a line of more than {MAX_LINE} characters; is this the right file?");
            self.wrong((at + 1, 1), "", what);
            return Vec::new();
        }
        let documents = match MarkedYaml::load_from_str(yaml) {
            Ok(documents) => documents,
            Err(error) => {
                let place = (error.marker().line(), error.marker().col() + 1);
                self.wrong(place, "", format!("this is not YAML: {}", error.info()));
                return Vec::new();
            }
        };
        let [document] = &documents[..] else {
            let what =
                if documents.is_empty() { "there is nothing in it" } else { "there are several documents in it" };
            self.wrong((1, 1), "", format!("{what}; write one list of instances"));
            return Vec::new();
        };
        let alone = std::slice::from_ref(document);
        items(document).unwrap_or(alone).iter().map(|node| self.instance(node)).collect()
    }

    /// One instance: a list of maps, or one map.
    fn instance(&mut self, node: &MarkedYaml<'_>) -> LegacyInstance {
        let mut instance = LegacyInstance { place: nodes::place(node), ..LegacyInstance::default() };
        let mut is_read = false;
        for map in items(node).unwrap_or(std::slice::from_ref(node)) {
            let Some(pairs) = pairs(map) else {
                let what = format!("an instance is a map `{GENERAL}:` of its settings");
                self.wrong(nodes::place(map), GENERAL, what);
                continue;
            };
            for pair in pairs {
                match pair.key.as_str() {
                    GENERAL if is_read => {
                        self.wrong(
                            pair.place,
                            GENERAL,
                            "is there twice in one instance; begin the second with a `-` of its own",
                        );
                    }
                    GENERAL => {
                        is_read = true;
                        self.general(&mut instance, &pair);
                    }
                    key => {
                        let is_inside = KEYS.iter().any(|(known, _)| *known == nodes::underscored(key));
                        let what = match is_inside {
                            true => format!("belongs into the map `{GENERAL}:`, indented under it"),
                            false => format!("there is no such key; the settings of an instance are in `{GENERAL}:`"),
                        };
                        self.wrong(pair.place, key, what);
                    }
                }
            }
        }
        instance
    }

    fn general(&mut self, instance: &mut LegacyInstance, general: &Pair<'_>) {
        let Some(pairs) = general.is_null.then(Vec::new).or_else(|| pairs(general.value)) else {
            return self.wrong(general.place, GENERAL, "write a map of settings, indented under it");
        };
        for pair in pairs {
            match KEYS.iter().find(|(name, _)| *name == nodes::underscored(&pair.key)) {
                // As if it were not there.
                Some(_) if pair.is_null => {}
                Some((_, take)) => take(self, instance, &pair),
                None => {
                    let names = || KEYS.iter().map(|(name, _)| *name);
                    let what = match meant(&pair.key, names()) {
                        Some(near) => format!("there is no such key; did you mean `{near}`?"),
                        None => format!(
                            "there is no such key; those of an instance are {}. Take it out, and look for its like with \
                             `teaparty config schema`",
                            names().collect::<Vec<_>>().join(", ")
                        ),
                    };
                    self.wrong(pair.place, &pair.key, what);
                }
            }
        }
    }

    fn name(&mut self, instance: &mut LegacyInstance, pair: &Pair<'_>) {
        match text(pair.value) {
            Some(name) => instance.settings.name = Some(name.into_owned()),
            None => {
                self.wrong(pair.place, &pair.key, "write text, in quotation marks where it looks like something else")
            }
        }
    }

    fn flag(&mut self, flag: &mut bool, pair: &Pair<'_>) {
        match boolean(pair.value) {
            Some(value) => *flag = value,
            None => self.wrong(pair.place, &pair.key, "write true or false, without quotation marks"),
        }
    }

    fn heartbeat(&mut self, instance: &mut LegacyInstance, pair: &Pair<'_>) {
        for node in items(pair.value).unwrap_or(std::slice::from_ref(pair.value)) {
            let place = nodes::place(node);
            match text(node).map(|text| heartbeat(&text)) {
                Some(Ok(heartbeat)) => instance.heartbeats.push((heartbeat, place)),
                Some(Err(error)) => self.wrong(place, &pair.key, error.to_string()),
                None => self.wrong(place, &pair.key, "write a list of IP[:PORT]@SECONDS"),
            }
        }
    }

    fn listen(&mut self, instance: &mut LegacyInstance, pair: &Pair<'_>) {
        let Some(listen) = self.socket(pair, DEFAULT_PORT) else { return };
        instance.settings.port = vec![listen.port()];
        let note = match listen.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                "was IPv4 alone; here IPv6 is answered too, unless `address` names some".into()
            }
            ip if ip.is_unspecified() => return,
            ip => {
                instance.settings.address = vec![ip];
                format!("for {ip} alone, on every interface; name one with `iface` to have the others left alone")
            }
        };
        instance.notes.push(problem(pair.place, &pair.key, note));
    }

    fn api(&mut self, instance: &mut LegacyInstance, pair: &Pair<'_>) {
        let ListenAddress::Tcp(default) = DEFAULT_API else { return };
        instance.api = self.socket(pair, default.port()).map(|address| (address, pair.place));
    }

    /// An address and a port: a map of the two, or both as text.
    fn socket(&mut self, pair: &Pair<'_>, default_port: u16) -> Option<SocketAddr> {
        let Some(members) = pairs(pair.value) else {
            let read = text(pair.value).and_then(|text| endpoint(&text, default_port)).filter(|read| read.port() != 0);
            if read.is_none() {
                self.wrong(pair.place, &pair.key, "write a map of `ip` and `port`, or text: IP:PORT");
            }
            return read;
        };
        let before = self.problems.len();
        let (mut ip, mut port) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), default_port);
        for member in members {
            let name = format!("{}.{}", pair.key, member.key);
            match member.key.as_str() {
                _ if member.is_null => {}
                "ip" => match text(member.value).and_then(|text| text.parse().ok()) {
                    Some(read) => ip = read,
                    None => self.wrong(member.place, &name, "write an IP address"),
                },
                "port" => match text(member.value).and_then(|text| text.parse().ok()).filter(|port| *port != 0) {
                    Some(read) => port = read,
                    None => self.wrong(member.place, &name, "write a number from 1 to 65535"),
                },
                _ => self.wrong(member.place, &name, "there is no such key; there are `ip` and `port`"),
            }
        }
        (self.problems.len() == before).then_some(SocketAddr::new(ip, port))
    }

    /// Gives each of several instances a name, and sees to it that they can run in one process.
    fn tell_apart(&mut self, instances: &mut [LegacyInstance]) {
        let are_several = instances.len() > 1;
        let (mut names, mut ports) = (HashMap::new(), HashMap::new());
        for (at, instance) in instances.iter_mut().enumerate() {
            // Of the reflector's own rules those that need no interface.
            let settings = ReflectorSettings { iface: vec!["any".into()], ..instance.settings.clone() };
            if let Err(error) = ReflectorConfig::new(settings, SessionKeys::default()) {
                self.wrong(instance.place, error.field, error.problem);
            }
            if !are_several {
                return;
            }
            let name = instance.settings.name.get_or_insert_with(|| format!("reflector-{}", at + 1)).clone();
            if names.insert(name.clone(), at).is_some() {
                let what = format!("two instances are called `{name}`; give each a `name` of its own");
                self.wrong(instance.place, "name", what);
            }
            for port in &instance.settings.port {
                if let Some(other) = ports.insert(*port, name.clone()) {
                    let what = format!(
                        "`{other}` and `{name}` both listen on UDP port {port}, which two reflectors here can only do on \
                         different interfaces; give one of them another port, or convert each by itself, put both into one \
                         file, and name the `iface` of each"
                    );
                    self.wrong(instance.place, "listen", what);
                }
            }
        }
    }

    /// Collects the settings of the process from the instances.
    fn shared(&mut self, instances: &[LegacyInstance]) -> LegacyShared {
        let mut shared = LegacyShared::default();
        for (heartbeat, place) in instances.iter().flat_map(|instance| &instance.heartbeats) {
            match shared.heartbeats.iter().find(|other| other.target == heartbeat.target) {
                Some(same) if same == heartbeat => {}
                Some(_) => {
                    let what = format!("{} is there with two intervals; leave out one of them", heartbeat.target);
                    self.wrong(*place, "heartbeat", what);
                }
                None => shared.heartbeats.push(*heartbeat),
            }
        }
        for (api, place) in instances.iter().filter_map(|instance| instance.api) {
            let mut note = |what: String| shared.notes.push(problem(place, "meta_addr", what));
            match shared.api {
                Some(first) if first == api => {}
                Some(first) => note(format!(
                    "was {api}; here one API has all reflectors, at {first}: those behind the first one under \
                     /api/v1/reflectors/NAME"
                )),
                None if api.ip().is_loopback() => shared.api = Some(api),
                None => {
                    let local = SocketAddr::new(written::loopback(api.ip()), api.port());
                    note(format!(
                        "was {api}; here an API that other hosts can reach takes an `api-token-file`, so it is {local}"
                    ));
                    shared.api = Some(local);
                }
            }
        }
        shared
    }
}

/// A heartbeat, whose address and port may be written without brackets.
fn heartbeat(text: &str) -> Result<Heartbeat, InvalidHeartbeat> {
    let Some((target, seconds)) = text.rsplit_once('@') else { return text.parse() };
    match endpoint(target, DEFAULT_PORT) {
        Some(target) => format!("{target}@{}", seconds.trim()).parse(),
        None => text.parse(),
    }
}

/// An address with or without a port. As there, what follows the last colon is a port wherever the rest is an address.
fn endpoint(text: &str, default_port: u16) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = |ip: &str| ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip).parse::<IpAddr>().ok();
    let both = text.rsplit_once(':').and_then(|(ip, port)| Some(SocketAddr::new(bare(ip)?, port.parse().ok()?)));
    both.or_else(|| Some(SocketAddr::new(bare(text)?, default_port)))
}

#[cfg(test)]
mod tests;
