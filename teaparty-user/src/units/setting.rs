//! Values with a unit as in files: a value is written in the unit that it was read in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use teaparty_common::wire::Dscp;

use super::{ValueError, parse_dscp, parse_duration, parse_percent};

/// A time as people write it: `"1s"`, `"20ms"`, `"15m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationSetting(pub Duration);

impl DurationSetting {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl std::str::FromStr for DurationSetting {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for DurationSetting {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<DurationSetting> for String {
    fn from(DurationSetting(duration): DurationSetting) -> Self {
        format!("{}s", duration.as_secs_f64())
    }
}

/// A DSCP by name or number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "u8")]
pub struct Marking(pub Dscp);

/// A part of 1, written as a percentage.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "f64")]
pub struct Percent(pub f64);

/// A value of a file, as a number or in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum NumberOrText {
    /// Without a point.
    Whole(i64),
    /// With a point.
    Number(f64),
    /// In quotes.
    Text(String),
}

impl NumberOrText {
    /// Returns what the same option would be on the command line.
    pub fn text(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl std::str::FromStr for Marking {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse_dscp(text).map(Self)
    }
}

impl TryFrom<NumberOrText> for Marking {
    type Error = ValueError;

    fn try_from(written: NumberOrText) -> Result<Self, ValueError> {
        written.text().parse()
    }
}

impl From<Marking> for u8 {
    fn from(Marking(dscp): Marking) -> Self {
        dscp.value()
    }
}

impl std::str::FromStr for Percent {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse_percent(text).map(Self)
    }
}

impl TryFrom<NumberOrText> for Percent {
    type Error = ValueError;

    fn try_from(written: NumberOrText) -> Result<Self, ValueError> {
        written.text().parse()
    }
}

impl From<Percent> for f64 {
    fn from(Percent(fraction): Percent) -> Self {
        fraction * 100.0
    }
}
