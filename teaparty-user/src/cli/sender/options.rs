//! Values of the options of `teaparty sender` that no other command has.

use clap::ValueEnum;
use teaparty_common::tlv::Kind;

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum StampFormat {
    /// NTP, 64 bits.
    #[default]
    Ntp,
    /// PTPv2, truncated.
    Ptp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TransmitStamps {
    /// The kernel, up to 100,000 packets a second; this process above that.
    #[default]
    Auto,
    /// The kernel.
    Kernel,
    /// This process.
    User,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum SenderTlvProfile {
    /// As in use since 2026.
    #[default]
    Current,
    /// As older releases of cerfcast/teaparty had them.
    Earlier,
}

/// A text that is no value of its option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidOption {
    /// It is no rate.
    #[error("a rate is more than 0 and at most 10000000 packets a second")]
    Rate,
    /// No extension header has such a size.
    #[error("an extension header has 8 to 256 octets, in multiples of 8")]
    ExtensionSize,
    /// It assigns no type to a TLV.
    #[error("write the TLV's name, `=` and its type, as in history=244")]
    NoAssignment,
    /// No TLV has this name.
    #[error("`{0}` is no TLV that we know")]
    UnknownTlv(String),
    /// The TLV's type is not for choice.
    #[error("the type of {name} is registered ({code}), not for choice")]
    RegisteredTlv {
        /// The TLV.
        name: &'static str,
        /// Its type.
        code: u8,
    },
    /// No TLV can have this type.
    #[error("`{0}` is no type: types are 0 to 255")]
    TlvType(String),
}

pub(super) fn parse_rate(text: &str) -> Result<f64, InvalidOption> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err(InvalidOption::Rate),
    }
}

pub(super) fn extension_size(text: &str) -> Result<u16, InvalidOption> {
    match text.parse() {
        Ok(size @ 8..=256) if size % 8 == 0 => Ok(size),
        _ => Err(InvalidOption::ExtensionSize),
    }
}

pub(super) fn parse_code_point(text: &str) -> Result<(Kind, u8), InvalidOption> {
    let (name, code) = text.split_once('=').ok_or(InvalidOption::NoAssignment)?;
    let entry = teaparty_common::tlv::REGISTRY.iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| InvalidOption::UnknownTlv(name.into()))?;
    if !entry.is_experimental() {
        return Err(InvalidOption::RegisteredTlv { name: entry.name, code: entry.code });
    }
    let code = code.parse().map_err(|_| InvalidOption::TlvType(code.into()))?;
    Ok((entry.kind, code))
}
