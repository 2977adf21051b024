//! Values as people write them on the command line and in files: durations, percentages, DSCP, ECN, hexadecimal octets.

mod setting;

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use teaparty_common::wire::{Dscp, Ecn};

pub(crate) use self::setting::{DurationSetting, Marking, NumberOrText, Percent};

/// A text that is no value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// It is no duration.
    #[error("`{0}` is no duration; write a number and a unit, as in 100ms, 20us, 1.5s, 2h")]
    Duration(String),
    /// It is a duration that 64 bits of nanoseconds cannot hold.
    #[error("`{0}` is too long")]
    TooLong(String),
    /// It is no percentage.
    #[error("`{0}` is no percentage of 0 to 100")]
    Percent(String),
    /// It is no DSCP.
    #[error("`{0}` is no DSCP; write 0 to 63 or one of {names}", names = dscp_names())]
    Dscp(String),
    /// It is no row of octets.
    #[error("`{0}` is not pairs of hexadecimal digits")]
    Hex(String),
}

fn dscp_names() -> String {
    Dscp::NAMED.map(|(name, _)| name).join(", ")
}

/// A duration: a number with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`); without one it counts seconds. Exact to 1 ns.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    parse_picoseconds(text).map(|ps| {
        let nanos = ps / 1_000;
        Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
    })
}

/// Parses a duration in picoseconds, for intervals of fast schedules.
pub(crate) fn parse_picoseconds(text: &str) -> Result<u128, ValueError> {
    let wrong = || ValueError::Duration(text.into());
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u128 = match unit.trim() {
        "ns" => 1_000,
        "us" | "µs" => 1_000_000,
        "ms" => 1_000_000_000,
        "" | "s" => 1_000_000_000_000,
        "m" | "min" => 60_000_000_000_000,
        "h" => 3_600_000_000_000_000,
        "d" => 86_400_000_000_000_000,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |part: &str| part.bytes().all(|octet| octet.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return Err(wrong());
    }
    let digits = |part: &str| if part.is_empty() { Ok(0) } else { part.parse::<u64>().map_err(|_| wrong()) };
    let fraction = &fraction[..fraction.len().min(12)];
    let scale = 10u128.pow(fraction.len() as u32);
    let total = u128::from(digits(whole)?) * unit + u128::from(digits(fraction)?) * unit / scale;
    // 584 years of nanoseconds.
    if total / 1_000 > u128::from(u64::MAX) { Err(ValueError::TooLong(text.into())) } else { Ok(total) }
}

/// A percentage with or without its sign, as a fraction of 0 to 1.
pub(crate) fn parse_percent(text: &str) -> Result<f64, ValueError> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(ValueError::Percent(text.into())),
    }
}

/// A DSCP by name (`ef`, `af21`, `cs6`…) or number, 0 to 63.
pub(crate) fn parse_dscp(text: &str) -> Result<Dscp, ValueError> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, dscp)) = Dscp::NAMED.iter().find(|(name, _)| *name == lower) {
        return Ok(*dscp);
    }
    match text.parse::<u8>() {
        Ok(value @ 0..=63) => Ok(Dscp::from_low6(value)),
        _ => Err(ValueError::Dscp(text.into())),
    }
}

/// ECN by name.
pub(crate) fn ecn_parser() -> impl TypedValueParser<Value = Ecn> {
    PossibleValuesParser::new(Ecn::NAMED.map(|(name, _)| name)).map(|name| {
        let found = Ecn::NAMED.iter().find(|(other, _)| *other == name);
        found.map_or(Ecn::default(), |(_, ecn)| *ecn)
    })
}

/// Octets in hexadecimal, at least one.
pub(crate) fn parse_hex(text: &str) -> Result<Vec<u8>, ValueError> {
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|value| value as u8);
    let pairs = text.as_bytes().chunks(2);
    let octets: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    octets.filter(|octets| !octets.is_empty()).ok_or_else(|| ValueError::Hex(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        let cases = [
            ("100ms", 100_000_000),
            ("20us", 20_000),
            ("1.5s", 1_500_000_000),
            ("2", 2_000_000_000),
            ("0.25", 250_000_000),
            ("1h", 3_600_000_000_000),
            ("7ns", 7),
            (".5ms", 500_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text).unwrap().as_nanos(), nanos, "{text}");
        }
        assert_eq!(parse_picoseconds("3.333us").unwrap(), 3_333_000);
        for text in ["", "ms", "1x", "-1s", "1.2.3s", "1e3s", "99999999999999999999s", "9999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_have_a_range() {
        assert_eq!(parse_percent("1%").unwrap(), 0.01);
        assert_eq!(parse_percent("0").unwrap(), 0.0);
        for text in ["101", "-1", "x", "nan"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dscps_have_names_and_numbers() {
        assert_eq!(parse_dscp("EF").unwrap().value(), 46);
        assert_eq!(parse_dscp("63").unwrap().value(), 63);
        assert!(parse_dscp("64").unwrap_err().to_string().contains("voiceadmit"));
    }

    #[test]
    fn hexadecimal_comes_in_pairs() {
        assert_eq!(parse_hex("ff00").unwrap(), [0xff, 0]);
        for text in ["", "f", "fg"] {
            assert!(parse_hex(text).is_err(), "{text}");
        }
    }
}
