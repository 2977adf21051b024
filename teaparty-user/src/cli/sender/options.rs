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

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err("a rate is more than 0 and at most 10000000 packets a second".into()),
    }
}

pub(super) fn extension_size(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(size @ 8..=256) if size % 8 == 0 => Ok(size),
        _ => Err("an extension header has 8 to 256 octets, in multiples of 8".into()),
    }
}

pub(super) fn parse_code_point(text: &str) -> Result<(Kind, u8), String> {
    let (name, code) = text.split_once('=').ok_or("write the TLV's name, `=` and its type, as in history=244")?;
    let entry = teaparty_common::tlv::REGISTRY.iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| format!("`{name}` is no TLV that we know"))?;
    if !entry.is_experimental() {
        return Err(format!("the type of {name} is registered ({}), not for choice", entry.code));
    }
    let code = code.parse().map_err(|_| format!("`{code}` is no type: types are 0 to 255"))?;
    Ok((entry.kind, code))
}
