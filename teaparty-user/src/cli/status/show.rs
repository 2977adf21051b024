//! What the API says at one moment, as text and as JSON; with an earlier moment, rates as well.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::Client;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Seen {
    #[serde(flatten)]
    reflector: Reflector,
    /// The busiest sessions.
    sessions: Vec<Session>,
    /// All sessions there are.
    sessions_total: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Reflector {
    version: String,
    state: String,
    interfaces: Vec<Interface>,
    clock: Clock,
    counters: Vec<Counter>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Interface {
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
struct Clock {
    is_synchronized: bool,
    maximum_error_ns: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Counter {
    interface: String,
    path: String,
    verdict: String,
    reason: String,
    help: String,
    packets: u64,
    /// Packets per second since the look before.
    #[serde(skip_deserializing, rename = "packets_per_second")]
    rate: Option<f64>,
}

#[derive(Deserialize)]
struct Page {
    sessions: Vec<Session>,
    total: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Session {
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

impl Session {
    fn received(&self) -> u64 {
        self.seen.iter().map(|seen| seen.received).sum()
    }

    fn replies(&self) -> u64 {
        self.seen.iter().map(|seen| seen.replies).sum()
    }
}

/// An earlier moment, and how long ago it was.
pub(super) type Past<'a> = Option<(Duration, &'a Seen)>;

impl Seen {
    /// Asks, for so many sessions at most.
    pub(super) fn ask(client: &Client, top: u16) -> anyhow::Result<Self> {
        let reflector = serde_json::from_value(client.get("/api/v1/reflector")?)?;
        let limit = top.max(1);
        let page: Page = serde_json::from_value(client.get(&format!("/api/v1/sessions?busiest=true&limit={limit}"))?)?;
        let sessions = page.sessions.into_iter().take(top.into()).collect();
        Ok(Self { reflector, sessions, sessions_total: page.total })
    }

    /// As one object on one line.
    pub(super) fn json(&self, past: Past<'_>) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&self.with_rates(past))?)
    }

    /// The same with rates, where there is a past that knows the same counters.
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

    /// As text.
    pub(super) fn human(&self, past: Past<'_>) -> String {
        let Self { reflector, sessions, sessions_total } = self.with_rates(past);
        let Reflector { version, state, interfaces, clock, counters } = reflector;
        let mut text = format!("teaparty {version}: {state}\n");
        // A String takes everything that is written to it.
        for interface in interfaces {
            let Interface { name, is_present, xdp_mode, xdp_reason, transmit_errors, addresses, ports, .. } = interface;
            let how = if is_present { format!("XDP mode {xdp_mode}") } else { "away".into() };
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let _ = writeln!(text, "  {name:<14} {how}, port {}, {}", ports.join(", "), addresses.join(", "));
            if let Some(reason) = xdp_reason {
                let _ = writeln!(text, "  {:<14} {reason}", "");
            }
            if transmit_errors > 0 {
                let _ = writeln!(text, "  {:<14} {transmit_errors} replies that the driver could not send", "");
            }
        }
        let error = Duration::from_nanos(clock.maximum_error_ns);
        let is = if clock.is_synchronized { "synchronised" } else { "not synchronised" };
        let _ = writeln!(text, "  clock          {is}, within {error:?}\n");
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}"));
        let _ = writeln!(
            text,
            "{:<14} {:<7} {:<8} {:<22} {:>14} {:>12}",
            "interface", "path", "verdict", "reason", "packets", "per second"
        );
        for Counter { interface, path, verdict, reason, packets, rate: per_second, .. } in counters {
            let per_second = rate(per_second);
            let _ =
                writeln!(text, "{interface:<14} {path:<7} {verdict:<8} {reason:<22} {packets:>14} {per_second:>12}");
        }
        let _ = write!(text, "\n{sessions_total} sessions");
        if sessions.is_empty() {
            return text;
        }
        let _ = write!(text, ", the busiest:");
        let end = |address: &str, port: u16| match port {
            0 => address.to_owned(),
            _ => format!("{address} port {port}"),
        };
        for session in &sessions {
            let mut about = vec![format!("SSID {}", session.ssid)];
            let names: Vec<&str> = session.seen.iter().map(|seen| &*seen.interface).collect();
            about.push(if names.is_empty() { "not seen yet".into() } else { format!("by {}", names.join(", ")) });
            about.extend(session.provisioned.then(|| "configured".into()));
            about.extend(session.authenticated.then(|| "authenticated".into()));
            let _ = write!(
                text,
                "\n  {} to {}, {}: {} received, {} replies, {} per second",
                end(&session.source, session.source_port),
                end(&session.destination, session.destination_port),
                about.join(", "),
                session.received(),
                session.replies(),
                rate(session.rate)
            );
        }
        text
    }
}
