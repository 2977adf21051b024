//! What a reflector has to say to a person: the ready block at its start, the summary at its end.

use std::fmt;

use teaparty_common::reflect::Reason;

use crate::layout::count as plural;
use crate::reflector::config::{ReflectorConfig, TimestampFormatSetting};
use crate::reflector::handle::{Count, InterfaceStatus, ReflectorHandle};

/// The block printed once the reflector answers.
pub(crate) struct Ready<'a> {
    /// The interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// The configuration.
    pub config: &'a ReflectorConfig,
}

impl fmt::Display for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "teaparty reflector is ready")?;
        let ports: Vec<String> = self.config.ports.iter().map(u16::to_string).collect();
        for interface in &self.interfaces {
            writeln!(f, "  interface   {}", interface.name)?;
            writeln!(f, "  addresses   {}", some_of(&interface.addresses))?;
            let adopted = if interface.is_adopted { ", sessions of the earlier run kept" } else { "" };
            let how = match interface.xdp_mode {
                "native" => "native (in the driver)",
                "skb" => "skb (generic)",
                _ if self.config.link_layer => "off (frames from a packet socket are answered)",
                _ => "off (sockets answer)",
            };
            let reason = interface.xdp_reason.iter().map(|reason| format!(": {reason}")).collect::<String>();
            writeln!(f, "  XDP mode    {how}{adopted}{reason}")?;
        }
        writeln!(f, "  UDP port    {}", ports.join(", "))?;
        let mut state = vec![if self.config.is_stateful { "stateful" } else { "stateless" }];
        if self.config.provisioned_only {
            state.push("provisioned sessions only");
        }
        if !self.config.default_keys.base.is_empty() {
            state.push("authenticated");
        }
        let format = match self.config.policy.format() {
            teaparty_common::wire::TimestampFormat::Ntp => TimestampFormatSetting::Ntp,
            teaparty_common::wire::TimestampFormat::Ptp => TimestampFormatSetting::Ptp,
        };
        state.push(if format == TimestampFormatSetting::Ntp { "NTP timestamps" } else { "PTP timestamps" });
        write!(f, "  sessions    {}", state.join(", "))
    }
}

/// The first ten of a list, and how many more there are.
pub(crate) fn some_of(list: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 10;
    if list.is_empty() {
        return "none yet".into();
    }
    let shown: Vec<String> = list.iter().take(SHOWN).map(ToString::to_string).collect();
    match list.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The summary printed at the end.
pub struct Summary {
    counts: Vec<Count>,
    sessions: usize,
    /// Replies that the driver could not send, by interface.
    transmit_errors: Vec<(String, u64)>,
    /// True if something that should have been taken away is still there.
    pub is_left: bool,
}

impl Summary {
    /// The state of a reflector that still runs.
    pub fn new(handle: &ReflectorHandle) -> Self {
        let lost = handle.interfaces().into_iter().map(|interface| (interface.name, interface.transmit_errors));
        let transmit_errors = lost.filter(|(_, lost)| *lost > 0).collect();
        Self { counts: handle.counters(), sessions: handle.sessions().len(), transmit_errors, is_left: false }
    }

    /// Packets answered, by all paths.
    pub fn reflected(&self) -> u64 {
        self.counts.iter().filter(|count| count.reason == Reason::Reflected.label()).map(|count| count.packets).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packets, sessions) = (plural(self.reflected(), "packet"), plural(self.sessions as u64, "session"));
        writeln!(f, "{packets} answered in {sessions}")?;
        for count in self.counts.iter().filter(|count| count.packets > 0) {
            let Count { interface, path, verdict, reason, packets, .. } = count;
            writeln!(f, "{interface:>12}  {:<6}  {verdict:<7}  {reason:<22} {packets:>12}", path.label())?;
        }
        for (interface, lost) in &self.transmit_errors {
            writeln!(f, "{interface:>12}  {:<6}  {:<7}  {:<22} {lost:>12}", "xdp", "lost", "transmit-errors")?;
        }
        Ok(())
    }
}
