//! Everything that the process is to do, from command line and file together: read, layered and checked as a whole.
//!
//! The command line wins over a `[[reflector]]` table, that over the keys above all tables, those over the defaults.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::cli_overrides::CliOverrides;
use super::config_text::ConfigText;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::file_kind::FileKind;
use super::service::Service;
use super::toml_doc::{Table, TomlDocument, keys, try_each};
use crate::http::auth::credentials::Credentials;
use crate::reflector::config::{
    ConfigError, ReflectorConfig, ReflectorSettings, SessionSettings, TimestampFormatSetting, XdpMode,
    check_provisioned,
};
use crate::reflector::handle::SessionSpec;
use crate::reflector::keys::KeyLoader;

/// The key whose tables each are a reflector.
pub(crate) const REFLECTOR: &str = "reflector";

/// The input of the command line.
#[derive(Clone, Debug)]
pub struct CliInput {
    /// The configuration file, or the folder of one and its drop-ins; `-` is standard input.
    pub file: Option<PathBuf>,
    /// Of the process.
    pub service: CliOverrides<Service>,
    /// Of every reflector.
    pub settings: CliOverrides<ReflectorSettings>,
    /// Short for a timestamp format.
    pub ptp: bool,
}

/// The plan for the process.
#[derive(Clone)]
pub(crate) struct ProcessPlan {
    /// Settings of the process.
    pub service: Service,
    /// The access rules for the API from its files.
    pub access: Credentials,
    /// The reflectors; not empty.
    pub reflectors: Vec<ReflectorPlan>,
}

/// A reflector to be run.
#[derive(Clone)]
pub(crate) struct ReflectorPlan {
    /// Its configuration.
    pub config: ReflectorConfig,
    /// Its provisioned sessions.
    pub sessions: Vec<SessionSpec>,
}

impl fmt::Debug for ProcessPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.reflectors.iter().map(ReflectorPlan::name).collect();
        f.debug_struct("Plan").field("service", &self.service).field("reflectors", &names).finish()
    }
}

impl ReflectorPlan {
    /// Its name, or what it answers on.
    pub(crate) fn name(&self) -> String {
        self.config.name()
    }
}

impl ProcessPlan {
    /// Reads the files, if there are any, and puts together what is to be done. Reads all keys.
    pub(crate) fn read(input: &CliInput, loader: &KeyLoader) -> Result<Self, Diagnostics> {
        let text = match &input.file {
            None => ConfigText::default(),
            Some(path) => ConfigText::read(path, FileKind::Reflector)?,
        };
        Self::of(&text, input, loader).map_err(|list| text.diagnostics(list))
    }

    /// Returns the same for a text.
    pub(crate) fn of(text: &ConfigText, input: &CliInput, loader: &KeyLoader) -> Result<Self, Vec<Diagnostic>> {
        let (mut document, table) = TomlDocument::parse(text, FileKind::Reflector);
        let (service, access) = service(&mut document, &table, input);
        let layers = layers(&mut document, table);
        let mut plan = Self { service, access, reflectors: Vec::new() };
        let mut sources = Vec::new();
        for layer in layers {
            if let Some(planned) = planned(&mut document, &layer, input, loader) {
                plan.reflectors.push(planned);
                sources.push(layer);
            }
        }
        if document.problems.is_empty() {
            plan.claim(&mut document, &sources);
        }
        if document.problems.is_empty() {
            return Ok(plan);
        }
        Err(document.into_problems())
    }

    /// Tells each reflector which interfaces have another one's program.
    fn share(&mut self, programs: &HashMap<String, usize>) {
        for (at, planned) in self.reflectors.iter_mut().enumerate() {
            let config = &mut planned.config;
            let is_others = |interface: &&String| programs.get(*interface).is_some_and(|owner| *owner != at);
            config.without_xdp = config.interfaces.iter().filter(is_others).cloned().collect();
        }
    }

    /// Sees to it that no two reflectors claim the same: a name, a port on an interface, an interface's XDP program.
    fn claim<'a>(&mut self, document: &mut TomlDocument<'a>, sources: &[Table<'a>]) {
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut ports: HashMap<(String, u16), usize> = HashMap::new();
        let mut programs: HashMap<String, usize> = HashMap::new();
        for (at, source) in sources.iter().enumerate().take(self.reflectors.len()) {
            let name = self.reflectors[at].name();
            if names.insert(name.clone(), at).is_some() {
                let what = format!("two reflectors are called `{name}`; give each a `name` of its own");
                document.wrong_in(source, "name", what);
                continue;
            }
            let config = &self.reflectors[at].config;
            for interface in config.interfaces.clone() {
                let twice = config.ports.iter().find_map(|port| {
                    ports
                        .insert((interface.clone(), *port), at)
                        .filter(|other| *other != at)
                        .map(|other| (*port, other))
                });
                if let Some((port, other)) = twice {
                    let other = &names_of(&names, other);
                    let what = format!(
                        "reflectors `{other}` and `{name}` both claim UDP port {port} on {interface}; give one of them \
                         another port or interface"
                    );
                    document.wrong_in(source, "port", what);
                    continue;
                }
                match (config.xdp_mode, programs.get(&interface)) {
                    (XdpMode::Off, _) => {}
                    (_, None) => drop(programs.insert(interface, at)),
                    (XdpMode::Auto, Some(_)) => {}
                    (_, Some(other)) => {
                        let other = &names_of(&names, *other);
                        let what = format!(
                            "reflectors `{other}` and `{name}` both want the XDP program of {interface}, which has one; \
                             set `xdp-mode` of one of them to \"off\", or make them one reflector with both ports"
                        );
                        document.wrong_in(source, "xdp-mode", what);
                    }
                }
            }
        }
        self.share(&programs);
    }
}

fn names_of(names: &HashMap<String, usize>, at: usize) -> String {
    names.iter().find(|(_, other)| **other == at).map(|(name, _)| name.clone()).unwrap_or_default()
}

/// The settings of the process, checked as far as there are any, and what their files say of who may use the API.
fn service<'a>(document: &mut TomlDocument<'a>, table: &Table<'a>, input: &CliInput) -> (Service, Credentials) {
    let mut service: Service = document.fitting(table);
    if let Err(error) = input.service.over(&mut service) {
        document.problems.push(typed_wrong(&error));
        return (service, Credentials::default());
    }
    let access = try_each(
        service.clone(),
        |service| service.check().map_err(|error| (error.field, error)),
        |field, error| document.refused(table, input.service.has(field), error),
    );
    (service, access.unwrap_or_default())
}

/// A reflector's tables, what is common to all of them included; one without a `[[reflector]]` table.
fn layers<'a>(document: &mut TomlDocument<'a>, root: Table<'a>) -> Vec<Table<'a>> {
    let (own, process) = (keys::<ReflectorSettings>(), keys::<Service>());
    document.unknown_keys(&root, &[&own[..], &process, &[REFLECTOR.into()]].concat(), &[]);
    let mut common = Table::default();
    let mut tables = None;
    for (name, value) in root.members {
        match &**name.get_ref() {
            REFLECTOR => tables = Some(value),
            key if own.iter().any(|own| own == key) => drop(common.members.insert(name, value)),
            _ => {}
        }
    }
    let Some(tables) = tables else { return vec![common] };
    if let Some(name) = common.get("name") {
        document.wrong(name.span(), "name", "names one reflector; put it into its [[reflector]] table");
    }
    let list = match tables.get_ref() {
        DeValue::Array(list) => list.iter().map(|table| (table.span(), Table::of(table))).collect(),
        _ => vec![(tables.span(), Table::of(&tables))],
    };
    let mut layers = Vec::new();
    for (span, table) in list {
        let Some(table) = table else {
            document.wrong(span, REFLECTOR, "write a table for each reflector, under a line [[reflector]]");
            continue;
        };
        document.unknown_keys(&table, &own, &process);
        let mut layer = common.clone();
        layer.members.extend(table.members);
        layer.span = table.span;
        layers.push(layer);
    }
    layers
}

/// One reflector, or `None` and what is wrong with it.
fn planned<'a>(
    document: &mut TomlDocument<'a>,
    layer: &Table<'a>,
    input: &CliInput,
    loader: &KeyLoader,
) -> Option<ReflectorPlan> {
    let before = document.problems.len();
    // Too many to be looked at one by one.
    if let Err(error) = check_provisioned(session_count(layer)) {
        document.refused(layer, false, error);
        return None;
    }
    let known_keys = keys::<SessionSettings>();
    let mut written: Vec<Option<SessionSettings>> = Vec::new();
    for at in 0.. {
        let Some(table) = session_table(layer, at) else { break };
        let known = document.problems.len();
        document.unknown_keys(&table, &known_keys, &[]);
        let session = document.settings::<SessionSettings>(&table);
        written.push(session.filter(|_| document.problems.len() == known));
    }
    // Sessions with mistakes were told; the other settings are looked at without them.
    let mut rest = layer.clone();
    if written.iter().any(Option::is_none) {
        let others = layer.members.iter().filter(|(name, _)| *name.get_ref() != "session");
        rest.members = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    let mut settings: ReflectorSettings = document.fitting(&rest);
    if let Err(error) = input.settings.over(&mut settings) {
        document.problems.push(typed_wrong(&error));
        return None;
    }
    if input.ptp {
        settings.timestamp_format = TimestampFormatSetting::Ptp;
    }
    let ports = settings.port.clone();
    if written.is_empty() || input.settings.has("session") {
        written = settings.session.iter().cloned().map(Some).collect();
    }
    let config = try_each(
        settings,
        |settings| ReflectorConfig::load(settings.clone(), loader).map_err(|error| (error.field, error)),
        |field, error| document.refused(layer, input.settings.has(field), error),
    );
    let mut sessions: Vec<SessionSpec> = Vec::new();
    let mut ids = HashSet::new();
    for (at, session) in written.iter().enumerate() {
        let Some(session) = session else { continue };
        let table = if input.settings.has("session") { None } else { session_table(layer, at) };
        let mut wrong = |field: &str, what: String| match &table {
            Some(table) => document.wrong_in(table, field, what),
            None => document.wrong_in(layer, "session", format!("{field}: {what}")),
        };
        match session.spec(&ports, loader) {
            Err(ConfigError { field, problem }) => wrong(field, problem),
            Ok(spec) if !ids.insert(spec.id) => {
                wrong("source", "this session is there twice; leave out one of them".into());
            }
            Ok(spec) => sessions.push(spec),
        }
    }
    let config = config.filter(|_| document.problems.len() == before)?;
    Some(ReflectorPlan { config, sessions })
}

/// Returns the number of sessions in a reflector's tables.
fn session_count(layer: &Table<'_>) -> usize {
    layer.get("session").map_or(0, |value| match value.get_ref() {
        DeValue::Array(tables) => tables.len(),
        _ => 1,
    })
}

/// The table of one session.
fn session_table<'a>(layer: &Table<'a>, at: usize) -> Option<Table<'a>> {
    let value = layer.get("session")?;
    match value.get_ref() {
        DeValue::Array(tables) => Table::of(tables.get(at)?),
        _ if at == 0 => Table::of(value),
        _ => None,
    }
}

fn typed_wrong(error: &clap::Error) -> Diagnostic {
    Diagnostic { place: None, key: String::new(), what: error.to_string() }
}

#[cfg(test)]
mod tests;
