//! Instances of the earlier implementation, converted to configuration files: the settings that differ from the
//! defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::{Converted, LegacyInstance, LegacyShared};
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::REFLECTOR;
use crate::config::service::{ApiSettings, Service};
use crate::config::toml_doc::defaults;
use crate::http::listen::ListenAddress;

/// The file, and all notes in it.
pub(super) fn file(shared: LegacyShared, instances: Vec<LegacyInstance>) -> Converted {
    let mut text = String::from("# Made by `teaparty config convert`.\n");
    let mut notes = shared.notes;
    comment(&mut text, &notes);
    let api = shared.api.map(ListenAddress::Tcp);
    keys(
        &mut text,
        &Service {
            api_settings: ApiSettings { api, ..ApiSettings::default() },
            heartbeat: shared.heartbeats,
            ..Service::default()
        },
    );
    let are_several = instances.len() > 1;
    for instance in instances {
        if are_several {
            text.push_str(&format!("\n[[{REFLECTOR}]]\n"));
        }
        comment(&mut text, &instance.notes);
        keys(&mut text, &instance.settings);
        notes.extend(instance.notes);
    }
    notes.sort_by_key(|note| note.place);
    Converted { text, notes }
}

/// This host's own address of the same family.
pub(super) fn loopback(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn comment(text: &mut String, notes: &[Diagnostic]) {
    for Diagnostic { key, what, .. } in notes {
        text.push_str(&format!("# {key}: {what}\n"));
    }
}

/// The settings that are not as they are anyway.
fn keys<T: Default + Serialize>(text: &mut String, settings: &T) {
    let defaults = defaults::<T>();
    let Ok(serde_json::Value::Object(mut members)) = serde_json::to_value(settings) else { return };
    members.retain(|key, value| defaults.get(key) != Some(value));
    // Keys, texts, numbers and lists of them: nothing that TOML could not say.
    text.push_str(&toml::to_string(&members).unwrap_or_default());
}
