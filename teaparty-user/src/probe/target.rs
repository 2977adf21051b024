//! Targets as they are wanted: whom, under which labels, measured how.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use teaparty_common::wire::{Ecn, Mode, TrafficClass};

use super::settings::{AddressFamilySetting, Measure};
use crate::crypto::HmacKey;
use crate::net::socket::Fragmentation;
use crate::sender::config::SenderConfig;
use crate::sender::config::{Pattern, SchedulePlan};
use crate::sender::target::{self, Spec, Target};
use crate::sender::tlvs::chain::{Chain, pad, place_hmac};

/// Labels that a target's series have of their own, by what they say. A target's labels are beside these, and none of them.
pub(crate) mod label {
    /// The target's name.
    pub(crate) const TARGET: &str = "target";
    /// Its SSID.
    pub(crate) const SESSION: &str = "session";
    /// Label for the direction of a delay or a loss.
    pub(crate) const DIRECTION: &str = "direction";
    /// The grade of a period.
    pub(crate) const GRADE: &str = "grade";
    /// Why a reply was ignored.
    pub(crate) const REASON: &str = "reason";
    /// The upper end of a bucket, as Prometheus has it.
    pub(crate) const LE: &str = "le";
    /// Label for the state of a target in a small interval.
    pub(crate) const STATE: &str = "state";
    /// All of them.
    pub(crate) const ALL: [&str; 7] = [TARGET, SESSION, DIRECTION, GRADE, REASON, LE, STATE];
}

/// Labels of one target at most, and octets of a name or value at most: what others write must have an end.
pub(crate) const MOST_LABELS: usize = 32;
/// Octets of a label's name or value at most.
pub(crate) const LABEL_OCTETS: usize = 256;
/// Shortest interval: anything faster is no probe.
const SHORTEST: Duration = Duration::from_millis(1);

/// A checked measurement. Targets with the same one are measured through the same sockets.
pub struct MeasurementProfile {
    /// As it was set.
    pub measure: Measure,
    key: Option<HmacKey>,
    tlv_key: Option<HmacKey>,
}

impl MeasurementProfile {
    /// Checks settings and takes the keys that they name. The error has the key of the file and what to do.
    pub fn new(measure: Measure, keys: [Option<HmacKey>; 2]) -> Result<Self, (&'static str, String)> {
        let [key, tlv_key] = keys;
        let profile = Self { measure, key, tlv_key };
        let Measure { interval, timeout, resolve_interval, .. } = &profile.measure;
        if interval.0 < SHORTEST || interval.0 > Duration::from_secs(86_400) {
            return Err(("interval", "an interval is 1ms to 1d".into()));
        }
        if timeout.0.is_zero() || timeout.0 > Duration::from_secs(60) {
            return Err(("timeout", "a timeout is more than 0 and at most 60s".into()));
        }
        if resolve_interval.0 < Duration::from_secs(1) {
            return Err(("resolve-interval", "name servers are asked once a second at most: write 1s or more".into()));
        }
        if profile.measure.ttl == 0 {
            return Err(("ttl", "no packet leaves with a TTL of 0: write 1 to 255".into()));
        }
        if profile.measure.port == 0 {
            return Err(("port", "ports are 1 to 65535".into()));
        }
        if let (Some(source), AddressFamilySetting::Ipv4 | AddressFamilySetting::Ipv6) =
            (profile.measure.source, profile.measure.family)
            && source.is_ipv6() != (profile.measure.family == AddressFamilySetting::Ipv6)
        {
            return Err(("source", format!("{source} is not of the family that `family` names")));
        }
        profile.config(Vec::new()).map(|_| profile).map_err(|error| ("size", error.to_string()))
    }

    /// Returns true if targets of both can be measured together.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Option<HmacKey>, other: &Option<HmacKey>| match (one, other) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        };
        self.measure == other.measure && same(&self.key, &other.key) && same(&self.tlv_key, &other.tlv_key)
    }

    /// Returns the address family to take from names.
    pub fn family(&self) -> target::AddressFamily {
        match (self.measure.family, self.measure.source) {
            (AddressFamilySetting::Ipv4, _) => target::AddressFamily::V4,
            (AddressFamilySetting::Ipv6, _) => target::AddressFamily::V6,
            (AddressFamilySetting::Any, Some(source)) if source.is_ipv6() => target::AddressFamily::V6,
            (AddressFamilySetting::Any, Some(_)) => target::AddressFamily::V4,
            (AddressFamilySetting::Any, None) => target::AddressFamily::Any,
        }
    }

    /// Returns the sender's configuration.
    pub fn config(&self, targets: Vec<Target>) -> anyhow::Result<SenderConfig> {
        let Measure { interval, timeout, poisson, .. } = self.measure;
        let mode = if self.key.is_some() { Mode::Authenticated } else { Mode::Unauthenticated };
        let mut chain = Chain::default();
        let tlv_key = place_hmac(&mut chain, mode, self.key.as_ref(), self.tlv_key.clone())?;
        if let Some(size) = self.measure.size {
            pad(&mut chain, mode, size, true)?;
        }
        let pattern = if poisson { Pattern::Poisson } else { Pattern::Fixed };
        let interval_ps = u64::try_from(interval.0.as_nanos() * 1_000)?;
        Ok(SenderConfig {
            plan: SchedulePlan { pattern, interval_ps, count: None, duration_ns: None },
            timeout: timeout.0,
            source: self.measure.source,
            interface: self.measure.interface.clone(),
            traffic_class: TrafficClass::new(self.measure.dscp.0, Ecn::default()),
            ttl: self.measure.ttl,
            fragmentation: if self.measure.df { Fragmentation::Forbid } else { Fragmentation::System },
            mode,
            key: self.key.clone(),
            tlv_key,
            tlvs: chain.tlvs,
            is_stateful_reflector: self.measure.stateful_reflector,
            is_realtime: self.measure.realtime,
            ..SenderConfig::new(targets)
        })
    }
}

/// Somebody to measure.
#[derive(Clone)]
pub struct TargetSpec {
    /// In metrics.
    pub name: String,
    /// Name or address, and port.
    pub spec: Spec,
    /// Of its own, besides those of the probe ([`label::ALL`]).
    pub labels: BTreeMap<String, String>,
    /// Session-Sender Identifier, where one is asked for.
    pub ssid: Option<u16>,
    /// The measurement.
    pub profile: Arc<MeasurementProfile>,
}

impl TargetSpec {
    /// Returns the identity of its series.
    pub fn identity(&self) -> (&str, &BTreeMap<String, String>) {
        (&self.name, &self.labels)
    }

    /// Returns true if what is measured for `other` goes on for this.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
            && self.spec == other.spec
            && self.ssid == other.ssid
            && self.profile.is_same(&other.profile)
    }
}

/// A label that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    /// Prometheus takes no such name.
    #[error("`{0}` is no name of a label: write letters, digits and underlines, no `__` in front")]
    Name(String),
    /// The probe sets a label of this name itself.
    #[error("the label `{0}` is the probe's own, as are {own}; take another name", own = label::ALL.join(", "))]
    Own(String),
    /// Its name or its value is too long.
    #[error("names and values of labels have {LABEL_OCTETS} octets at most")]
    TooLong,
}

/// Refuses a label that can't be.
pub(crate) fn check_label(name: &str, value: &str) -> Result<(), LabelError> {
    let mut octets = name.bytes();
    let is_name = octets.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && octets.all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    if !is_name || name.starts_with("__") {
        return Err(LabelError::Name(name.into()));
    }
    if label::ALL.contains(&name) {
        return Err(LabelError::Own(name.into()));
    }
    if name.len() > LABEL_OCTETS || value.len() > LABEL_OCTETS {
        return Err(LabelError::TooLong);
    }
    Ok(())
}
