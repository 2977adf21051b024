//! The settings by the heading that help gives them and by when a change takes effect: one table for help, API and reload.

/// The time at which a change of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesEffect {
    /// At once: a rule of reflection, in the API's `policy`.
    Policy,
    /// At once: who is answered and how often, in the API's `limits`.
    Limit,
    /// At once, by a new configuration file.
    Reload,
    /// At the next start.
    Restart,
}

/// Settings that share a heading and the time when changes take effect.
#[derive(Clone, Copy, Debug)]
pub struct SettingGroup {
    /// Heading in help.
    pub heading: &'static str,
    /// The time at which a change takes effect.
    pub change: TakesEffect,
    /// Names, as in a configuration file.
    pub names: &'static [&'static str],
}

const fn group(heading: &'static str, change: TakesEffect, names: &'static [&'static str]) -> SettingGroup {
    SettingGroup { heading, change, names }
}

const ANSWER: &str = "What to answer on";
const WHO: &str = "Who is answered";
const SESSIONS: &str = "Sessions";
/// Heading of formats of timestamps.
pub const TIME: &str = "Time";
/// Heading of keys.
pub const KEYS: &str = "Keys";
/// Heading of TLVs.
pub const TLVS: &str = "TLVs";
/// Heading of the API and of the process as a whole.
pub const PROCESS: &str = "API and process";

/// Every setting, once.
pub const GROUPS: &[SettingGroup] = &[
    group(ANSWER, TakesEffect::Restart, &["name", "iface", "port", "xdp-mode", "link-layer"]),
    group(ANSWER, TakesEffect::Reload, &["address", "strict-addresses", "any-vlan", "verify-checksums"]),
    group(WHO, TakesEffect::Limit, &["allow", "rate-limit", "rate-limit-prefix", "punt-limit", "min-payload"]),
    group(WHO, TakesEffect::Policy, &["provisioned-only", "strict", "deny-dscp", "deny-ecn"]),
    group(WHO, TakesEffect::Reload, &["session"]),
    group(SESSIONS, TakesEffect::Policy, &["stateless", "ignore-ssid", "session-restart"]),
    group(SESSIONS, TakesEffect::Limit, &["session-timeout"]),
    group(SESSIONS, TakesEffect::Reload, &["keep"]),
    group(SESSIONS, TakesEffect::Restart, &["max-sessions"]),
    group(TIME, TakesEffect::Policy, &["timestamp-format"]),
    group(KEYS, TakesEffect::Reload, &["auth-key-file", "tlv-key-file"]),
    group(
        TLVS,
        TakesEffect::Policy,
        &[
            "cos-legacy",
            "allow-destination-node",
            "allow-return-address",
            "allow-destination-port",
            "allow-reflected-control",
            "reflected-control-count",
            "reflected-control-length",
            "reflected-control-interval",
            "reflected-control-session-rate",
            "reflected-control-rate",
            "micro-session-id",
            "location-hide",
            "tlv-profile",
            "tlv-code",
        ],
    ),
];

/// Returns the names of the settings whose changes take effect at this time.
pub fn named(change: TakesEffect) -> impl Iterator<Item = &'static str> {
    GROUPS.iter().filter(move |group| group.change == change).flat_map(|group| group.names).copied()
}

/// Returns the heading that help gives a setting.
pub fn heading(name: &str) -> Option<&'static str> {
    GROUPS.iter().find(|group| group.names.contains(&name)).map(|group| group.heading)
}
