//! The settings that make up the [`Policy`] of reflection, checked.

use std::time::Duration;

use teaparty_common::reflect::{LocationFields, Policy};
use teaparty_common::tlv::{CodePoints, Profile, REGISTRY};
use teaparty_common::wire::{Dscp, Ecn};

use super::{
    ConfigError, ControlLimits, DestinationNode, ReflectorSettings, TimestampFormatSetting, TlvProfile, wrong,
};
use crate::units::parse_duration;

/// The rules that follow from the settings.
pub(super) fn policy(settings: &ReflectorSettings) -> Result<Policy, ConfigError> {
    let mut policy = Policy { min_payload: settings.min_payload, ..Policy::DEFAULT };
    policy.micro_session_id = settings.micro_session_id;
    for (flag, is_set) in [
        (Policy::PTP, settings.timestamp_format == TimestampFormatSetting::Ptp),
        (Policy::STRICT, settings.strict),
        (Policy::IGNORE_SSID, settings.ignore_ssid),
        (Policy::COS_LEGACY, settings.cos_legacy),
        (Policy::DESTINATION_PORT, settings.allow_destination_port),
        (Policy::RETURN_ADDRESS, settings.allow_return_address),
        (Policy::REFLECTED_CONTROL, settings.allow_reflected_control),
        (Policy::NO_DESTINATION_NODE, settings.allow_destination_node == DestinationNode::None),
    ] {
        if is_set {
            policy.flags |= flag;
        }
    }
    if let Some(text) = &settings.deny_dscp {
        let named = |name: &str| Dscp::NAMED.iter().find(|(known, _)| *known == name).map(|(_, dscp)| dscp.value());
        policy.dscp_allowed = !denied(text, 64, named).map_err(|error| wrong("deny-dscp")(error.to_string()))?;
    }
    if let Some(text) = &settings.deny_ecn {
        let named = |name: &str| Ecn::NAMED.iter().find(|(known, _)| *known == name).map(|(_, ecn)| ecn.value());
        policy.ecn_allowed =
            !(denied(text, 4, named).map_err(|error| wrong("deny-ecn")(error.to_string()))? as u8) & 0xf;
    }
    for name in &settings.location_hide {
        let found = LocationFields::NAMED.iter().find(|(known, _)| known == name);
        let (_, field) = found.ok_or_else(|| {
            let names: Vec<&str> = LocationFields::NAMED.iter().map(|(name, _)| *name).collect();
            wrong("location-hide")(format!("`{name}` is none of {}", names.join(", ")))
        })?;
        policy.location_hidden |= field.0;
    }
    policy.code_points = CodePoints::new(match settings.tlv_profile {
        TlvProfile::Current => Profile::Current,
        TlvProfile::Earlier => Profile::Earlier,
    });
    for assignment in &settings.tlv_code {
        assign(&mut policy.code_points, assignment).map_err(|error| wrong("tlv-code")(error.to_string()))?;
    }
    Ok(policy)
}

/// The least spacing of replies that may be set: closer, and it would say more about our scheduler than about the network.
const LEAST_INTERVAL: Duration = Duration::from_micros(10);

/// Returns the limits of Reflected Test Packet Control.
pub(super) fn control_limits(settings: &ReflectorSettings) -> Result<ControlLimits, ConfigError> {
    let field = "reflected-control-interval";
    let interval =
        parse_duration(&settings.reflected_control_interval).map_err(|error| wrong(field)(error.to_string()))?;
    let min_interval_ns = u32::try_from(interval.as_nanos()).ok().filter(|_| interval >= LEAST_INTERVAL);
    let min_interval_ns = min_interval_ns
        .ok_or_else(|| wrong(field)(format!("`{}` is not within 10us and 4s", settings.reflected_control_interval)))?;
    for (field, number) in [
        ("reflected-control-count", settings.reflected_control_count.into()),
        ("reflected-control-session-rate", settings.reflected_control_session_rate),
        ("reflected-control-rate", settings.reflected_control_rate),
    ] {
        if number == 0 {
            return Err(wrong(field)("must be at least 1; without allow-reflected-control nothing is obeyed".into()));
        }
    }
    Ok(ControlLimits {
        max_count: settings.reflected_control_count,
        max_len: settings.reflected_control_length,
        min_interval_ns,
        session_rate: settings.reflected_control_session_rate,
        total_rate: settings.reflected_control_rate,
    })
}

/// An item of a list of denied values that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{item}` is neither `all` nor `none`, nor a name, nor a number below {values}")]
struct InvalidDeniedValue {
    item: String,
    values: u8,
}

/// The values that a list names, as bits.
fn denied(text: &str, values: u8, named: impl Fn(&str) -> Option<u8>) -> Result<u64, InvalidDeniedValue> {
    match text {
        "all" => return Ok(u64::MAX >> (64 - u32::from(values))),
        "none" => return Ok(0),
        _ => {}
    }
    let mut bits = 0;
    for item in text.split(',') {
        let item = item.trim().to_ascii_lowercase();
        let value = named(&item).or_else(|| item.parse().ok()).filter(|value| *value < values);
        let value = value.ok_or(InvalidDeniedValue { item, values })?;
        bits |= 1 << value;
    }
    Ok(bits)
}

/// A text that gives no TLV a number.
#[derive(Debug, thiserror::Error)]
enum InvalidAssignment {
    #[error("`{0}` is not NAME=NUMBER, such as history=244")]
    Form(String),
    #[error("`{0}` is none of the TLVs without an assigned number: {names}", names = experimental_names())]
    Name(String),
    #[error("`{0}` is not a number from 13 to 254; those up to 12 are assigned, 255 is reserved")]
    Number(String),
}

/// Returns the names of the TLVs without an assigned number, with commas in between.
fn experimental_names() -> String {
    let names: Vec<&str> = REGISTRY.iter().filter(|entry| entry.is_experimental()).map(|entry| entry.name).collect();
    names.join(", ")
}

fn assign(points: &mut CodePoints, assignment: &str) -> Result<(), InvalidAssignment> {
    let (name, number) = assignment.split_once('=').ok_or_else(|| InvalidAssignment::Form(assignment.into()))?;
    let entry = REGISTRY.iter().find(|entry| entry.is_experimental() && entry.name == name);
    let entry = entry.ok_or_else(|| InvalidAssignment::Name(name.into()))?;
    let code = number.parse().ok().filter(|code| *code > 12 && *code != 255);
    let code: u8 = code.ok_or_else(|| InvalidAssignment::Number(number.into()))?;
    points.assign(entry.kind, code);
    Ok(())
}
