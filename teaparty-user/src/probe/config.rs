//! The probe's file: read, layered and checked as a whole. Every problem has its line, its key and what to do.

use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use toml::Spanned;
use toml::de::DeValue;

use super::document::DocumentAddress;
use super::settings::{FileSd, HistogramSettings, HttpSd, Measure, TargetTable};
use super::target::{LABEL_OCTETS, MOST_LABELS, MeasurementProfile, TargetSpec, check_label};
use crate::config::config_text::ConfigText;
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::file_kind::FileKind;
use crate::config::service::ApiSettings;
use crate::config::toml_doc::{Table, TomlDocument, keys, try_each};
use crate::http::auth::credentials::Credentials;
use crate::reflector::keys::KeyLoader;
use crate::sender::target::parse_words;
use crate::sla::SlaConfig;
use crate::units::DurationSetting;

/// Keys of tables.
pub(crate) const TARGET: &str = "target";
/// Tables of files with targets.
pub(crate) const FILE_SD: &str = "file-sd";
/// Tables of addresses of documents with targets.
pub(crate) const HTTP_SD: &str = "http-sd";
/// The table of the service level.
pub(crate) const SLA: &str = "sla";
/// The key of labels.
pub(crate) const LABELS: &str = "labels";

/// Targets of a probe at most: what more there is, is left out and told.
pub(crate) const MOST_TARGETS: usize = 10_000;
/// Ways to measure at most; each has sockets and a thread of its own.
pub(crate) const MOST_PROFILES: usize = 64;

/// The origin of further targets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Files, each by its name or a pattern of names.
    Files(Vec<String>),
    /// A document by HTTP.
    Http(DocumentAddress),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files(names) => f.write_str(&names.join(", ")),
            Self::Http(address) => write!(f, "{}", address.url),
        }
    }
}

/// A source of targets.
#[derive(Clone)]
pub(crate) struct TargetSource {
    /// Its location.
    pub origin: Origin,
    /// It is read so often.
    pub refresh: Duration,
    /// Labels that its targets have, unless they say otherwise.
    pub labels: BTreeMap<String, String>,
    /// The measurement of its targets.
    pub profile: Arc<MeasurementProfile>,
}

/// The typed options, which override the file.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ProbeCliOverrides {
    /// Measure all targets with real-time priority (SCHED_FIFO), whatever the file says; takes root, CAP_SYS_NICE or a limit (RLIMIT_RTPRIO).
    #[arg(long)]
    pub realtime: bool,
}

/// The configuration of a probe.
pub(crate) struct ProbeConfig {
    /// The address of the metrics, and the access rules.
    pub api_settings: ApiSettings,
    /// Token and TLS that this names.
    pub access: Credentials,
    /// The targets that the file names.
    pub targets: Vec<TargetSpec>,
    /// The sources of further ones.
    pub sources: Vec<TargetSource>,
    /// The agreement.
    pub agreement: SlaConfig,
    /// The form of delays in metrics.
    pub series: HistogramSettings,
}

impl ProbeConfig {
    /// Reads a file, or a folder of one and its drop-ins, and the keys that they name.
    pub(crate) fn read(path: &Path, loader: &KeyLoader, typed: ProbeCliOverrides) -> Result<Self, Diagnostics> {
        let text = ConfigText::read(path, FileKind::Probe)?;
        Self::of(&text, loader, typed).map_err(|list| text.diagnostics(list))
    }

    /// Returns the same for a text.
    pub(crate) fn of(text: &ConfigText, loader: &KeyLoader, typed: ProbeCliOverrides) -> Result<Self, Vec<Diagnostic>> {
        let (document, table) = TomlDocument::parse(text, FileKind::Probe);
        let mut reader = ProbeConfigReader { document, loader, typed, profiles: Vec::new() };
        let config = reader.config(table);
        match config {
            Some(config) if reader.document.problems.is_empty() => Ok(config),
            _ => Err(reader.document.into_problems()),
        }
    }
}

struct ProbeConfigReader<'a, 'l> {
    document: TomlDocument<'a>,
    loader: &'l KeyLoader,
    typed: ProbeCliOverrides,
    profiles: Vec<Arc<MeasurementProfile>>,
}

impl<'a> ProbeConfigReader<'a, '_> {
    fn config(&mut self, table: Table<'a>) -> Option<ProbeConfig> {
        let measured = keys::<Measure>();
        let reach_keys = keys::<ApiSettings>();
        let mut known = [measured.clone(), reach_keys, keys::<HistogramSettings>()].concat();
        known.extend([TARGET, FILE_SD, HTTP_SD, SLA].map(String::from));
        self.document.unknown_keys(&table, &known, &[]);
        let api_settings: Option<ApiSettings> = self.document.settings(&table);
        let agreement = match table.get(SLA).cloned() {
            None => Some(SlaConfig::default()),
            Some(value) => self.agreement(&value),
        };
        let series: Option<HistogramSettings> = self.document.settings(&table);
        if let Some(Err((key, what))) = series.as_ref().map(HistogramSettings::check) {
            self.document.wrong_in(&table, key, what);
        }
        // What is wrong above all tables is reported there, once.
        self.document.settings::<Measure>(&table);
        let mut targets = Vec::new();
        for inner in self.tables(&table, TARGET) {
            targets.extend(self.target(&table, &inner, &measured));
        }
        let mut sources = Vec::new();
        for key in [FILE_SD, HTTP_SD] {
            for inner in self.tables(&table, key) {
                sources.extend(self.source(&table, &inner, key, &measured));
            }
        }
        if targets.is_empty() && sources.is_empty() && self.document.problems.is_empty() {
            let what = "whom to measure? add a table [[target]] with `address = \"HOST\"`, [[file-sd]] or [[http-sd]]";
            self.document.wrong_in(&table, TARGET, what);
        }
        self.claim(&table, &targets);
        let api_settings = api_settings?;
        let access = self.access(&table, &api_settings)?;
        Some(ProbeConfig { api_settings, access, targets, sources, agreement: agreement?, series: series? })
    }

    fn agreement(&mut self, value: &Spanned<DeValue<'a>>) -> Option<SlaConfig> {
        let Some(table) = Table::of(value) else {
            self.document.wrong(value.span(), SLA, "is a table: write [sla]");
            return None;
        };
        self.document.unknown_keys(&table, &keys::<SlaConfig>(), &[]);
        let before = self.document.problems.len();
        let agreement: SlaConfig = self.document.fitting(&table);
        let checked = try_each(
            agreement.clone(),
            |agreement| agreement.check(),
            |key, what| self.document.wrong_in(&table, key, what),
        );
        checked.filter(|()| self.document.problems.len() == before).map(|()| agreement)
    }

    /// Reads the access rules. They are the same as for the reflector's API.
    fn access(&mut self, table: &Table<'a>, api_settings: &ApiSettings) -> Option<Credentials> {
        match api_settings.check() {
            Ok(access) => Some(access),
            Err(error) => {
                self.document.refused(table, false, error);
                None
            }
        }
    }

    /// The tables of a list.
    fn tables(&mut self, table: &Table<'a>, key: &str) -> Vec<Table<'a>> {
        let Some(value) = table.get(key).cloned() else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.document.wrong(value.span(), key, format!("is a list of tables: write [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values.iter() {
            match Table::of(value) {
                Some(table) => tables.push(table),
                None => self.document.wrong(value.span(), key, format!("is a list of tables: write [[{key}]]")),
            }
        }
        tables
    }

    /// Reads how a table's targets are measured; equal profiles are shared.
    fn profile(&mut self, above: &Table<'a>, own: &Table<'a>, measured: &[String]) -> Option<Arc<MeasurementProfile>> {
        let mut layered = Table { members: Default::default(), span: own.span.clone() };
        for (name, value) in above.members.iter().chain(&own.members) {
            if measured.iter().any(|key| *key == **name.get_ref()) {
                layered.members.insert(name.clone(), value.clone());
            }
        }
        let before = self.document.problems.len();
        let mut measure: Measure = self.document.fitting(&layered);
        measure.realtime |= self.typed.realtime;
        let mut loaded = [None, None];
        for (key, place) in ["auth-key-file", "tlv-key-file"].into_iter().zip(&mut loaded) {
            let source = if key == "auth-key-file" { &measure.auth_key_file } else { &measure.tlv_key_file };
            match self.loader.load(source.as_deref()) {
                Ok(mut keys) => *place = keys.pop(),
                Err(error) => self.document.wrong_in(&layered, key, error.to_string()),
            }
        }
        let profile = try_each(
            measure,
            |measure| MeasurementProfile::new(measure.clone(), loaded.clone()),
            |key, what| self.document.wrong_in(&layered, key, what),
        );
        let profile = profile.filter(|_| self.document.problems.len() == before)?;
        if let Some(known) = self.profiles.iter().find(|known| known.is_same(&profile)) {
            return Some(known.clone());
        }
        let profile = Arc::new(profile);
        self.profiles.push(profile.clone());
        if self.profiles.len() > MOST_PROFILES {
            let what =
                format!("more than {MOST_PROFILES} ways to measure take too many sockets; let targets share settings");
            self.document.wrong_in(own, "interval", what);
            return None;
        }
        Some(profile)
    }

    fn labels(&mut self, table: &Table<'a>) -> Option<BTreeMap<String, String>> {
        let Some(value) = table.get(LABELS).cloned() else { return Some(BTreeMap::new()) };
        let Some(inner) = Table::of(&value) else {
            self.document.wrong(value.span(), LABELS, "is a table: write labels = { site = \"north\" }");
            return None;
        };
        let mut labels = BTreeMap::new();
        for (name, value) in &inner.members {
            let DeValue::String(text) = value.get_ref() else {
                self.document.wrong(value.span(), LABELS, "the value of a label is text in quotation marks");
                continue;
            };
            if let Err(error) = check_label(name.get_ref(), text) {
                self.document.wrong(name.span(), LABELS, error.to_string());
                continue;
            }
            labels.insert(name.get_ref().to_string(), text.to_string());
        }
        if labels.len() > MOST_LABELS {
            self.document.wrong(value.span(), LABELS, format!("a target has {MOST_LABELS} labels at most"));
            return None;
        }
        Some(labels)
    }

    fn target(&mut self, above: &Table<'a>, own: &Table<'a>, measured: &[String]) -> Option<TargetSpec> {
        let mut known = [measured.to_vec(), keys::<TargetTable>()].concat();
        known.push(LABELS.into());
        self.document.unknown_keys(own, &known, &keys::<ApiSettings>());
        let table: Option<TargetTable> = self.document.settings(own);
        let profile = self.profile(above, own, measured);
        let labels = self.labels(own);
        let table = table?;
        let before = self.document.problems.len();
        let Some(address) = table.address else {
            self.document.wrong_in(own, "address", "whom to measure? add `address = \"HOST\"` or \"HOST:PORT\"");
            return None;
        };
        let name = table.name.unwrap_or_else(|| address.clone());
        if name.is_empty() || name.len() > LABEL_OCTETS {
            self.document.wrong_in(own, "name", format!("a name has 1 to {LABEL_OCTETS} octets"));
        }
        if table.ssid == Some(0) {
            self.document.wrong_in(own, "ssid", "is 1 to 65535; no-ssid = true sends none");
        }
        let spec = parse_words([address.as_str()]).map(|mut specs| specs.pop());
        if let Err(error) = &spec {
            self.document.wrong_in(own, "address", error.to_string());
        }
        let (profile, spec) = (profile?, spec.ok()??);
        if profile.measure.no_ssid && table.ssid.is_some() {
            self.document.wrong_in(own, "ssid", "does not go with no-ssid; leave one of them out");
        }
        if self.document.problems.len() > before {
            return None;
        }
        Some(TargetSpec { name, spec, labels: labels?, ssid: table.ssid, profile })
    }

    fn source(&mut self, above: &Table<'a>, own: &Table<'a>, key: &str, measured: &[String]) -> Option<TargetSource> {
        let mut known = [measured.to_vec(), if key == FILE_SD { keys::<FileSd>() } else { keys::<HttpSd>() }].concat();
        known.push(LABELS.into());
        self.document.unknown_keys(own, &known, &keys::<ApiSettings>());
        let place = if key == FILE_SD { self.files(own) } else { self.address(own) };
        let profile = self.profile(above, own, measured);
        let labels = self.labels(own);
        let (origin, refresh) = place?;
        let refresh = refresh.map_or(Duration::from_secs(60), |refresh| refresh.0);
        if refresh < Duration::from_secs(1) {
            self.document.wrong_in(own, "refresh", "is 1s or more");
            return None;
        }
        Some(TargetSource { origin, refresh, labels: labels?, profile: profile? })
    }

    fn files(&mut self, own: &Table<'a>) -> Option<(Origin, Option<DurationSetting>)> {
        let FileSd { file, refresh } = self.document.settings(own)?;
        if file.is_empty() {
            self.document.wrong_in(own, "file", "which file? add `file = \"/etc/teaparty/targets.json\"`");
            return None;
        }
        let before = self.document.problems.len();
        for name in &file {
            if let Err(error) = Pattern::new(name) {
                self.document.wrong_in(own, "file", format!("`{name}` is no pattern of names: {error}"));
            }
        }
        (self.document.problems.len() == before).then_some((Origin::Files(file), refresh))
    }

    fn address(&mut self, own: &Table<'a>) -> Option<(Origin, Option<DurationSetting>)> {
        let HttpSd { url, refresh, ca_file, bearer_token_file } = self.document.settings(own)?;
        let Some(url) = url else {
            self.document.wrong_in(own, "url", "which document? add `url = \"http://HOST/PATH\"`");
            return None;
        };
        match DocumentAddress::new(&url, ca_file.as_deref(), bearer_token_file) {
            Ok(address) => Some((Origin::Http(address), refresh)),
            Err(error) => {
                self.document.wrong_in(own, error.key(), error.to_string());
                None
            }
        }
    }

    /// No two targets may have the same series, or the same SSID.
    fn claim(&mut self, table: &Table<'a>, targets: &[TargetSpec]) {
        let mut identities = std::collections::HashSet::new();
        let mut nameless = std::collections::HashSet::new();
        let mut ssids = std::collections::HashSet::new();
        for target in targets {
            if !identities.insert(target.identity()) {
                let what = format!("`{}` is there twice; give each a `name` or labels of its own", target.name);
                self.document.wrong_in(table, TARGET, what);
            }
            if target.profile.measure.no_ssid && !nameless.insert((&target.spec.host, target.spec.port)) {
                let what = format!(
                    "`{}` is measured twice without an SSID: its reflector can't tell the two apart",
                    target.spec
                );
                self.document.wrong_in(table, TARGET, what);
            }
            if let Some(ssid) = target.ssid
                && !ssids.insert(ssid)
            {
                self.document.wrong_in(table, TARGET, format!("two targets have the SSID {ssid}; change one of them"));
            }
        }
        if targets.len() > MOST_TARGETS {
            self.document.wrong_in(table, TARGET, format!("more than {MOST_TARGETS} targets are too many for a probe"));
        }
    }
}

#[cfg(test)]
mod tests;
