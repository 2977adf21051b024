//! What the API says at one moment, as text and as JSON; with an earlier moment, rates as well.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::Client;
use crate::layout::nanos;
use crate::layout::{clip, count, fold};
use crate::sys::clock::claimed_bound_ns;

/// An observation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StatusSnapshot {
    #[serde(flatten)]
    reflector: StatusReflector,
    /// The busiest sessions.
    sessions: Vec<StatusSession>,
    /// All sessions there are.
    sessions_total: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct StatusReflector {
    version: String,
    state: String,
    interfaces: Vec<StatusInterface>,
    clock: StatusClock,
    counters: Vec<Counter>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct StatusInterface {
    name: String,
    is_present: bool,
    xdp_mode: String,
    #[serde(default)]
    xdp_reason: Option<String>,
    #[serde(default)]
    transmit_errors: u64,
    program_id: Option<u32>,
    ports: Vec<u16>,
    addresses: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct StatusClock {
    is_synchronized: bool,
    /// Null where nobody keeps the clock; versions before sent the kernel's limit.
    maximum_error_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Counter {
    interface: String,
    path: String,
    verdict: String,
    reason: String,
    help: String,
    packets: u64,
    /// The source of the last packet that was dropped so, where it is known and we may know it.
    #[serde(default)]
    last_source: Option<String>,
    /// Packets per second since the look before.
    #[serde(skip_deserializing, rename = "packets_per_second")]
    rate: Option<f64>,
}

#[derive(Deserialize)]
struct StatusPage {
    sessions: Vec<StatusSession>,
    total: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct StatusSession {
    id: String,
    source: String,
    source_port: u16,
    destination: String,
    destination_port: u16,
    ssid: u16,
    provisioned: bool,
    authenticated: bool,
    seen: Vec<OnInterface>,
    /// Packets per second since the look before.
    #[serde(skip_deserializing, rename = "packets_per_second")]
    rate: Option<f64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct OnInterface {
    interface: String,
    received: u64,
    replies: u64,
}

impl StatusSession {
    fn received(&self) -> u64 {
        self.seen.iter().map(|seen| seen.received).sum()
    }

    fn replies(&self) -> u64 {
        self.seen.iter().map(|seen| seen.replies).sum()
    }
}

/// An earlier moment, and how long ago it was.
pub(super) type Past<'a> = Option<(Duration, &'a StatusSnapshot)>;

impl StatusSnapshot {
    /// Queries the API, for this many sessions at most.
    pub(super) fn ask(client: &Client, top: u16) -> anyhow::Result<Self> {
        let reflector = serde_json::from_value(client.get("/api/v1/reflector")?)?;
        let limit = top.max(1);
        let page: StatusPage =
            serde_json::from_value(client.get(&format!("/api/v1/sessions?busiest=true&limit={limit}"))?)?;
        let sessions = page.sessions.into_iter().take(top.into()).collect();
        Ok(Self { reflector, sessions, sessions_total: page.total })
    }

    /// As one object on one line.
    pub(super) fn json(&self, past: Past<'_>) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&self.with_rates(past))?)
    }

    /// Returns the same with rates, where there is a past that knows the same counters.
    fn with_rates(&self, past: Past<'_>) -> Self {
        let mut now = self.clone();
        let Some((elapsed, before)) = past else { return now };
        let rate = |now: u64, before: Option<&u64>| {
            // A counter that is smaller than it was belongs to another reflector.
            let since = now.checked_sub(*before.unwrap_or(&0))?;
            Some(since as f64 / elapsed.as_secs_f64().max(1e-3))
        };
        let key = |counter: &Counter| (counter.interface.clone(), counter.path.clone(), counter.reason.clone());
        let counters: HashMap<_, u64> =
            before.reflector.counters.iter().map(|counter| (key(counter), counter.packets)).collect();
        for counter in &mut now.reflector.counters {
            counter.rate = rate(counter.packets, counters.get(&key(counter)));
        }
        let sessions: HashMap<&str, u64> =
            before.sessions.iter().map(|session| (&*session.id, session.received())).collect();
        for session in &mut now.sessions {
            // One that was not among the busiest has an unknown past.
            session.rate = sessions.get(&*session.id).and_then(|then| rate(session.received(), Some(then)));
        }
        now
    }

    /// As text in `columns`, and in `rows` at most where that is a screen which is drawn again.
    pub(super) fn human(&self, past: Past<'_>, columns: usize, rows: Option<usize>) -> String {
        let Self { reflector, sessions, sessions_total } = self.with_rates(past);
        let head = fold(&reflector.head(), columns, 15);
        let head: Vec<&str> = head.lines().collect();
        let counters = table(&reflector.counters, columns);
        let mut busiest: Vec<String> = Vec::new();
        for session in &sessions {
            busiest.extend(fold(&session.line(), columns, 4).lines().map(str::to_owned));
        }
        let total = count(sessions_total, "session");
        let title = if busiest.is_empty() { total } else { format!("{total}, the busiest:") };
        let (mut of_counters, mut of_sessions) = (counters.len(), busiest.len());
        if let Some(rows) = rows {
            // Two empty lines, and the title of the sessions.
            let rest = rows.saturating_sub(head.len() + 3);
            // A third of the screen is the sessions', if they take so much.
            of_counters = of_counters.min(rest - busiest.len().min(rest / 3));
            of_sessions = rest - of_counters;
        }
        let mut lines: Vec<String> = head.into_iter().map(str::to_owned).collect();
        lines.push(String::new());
        lines.extend(limited(counters, of_counters));
        lines.extend([String::new(), title]);
        lines.extend(limited(busiest, of_sessions));
        lines.truncate(rows.unwrap_or(usize::MAX));
        lines.join("\n")
    }
}

impl StatusReflector {
    /// Returns the head: name, interfaces and clock.
    fn head(&self) -> String {
        let mut text = format!("teaparty {}: {}\n", self.version, self.state);
        // A String takes everything that is written to it.
        for StatusInterface { name, is_present, xdp_mode, xdp_reason, transmit_errors, addresses, ports, .. } in
            &self.interfaces
        {
            let how = if *is_present { format!("XDP mode {xdp_mode}") } else { "away".into() };
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let _ = writeln!(text, "  {name:<14} {how}, port {}, {}", ports.join(", "), addresses.join(", "));
            if let Some(reason) = xdp_reason {
                let _ = writeln!(text, "  {:<14} {reason}", "");
            }
            if *transmit_errors > 0 {
                let replies = count(*transmit_errors, "reply");
                let _ = writeln!(text, "  {:<14} {replies} that the driver could not send", "");
            }
        }
        let is = if self.clock.is_synchronized { "synchronised" } else { "not synchronised" };
        let error = match self.clock.maximum_error_ns.and_then(claimed_bound_ns) {
            Some(bound) => format!("within {}", nanos(i64::try_from(bound).unwrap_or(i64::MAX))),
            None => "error unknown".into(),
        };
        let _ = write!(text, "  {:<14} {is}, {error}", "clock");
        text
    }
}

impl StatusSession {
    fn line(&self) -> String {
        let end = |address: &str, port: u16| match port {
            0 => address.to_owned(),
            _ => format!("{address} port {port}"),
        };
        let mut about = vec![format!("SSID {}", self.ssid)];
        let names: Vec<&str> = self.seen.iter().map(|seen| &*seen.interface).collect();
        about.push(if names.is_empty() { "not seen yet".into() } else { format!("by {}", names.join(", ")) });
        about.extend(self.provisioned.then(|| "configured".into()));
        about.extend(self.authenticated.then(|| "authenticated".into()));
        format!(
            "  {} to {}, {}: {} received, {}, {} per second",
            end(&self.source, self.source_port),
            end(&self.destination, self.destination_port),
            about.join(", "),
            self.received(),
            count(self.replies(), "reply"),
            rate(self.rate)
        )
    }
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}"))
}

/// A column of the table of counters.
struct CounterColumn {
    title: &'static str,
    width: usize,
    /// True if it is a number.
    is_number: bool,
    /// Place among the columns by importance, from 0.
    rank: u8,
    cell: fn(&Counter) -> String,
}

const COLUMNS: [CounterColumn; 6] = [
    CounterColumn { title: "interface", width: 14, is_number: false, rank: 3, cell: |c| c.interface.clone() },
    CounterColumn { title: "path", width: 6, is_number: false, rank: 5, cell: |c| c.path.clone() },
    CounterColumn { title: "verdict", width: 7, is_number: false, rank: 4, cell: |c| c.verdict.clone() },
    CounterColumn { title: "reason", width: 22, is_number: false, rank: 0, cell: |c| c.reason.clone() },
    CounterColumn { title: "packets", width: 14, is_number: true, rank: 1, cell: |c| c.packets.to_string() },
    CounterColumn { title: "per second", width: 11, is_number: true, rank: 2, cell: |c| rate(c.rate) },
];

/// The counters, their titles first, with the columns that there is room for.
fn table(counters: &[Counter], columns: usize) -> Vec<String> {
    let widths = |most: u8| -> usize { COLUMNS.iter().filter(|c| c.rank <= most).map(|c| c.width + 1).sum() };
    let most = (0..COLUMNS.len() as u8).take_while(|most| widths(*most) <= columns + 1).last().unwrap_or(0);
    let row = |cell: &dyn Fn(&CounterColumn) -> String| {
        let cells = COLUMNS.iter().filter(|column| column.rank <= most).map(|column| {
            let (text, width) = (clip(&cell(column), column.width), column.width);
            if column.is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    let mut lines = vec![row(&|column| column.title.into())];
    lines.extend(counters.iter().map(|counter| row(&|column| (column.cell)(counter))));
    for Counter { interface, path, reason, packets, last_source, .. } in counters {
        let Some(source) = last_source else { continue };
        let line = format!("  {reason} {packets}, last {source} ({interface}, {path})");
        lines.extend(fold(&line, columns, 4).lines().map(str::to_owned));
    }
    lines
}

/// The first of these lines, and how many there are besides.
fn limited(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        let left_out = lines.len() - most.saturating_sub(1);
        lines.truncate(most.saturating_sub(1));
        if most > 0 {
            lines.push(format!("  … {left_out} more, for a taller screen"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> StatusSnapshot {
        let interface = |name: &str| StatusInterface {
            name: name.into(),
            is_present: true,
            xdp_mode: "native".into(),
            xdp_reason: None,
            transmit_errors: 1,
            program_id: Some(7),
            ports: vec![862],
            addresses: vec!["192.0.2.1".into(), "2001:db8:1:2:3:4:5:6".into(), "fe80::5054:ff:fe12:3456".into()],
        };
        let counter = |n: u64| Counter {
            interface: "enp0s31f6".into(),
            path: "socket".into(),
            verdict: "reflect".into(),
            reason: format!("reason-number-{n}-of-all"),
            help: String::new(),
            packets: 123_456_789_012,
            last_source: n.is_multiple_of(2).then(|| "2001:db8:1:2:3:4:5:6".into()),
            rate: None,
        };
        let session = |n: u16| StatusSession {
            id: n.to_string(),
            source: "2001:db8:1:2:3:4:5:6".into(),
            source_port: 49_152,
            destination: "2001:db8:1:2:3:4:5:7".into(),
            destination_port: 862,
            ssid: n,
            provisioned: true,
            authenticated: true,
            seen: vec![OnInterface { interface: "enp0s31f6".into(), received: 1, replies: 1 }],
            rate: Some(1_234.5),
        };
        StatusSnapshot {
            reflector: StatusReflector {
                version: "0.1.0".into(),
                state: "running".into(),
                interfaces: vec![interface("enp0s31f6"), interface("wlp2s0")],
                clock: StatusClock { is_synchronized: false, maximum_error_ns: Some(16_000_000_000) },
                counters: (0..30).map(counter).collect(),
            },
            sessions: (0..10).map(session).collect(),
            sessions_total: 10,
        }
    }

    #[test]
    fn a_watched_screen_keeps_its_top_and_is_no_wider_than_it_is() {
        for (columns, rows) in [(80, 24), (40, 12), (200, 50)] {
            let text = seen().human(None, columns, Some(rows - 1));
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() < rows, "{} lines:\n{text}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.starts_with("teaparty 0.1.0: running\n"), "{text}");
            if rows == 24 {
                for part in ["reason-number-0", "10 sessions, the busiest:", "SSID 0", "more, for a taller screen"] {
                    assert!(text.contains(part), "{part}:\n{text}");
                }
            }
        }
    }

    #[test]
    fn without_a_screen_all_is_shown() {
        let text = seen().human(None, 80, None);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("reason-number-29") && text.contains("SSID 9") && !text.contains("taller"), "{text}");
        assert!(text.contains("clock not synchronised, error unknown"), "16 s are no bound: {text}");
        assert!(text.contains("packets per second") && text.contains("1 reply, 1234.5 per second"), "{text}");
    }
}
