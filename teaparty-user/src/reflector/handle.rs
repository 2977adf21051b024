//! What the rest of the program may know and ask of a running reflector: plain types, nothing of BPF.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use teaparty_common::maps::{Session, SessionKey};
use teaparty_common::reflect::{REASON_SLOTS, REASONS, Reason};
use tokio::sync::mpsc::UnboundedSender;

use super::Command;
use super::config::{Config, Format, address, ip};
use super::instance::Instance;
use super::keys::{KeyChange, SessionKeys};
use super::residence::Residences;
use super::slow_path::locked;
use super::view::Provisioned;
use crate::net::socket::Socket;

/// A running reflector, from outside. Cheap to clone.
#[derive(Clone)]
pub struct ReflectorHandle {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) commands: UnboundedSender<Command>,
}

/// What the reflector's task and its handles share.
pub(super) struct State {
    pub(super) config: Arc<Config>,
    /// By the order of the configuration; `None` while an interface is away.
    pub(super) slots: Vec<(String, Option<Instance>)>,
    pub(super) provisioned: HashMap<SessionKey, Provisioned>,
}

/// An interface that is, or will be, answered on.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub is_present: bool,
    /// `native`, `skb` or `off`.
    pub xdp_mode: &'static str,
    /// The XDP program's number in the kernel.
    pub program_id: Option<u32>,
    /// Whether maps of an earlier controller were taken over.
    pub is_adopted: bool,
    /// Listening ports.
    pub ports: Vec<u16>,
    /// Addresses that are answered at.
    pub addresses: Vec<IpAddr>,
}

/// Which part of the reflector dealt with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The XDP program.
    Xdp,
    /// The controller, from the punt ring.
    Ring,
    /// The controller, from a socket.
    Socket,
}

impl Path {
    /// As metrics, JSON and the summary spell it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ring => "ring",
            Self::Socket => "socket",
        }
    }
}

/// A counter.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    /// Interface.
    pub interface: String,
    /// Who counted.
    pub path: Path,
    /// `reflect`, `punt`, `drop` or `pass`.
    pub verdict: &'static str,
    /// Why, as a label.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub help: &'static str,
    /// Packets.
    pub packets: u64,
}

/// A session's addresses, ports and SSID, as in the packets that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SessionId {
    /// Address of the Session-Sender.
    pub source: IpAddr,
    /// Its port; 0 in a provisioned session for any.
    pub source_port: u16,
    /// Address of ours; unspecified in a provisioned session for any.
    pub destination: IpAddr,
    /// Port of ours.
    pub destination_port: u16,
    /// Session-Sender Identifier; 0 for none.
    pub ssid: u16,
}

/// A session and its state.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    /// Interface that it comes by; `None` for one that was configured and has not been seen.
    pub interface: Option<String>,
    /// Which one.
    pub id: SessionId,
    /// Whether it, or the wildcard it was made from, was configured.
    pub is_provisioned: bool,
    /// Whether it is authenticated.
    pub is_authenticated: bool,
    /// Whether the kernel keeps its state; else the controller does.
    pub is_kernel_owned: bool,
    /// Packets received.
    pub received: u64,
    /// Replies sent: modulo 2^32, the next reply's Sequence Number.
    pub replies: u64,
    /// Sequence Number of the last request.
    pub last_sender_sequence: u32,
    /// T2 of the last packet in nanoseconds of CLOCK_TAI; 0 for none.
    pub last_received_ns: u64,
}

/// A session to be provisioned. It holds keys, and so is never serialised.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// Which one; wildcards as in [`SessionId`].
    pub id: SessionId,
    /// Its keys; one for base packets makes it authenticated.
    pub keys: SessionKeys,
    /// What follows the base packet is padding.
    pub no_tlv: bool,
    /// The loop guard does not apply.
    pub is_loop_exempt: bool,
    /// Format of timestamps, where it is not the reflector's.
    pub format: Option<Format>,
}

/// Where packets of our own leave.
pub struct Exit {
    /// Address to send from: one that we listen at.
    pub source: IpAddr,
    /// MAC address of the interface; all zero where it has none.
    pub mac: [u8; 6],
    /// A listening socket, bound to the interface.
    pub socket: Arc<Socket>,
}

/// Why a session was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is provisioned already.
    #[error("this session exists")]
    Exists,
    /// There is none such.
    #[error("there is no such session")]
    Unknown,
    /// The two addresses are of different families.
    #[error("source and destination are not of one address family")]
    Families,
    /// A map refused it.
    #[error("the kernel does not take the session: {0}")]
    Kernel(String),
}

/// Why the configuration was not changed. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum ReconfigureError {
    /// These settings are for the next start.
    #[error("{} can't change while the reflector runs; restart it to change {}", .0.join(", "), if .0.len() == 1 { "it" } else { "them" })]
    Restart(Vec<String>),
    /// It is not the one any more that the change is to.
    #[error("the configuration has changed meanwhile")]
    Outdated,
    /// A map refused it.
    #[error("the kernel does not take the configuration: {0}")]
    Kernel(String),
}

impl From<&SessionKey> for SessionId {
    fn from(key: &SessionKey) -> Self {
        let source = ip(&key.source);
        // The wildcard is written in the family of the source.
        let destination = match (ip(&key.destination), source) {
            (any, IpAddr::V4(_)) if any.is_unspecified() => std::net::Ipv4Addr::UNSPECIFIED.into(),
            (other, _) => other,
        };
        Self {
            source,
            source_port: key.source_port,
            destination,
            destination_port: key.destination_port,
            ssid: key.ssid,
        }
    }
}

impl TryFrom<SessionId> for SessionKey {
    type Error = SessionError;

    fn try_from(id: SessionId) -> Result<Self, SessionError> {
        if id.source.is_ipv4() != id.destination.is_ipv4() {
            return Err(SessionError::Families);
        }
        let any = teaparty_common::reflect::Address::UNSPECIFIED;
        Ok(Self {
            source: address(id.source),
            destination: if id.destination.is_unspecified() { any } else { address(id.destination) },
            source_port: id.source_port,
            destination_port: id.destination_port,
            ssid: id.ssid,
            reserved: 0,
        })
    }
}

impl SessionSpec {
    fn provisioned(&self) -> Provisioned {
        let mut flags = 0;
        for (flag, is_set) in [
            (Session::NO_TLV, self.no_tlv),
            (Session::LOOP_EXEMPT, self.is_loop_exempt),
            (Session::PTP, self.format == Some(Format::Ptp)),
            (Session::NTP, self.format == Some(Format::Ntp)),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        Provisioned { flags, ..Provisioned::default() }.with_keys(self.keys.clone())
    }
}

impl ReflectorHandle {
    /// The interfaces, in the order of the configuration.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let state = locked(&self.state);
        state.slots.iter().map(|(name, instance)| status(name, instance.as_ref(), &state.config)).collect()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        locked(&self.state).config.clone()
    }

    /// Puts another configuration in force on all interfaces, and gives the names of the settings that differ: policy,
    /// limits, allow-list, addresses and default keys, all of it or nothing. A packet is judged by the one or by the other.
    ///
    /// `base` is the configuration that `config` was made from; the caller begins anew where that is not in force any more.
    /// What takes a restart is refused by name.
    pub fn reconfigure(&self, base: &Arc<Config>, config: Config) -> Result<Vec<String>, ReconfigureError> {
        let mut state = locked(&self.state);
        if !Arc::ptr_eq(base, &state.config) {
            return Err(ReconfigureError::Outdated);
        }
        let (live, restart) = config.settings.changes(&base.settings);
        if !restart.is_empty() {
            return Err(ReconfigureError::Restart(restart));
        }
        let config = Arc::new(config);
        for (at, (name, instance)) in state.slots.iter().enumerate() {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_view(instance.shared.view().with_config(config.clone())) {
                state.reinstate(at);
                return Err(ReconfigureError::Kernel(format!("{name}: {error}")));
            }
        }
        state.config = config;
        Ok(live)
    }

    /// All counters that are not zero, and `reflected` of every path even so.
    pub fn counters(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for (interface, instance) in &locked(&self.state).slots {
            let Some(instance) = instance else { continue };
            let shared = &instance.shared;
            let of = |counters: &super::shared::Counters| REASONS.iter().map(|r| counters.get(*r)).collect();
            let kernel: Option<[u64; REASON_SLOTS]> = instance.maps(|maps| maps.counters());
            let mut paths: Vec<(Path, Vec<u64>)> = Vec::new();
            if let Some(kernel) = kernel {
                paths.push((Path::Xdp, REASONS.iter().map(|reason| kernel[*reason as usize]).collect()));
                paths.push((Path::Ring, of(&shared.ring)));
            }
            paths.push((Path::Socket, of(&shared.socket)));
            for (path, values) in paths {
                for (reason, packets) in REASONS.iter().zip(values) {
                    if packets != 0 || *reason == Reason::Reflected {
                        counts.push(Count {
                            interface: interface.clone(),
                            path,
                            verdict: reason.class().label(),
                            reason: reason.label(),
                            help: reason.help(),
                            packets,
                        });
                    }
                }
            }
        }
        counts
    }

    /// How long packets stayed in the controller, by interface and path.
    pub fn residences(&self) -> Vec<(String, Path, Residences)> {
        let state = locked(&self.state);
        let present = state.slots.iter().filter_map(|(name, instance)| Some((name, instance.as_ref()?)));
        let of_one = |(name, instance): (&String, &Instance)| {
            let shared = &instance.shared;
            let ring = instance.attachment().map(|_| (Path::Ring, &shared.ring));
            let engines = ring.into_iter().chain([(Path::Socket, &shared.socket)]);
            engines.map(|(path, counters)| (name.clone(), path, counters.residence.get())).collect::<Vec<_>>()
        };
        present.flat_map(of_one).collect()
    }

    /// All sessions: those that were seen, and those that were configured and have not been.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let state = locked(&self.state);
        let mut all = Vec::new();
        let mut unseen: HashMap<SessionKey, &Provisioned> =
            state.provisioned.iter().map(|(key, session)| (*key, session)).collect();
        for (interface, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            instance.maps(|maps| {
                let view = instance.shared.view();
                for (key, session) in maps.sessions().filter(|(_, session)| !session.has(Session::AUTHENTICATED)) {
                    // An entry of a session that is the controller's by now is what a packet that was under way left.
                    if session.received() > 0 && !view.is_authenticated(&key) {
                        unseen.remove(&key);
                        all.push(session_status(interface, &key, &session, true));
                    }
                }
            });
            // The slow path waits for the table: only the copy is made under its lock.
            let own: Vec<(SessionKey, Session)> =
                locked(&instance.shared.table).iter().map(|(key, session)| (*key, *session)).collect();
            for (key, session) in &own {
                unseen.remove(key);
                all.push(session_status(interface, key, session, false));
            }
        }
        all.extend(unseen.into_iter().map(|(key, provisioned)| SessionStatus {
            interface: None,
            ..session_status(
                "",
                &key,
                &Session { flags: provisioned.flags | Session::PROVISIONED, ..Session::default() },
                false,
            )
        }));
        all
    }

    /// Provisions a session on all interfaces.
    pub fn create(&self, spec: &SessionSpec) -> Result<(), SessionError> {
        let key = SessionKey::try_from(spec.id)?;
        let mut state = locked(&self.state);
        if state.provisioned.contains_key(&key) {
            return Err(SessionError::Exists);
        }
        state.provisioned.insert(key, spec.provisioned());
        state.publish_provisioned().inspect_err(|_| {
            // What was refused is not there; that the others are as before is the best there is.
            state.provisioned.remove(&key);
            let _ = state.publish_provisioned();
        })
    }

    /// Changes the keys of a provisioned session, on all interfaces at once: for the base packet and for the HMAC TLV.
    ///
    /// Its state stays, unless its first key makes it authenticated or the loss of its last one makes it open: then it
    /// begins anew. Packets that wait while this happens are judged by the one set of keys or the other, never by half.
    pub fn change_keys(&self, id: SessionId, base: KeyChange, tlv: KeyChange) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut state = locked(&self.state);
        let before = state.provisioned.get(&key).ok_or(SessionError::Unknown)?.clone();
        state.provisioned.insert(key, before.with_keys(before.keys.changed(base, tlv)));
        state.publish_provisioned().inspect_err(|_| {
            state.provisioned.insert(key, before);
            let _ = state.publish_provisioned();
        })
    }

    /// How many keys a provisioned session has: for the base packet, and for the HMAC TLV.
    pub fn key_counts(&self, id: SessionId) -> Result<(usize, usize), SessionError> {
        let key = SessionKey::try_from(id)?;
        let state = locked(&self.state);
        let keys = &state.provisioned.get(&key).ok_or(SessionError::Unknown)?.keys;
        Ok((keys.base.len(), keys.tlv.len()))
    }

    /// Takes back a provisioned session, or forgets one made by packets.
    pub fn delete(&self, id: SessionId) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut state = locked(&self.state);
        let mut was_there = state.provisioned.remove(&key).is_some();
        if was_there {
            state.publish_provisioned()?;
        }
        for (_, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            was_there |= locked(&instance.shared.table).remove(&key);
            was_there |= instance.maps(|maps| maps.remove_session(&key)).unwrap_or(false);
        }
        if was_there { Ok(()) } else { Err(SessionError::Unknown) }
    }

    /// The way out for packets of our own, by the interface that has the address `by`.
    pub fn exit(&self, by: IpAddr) -> Option<Exit> {
        let state = locked(&self.state);
        state.slots.iter().filter_map(|(_, instance)| instance.as_ref()).find_map(|instance| {
            let view = instance.shared.view();
            if !view.interface.addresses.contains(&by) {
                return None;
            }
            let answered = view.addresses.iter().map(ip).filter(|ip| ip.is_ipv4() == by.is_ipv4()).min();
            let source = if view.addresses.contains(&address(by)) { by } else { answered? };
            let fits = |socket: &&Arc<Socket>| socket.local_addr().is_ok_and(|own| own.is_ipv4() == by.is_ipv4());
            let socket = instance.sockets.iter().find(fits)?.clone();
            Some(Exit { source, mac: view.interface.mac, socket })
        })
    }

    /// Has the reflector end.
    pub fn stop(&self) {
        // It may have ended already.
        let _ = self.commands.send(Command::Stop);
    }
}

impl State {
    /// Puts the configuration that was in force back in force on the first `count` interfaces.
    fn reinstate(&self, count: usize) {
        for (name, instance) in &self.slots[..count] {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_view(instance.shared.view().with_config(self.config.clone())) {
                tracing::error!("{name}: the kernel does not take its former configuration: {error}");
            }
        }
    }

    /// Puts the provisioned sessions in force on all interfaces.
    fn publish_provisioned(&self) -> Result<(), SessionError> {
        for (_, instance) in &self.slots {
            let Some(instance) = instance else { continue };
            let view = instance.shared.view().with_provisioned(self.provisioned.clone());
            instance.set_view(view).map_err(|error| SessionError::Kernel(error.to_string()))?;
        }
        Ok(())
    }
}

fn status(name: &str, instance: Option<&Instance>, config: &Config) -> InterfaceStatus {
    let view = instance.map(|instance| instance.shared.view());
    let attachment = instance.and_then(Instance::attachment);
    let mut addresses: Vec<IpAddr> =
        view.iter().flat_map(|view| view.addresses.iter().map(ip).collect::<Vec<_>>()).collect();
    addresses.sort_unstable();
    InterfaceStatus {
        name: name.into(),
        is_present: instance.is_some(),
        xdp_mode: instance.map_or("off", |instance| instance.mode().name()),
        program_id: attachment.map(|attachment| attachment.program_id),
        is_adopted: attachment.is_some_and(|attachment| attachment.is_adopted),
        ports: config.ports.clone(),
        addresses,
    }
}

fn session_status(interface: &str, key: &SessionKey, session: &Session, is_kernel_owned: bool) -> SessionStatus {
    SessionStatus {
        interface: Some(interface.into()),
        id: key.into(),
        is_provisioned: session.has(Session::PROVISIONED),
        is_authenticated: session.has(Session::AUTHENTICATED),
        is_kernel_owned,
        received: session.received(),
        replies: session.replies,
        last_sender_sequence: session.sender_sequence,
        last_received_ns: session.last_received_ns,
    }
}
