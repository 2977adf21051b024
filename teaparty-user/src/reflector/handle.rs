//! What the rest of the program may know and ask of a running reflector: plain types, nothing of BPF.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use teaparty_common::maps::{Session, SessionKey};
use teaparty_common::reflect::{REASON_SLOTS, REASONS, Reason};
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::sync::mpsc::UnboundedSender;

use super::Command;
use super::config::{Config, Format, address, ip};
use super::instance::Instance;
use super::keys::{KeyChange, SessionKeys};
use super::provisioned::{ProvisionedSet, is_wildcard};
use super::reader::Reader;
use super::residence::Residences;
use super::shared::Shared;
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
    pub(super) provisioned: ProvisionedSet,
    /// Counts the changes of provisioned sessions.
    pub(super) revision: u64,
    /// Who wants to know of changes.
    pub(super) events: Sender<Event>,
}

/// Something that was changed by way of a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session.
    Session {
        /// Which one.
        id: SessionId,
        /// How.
        change: SessionChange,
    },
    /// Settings of the reflector, by their names.
    Settings(Vec<String>),
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It was provisioned.
    Created,
    /// What is configured of it was replaced.
    Replaced,
    /// Its keys were changed.
    Keys,
    /// It was had to begin anew.
    Reset,
    /// It was taken back, or forgotten.
    Deleted,
}

/// Where the sessions of an interface are read.
struct Source {
    interface: String,
    shared: Arc<Shared>,
    reader: Option<Arc<Reader>>,
}

/// An interface that is, or will be, answered on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
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
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// Which part of the reflector dealt with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
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
    /// What Extra Padding is compared with where a packet states no Bit Error Pattern; `None` for ff00.
    pub bit_error_pattern: Option<Arc<[u8]>>,
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
    /// It stands for many, and has no state.
    #[error("this session stands for many")]
    Wildcard,
    /// It is not the one any more that the change is to.
    #[error("the session has changed meanwhile")]
    Outdated,
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

/// Sessions as the engines have them.
pub(super) fn provisioned(sessions: &[SessionSpec]) -> ProvisionedSet {
    let mut set = ProvisionedSet::default();
    for spec in sessions {
        if let Ok(key) = SessionKey::try_from(spec.id) {
            set.insert(key, spec.provisioned());
        }
    }
    set
}

impl SessionSpec {
    /// A session without keys, of the reflector's own format.
    pub fn new(id: SessionId) -> Self {
        let keys = SessionKeys::default();
        Self { id, keys, no_tlv: false, is_loop_exempt: false, format: None, bit_error_pattern: None }
    }

    /// What the engines need to know of it.
    pub fn provisioned(&self) -> Provisioned {
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
        let bit_error_pattern = self.bit_error_pattern.clone();
        Provisioned { flags, bit_error_pattern, ..Provisioned::default() }.with_keys(self.keys.clone())
    }
}

impl ReflectorHandle {
    /// The interfaces, in the order of the configuration.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let state = locked(&self.state);
        state.slots.iter().map(|(name, instance)| status(name, instance.as_ref(), &state.config)).collect()
    }

    /// The reflector's name, or what it answers on.
    pub fn name(&self) -> String {
        self.config().name()
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
        // Whose the programs are takes a restart to change.
        let config = Arc::new(Config { without_xdp: base.without_xdp.clone(), ..config });
        for (at, (name, instance)) in state.slots.iter().enumerate() {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_view(instance.shared.view().with_config(config.clone())) {
                state.reinstate(at);
                return Err(ReconfigureError::Kernel(format!("{name}: {error}")));
            }
        }
        state.config = config;
        if !live.is_empty() {
            let _ = state.events.send(Event::Settings(live.clone()));
        }
        Ok(live)
    }

    /// All counters that are not zero, and `reflected` of every path even so.
    pub fn counters(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for (interface, instance) in &locked(&self.state).slots {
            let Some(instance) = instance else { continue };
            let shared = &instance.shared;
            let of = |counters: &super::shared::Counters| REASONS.iter().map(|r| counters.get(*r)).collect();
            let kernel: Option<[u64; REASON_SLOTS]> = instance.reader().map(|reader| reader.counters());
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
    ///
    /// Nobody waits for this: neither the engines nor who changes sessions. What comes or goes meanwhile is in it or not.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let (sources, provisioned) = self.sources();
        let mut all = Vec::new();
        let mut seen = HashSet::<SessionKey, foldhash::quality::RandomState>::default();
        for Source { interface, shared, reader } in &sources {
            let view = shared.view();
            // An entry of a session that is the controller's by now is what a packet that was under way left.
            let is_kernels = |key: &SessionKey, session: &Session| {
                let is_seen = session.received() > 0 || !provisioned.contains_key(key);
                is_seen && !session.has(Session::AUTHENTICATED) && !view.is_authenticated(key)
            };
            let kernels = reader.iter().flat_map(|reader| reader.sessions());
            let kernels: Vec<_> = kernels.filter(|(key, session)| is_kernels(key, session)).collect();
            let own: Vec<_> = own_sessions(shared).collect();
            // One that has become the controller's since the maps were read is listed as that, and once.
            let taken: HashSet<&SessionKey, foldhash::quality::RandomState> = own.iter().map(|(key, _)| key).collect();
            let kernels = kernels.iter().filter(|(key, _)| !taken.contains(key)).map(|one| (one, true));
            for ((key, session), is_kernels) in kernels.chain(own.iter().map(|one| (one, false))) {
                seen.insert(*key);
                all.push(session_status(interface, key, session, is_kernels));
            }
        }
        all.extend(provisioned.iter().filter(|(key, _)| !seen.contains(*key)).map(|(key, one)| unseen(key, one)));
        all
    }

    /// One session, on each interface that it comes by; empty where there is none such. Takes as long however many there are.
    pub fn session(&self, id: SessionId) -> Result<Vec<SessionStatus>, SessionError> {
        let key = SessionKey::try_from(id)?;
        let (sources, provisioned) = self.sources();
        let mut found = Vec::new();
        for Source { interface, shared, reader } in &sources {
            let kernels = reader.as_ref().and_then(|reader| reader.session(&key));
            let is_kernels = |session: &Session| {
                let is_seen = session.received() > 0 || !provisioned.contains_key(&key);
                is_seen && !session.has(Session::AUTHENTICATED)
            };
            let kernels = kernels.filter(is_kernels).filter(|_| !shared.view().is_authenticated(&key));
            // As in a list: the controller's, if both have it while it changes.
            let own = locked(&shared.table).get(&key).copied();
            if let Some(session) = own.or(kernels) {
                found.push(session_status(interface, &key, &session, own.is_none()));
            }
        }
        if found.is_empty() {
            found.extend(provisioned.get(&key).map(|one| unseen(&key, one)));
        }
        Ok(found)
    }

    /// What sessions are read from, and those that were configured.
    fn sources(&self) -> (Vec<Source>, ProvisionedSet) {
        let state = locked(&self.state);
        let sources = state.slots.iter().filter_map(|(name, instance)| {
            let instance = instance.as_ref()?;
            Some(Source { interface: name.clone(), shared: instance.shared.clone(), reader: instance.reader() })
        });
        (sources.collect(), state.provisioned.clone())
    }

    /// A provisioned session, without its keys' octets being of use to anybody but the engines.
    pub fn provisioned(&self, id: SessionId) -> Result<Provisioned, SessionError> {
        let key = SessionKey::try_from(id)?;
        locked(&self.state).provisioned.get(&key).cloned().ok_or(SessionError::Unknown)
    }

    /// Provisions a session on all interfaces.
    pub fn create(&self, spec: &SessionSpec) -> Result<(), SessionError> {
        self.change(spec.id, SessionChange::Created, |present| match present {
            Some(_) => Err(SessionError::Exists),
            None => Ok(Some(spec.provisioned())),
        })
    }

    /// Changes the keys of a provisioned session, on all interfaces at once: for the base packet and for the HMAC TLV.
    ///
    /// Its state stays, unless its first key makes it authenticated or the loss of its last one makes it open: then it
    /// begins anew. Packets that wait while this happens are judged by the one set of keys or the other, never by half.
    pub fn change_keys(&self, id: SessionId, base: KeyChange, tlv: KeyChange) -> Result<(), SessionError> {
        self.change(id, SessionChange::Keys, |present| {
            let present = present.ok_or(SessionError::Unknown)?;
            Ok(Some(present.with_keys(present.keys.changed(base, tlv))))
        })
    }

    /// How many keys a provisioned session has: for the base packet, and for the HMAC TLV.
    pub fn key_counts(&self, id: SessionId) -> Result<(usize, usize), SessionError> {
        self.provisioned(id).map(|session| (session.keys.base.len(), session.keys.tlv.len()))
    }

    /// Puts what `with` makes of a provisioned session in its place, on all interfaces or on none; of none where there is
    /// none yet, and none where it gives none. What `with` refuses is not done.
    ///
    /// Takes as long however many sessions there are, unless it is the first or the last with a wildcard or of its mode.
    pub fn change(
        &self,
        id: SessionId,
        what: SessionChange,
        with: impl FnOnce(Option<&Provisioned>) -> Result<Option<Provisioned>, SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut state = locked(&self.state);
        let before = state.provisioned.get(&key).cloned();
        let after = with(before.as_ref())?;
        if before.is_none() && after.is_none() {
            return Err(SessionError::Unknown);
        }
        state.put(key, after);
        state.publish(&key).inspect_err(|_| {
            // What was refused is not there; that the others are as before is the best there is.
            state.put(key, before);
            let _ = state.publish(&key);
        })?;
        // Nobody may be listening.
        let _ = state.events.send(Event::Session { id, change: what });
        Ok(())
    }

    /// Takes back a provisioned session, or forgets one made by packets. `may` looks at what is provisioned and can refuse.
    pub fn delete_if(
        &self,
        id: SessionId,
        may: impl FnOnce(Option<&Provisioned>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut was_there = false;
        let provisioned = self.change(id, SessionChange::Deleted, |present| {
            may(present)?;
            was_there = present.is_some();
            Ok(None)
        });
        match provisioned {
            Ok(()) | Err(SessionError::Unknown) => {}
            Err(error) => return Err(error),
        }
        let state = locked(&self.state);
        if state.provisioned.contains_key(&key) {
            // It was made again meanwhile.
            return Ok(());
        }
        let mut was_seen = false;
        for (_, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            was_seen |= locked(&instance.shared.table).remove(&key);
            was_seen |= instance.maps(|maps| maps.remove_session(&key)).unwrap_or(false);
        }
        if was_seen && !was_there {
            let _ = state.events.send(Event::Session { id, change: SessionChange::Deleted });
        }
        if was_there || was_seen { Ok(()) } else { Err(SessionError::Unknown) }
    }

    /// Takes back a provisioned session, or forgets one made by packets.
    pub fn delete(&self, id: SessionId) -> Result<(), SessionError> {
        self.delete_if(id, |_| Ok(()))
    }

    /// Has a session begin anew on all interfaces: its counters and its next reply's Sequence Number are 0, its history is
    /// empty. Nothing to do for one that was configured and has not been seen. `may` looks at what is provisioned.
    pub fn reset(
        &self,
        id: SessionId,
        may: impl FnOnce(Option<&Provisioned>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let state = locked(&self.state);
        let present = state.provisioned.get(&key);
        may(present)?;
        if present.is_some() && is_wildcard(&key) {
            return Err(SessionError::Wildcard);
        }
        let mut was_there = present.is_some();
        for (name, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            was_there |= locked(&instance.shared.table).reset(&key);
            let reset = instance.maps(|maps| maps.reset(&key)).transpose();
            was_there |= reset.map_err(|error| SessionError::Kernel(format!("{name}: {error}")))?.unwrap_or(false);
        }
        if !was_there {
            return Err(SessionError::Unknown);
        }
        let _ = state.events.send(Event::Session { id, change: SessionChange::Reset });
        Ok(())
    }

    /// What is changed from now on. A receiver that is too far behind is told that it has missed some.
    pub fn events(&self) -> Receiver<Event> {
        locked(&self.state).events.subscribe()
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

    /// Puts a provisioned session into the set, or takes it out.
    pub(super) fn put(&mut self, key: SessionKey, session: Option<Provisioned>) {
        self.revision += 1;
        match session {
            Some(session) => {
                let session = Provisioned { revision: self.revision, ..session };
                self.provisioned.insert(key, session);
            }
            None => drop(self.provisioned.remove(&key)),
        }
    }

    /// Puts what the set says of a session in force on all interfaces.
    fn publish(&self, key: &SessionKey) -> Result<(), SessionError> {
        for (_, instance) in &self.slots {
            let Some(instance) = instance else { continue };
            let view = instance.shared.view().with_provisioned(self.provisioned.clone());
            instance.set_session(view, key).map_err(|error| SessionError::Kernel(error.to_string()))?;
        }
        Ok(())
    }
}

/// The sessions that the controller owns. The slow path waits for the table: it is locked for a few at a time.
fn own_sessions(shared: &Shared) -> impl Iterator<Item = (SessionKey, Session)> {
    const PART: usize = 1024;
    let mut known = HashSet::<SessionKey, foldhash::quality::RandomState>::default();
    let parts = (0..).step_by(PART).map(|from| locked(&shared.table).part(from, PART));
    parts.take_while(|part| !part.is_empty()).flatten().filter(move |(key, _)| known.insert(*key))
}

/// A configured session that has not been seen.
fn unseen(key: &SessionKey, provisioned: &Provisioned) -> SessionStatus {
    let session = Session { flags: provisioned.flags | Session::PROVISIONED, ..Session::default() };
    SessionStatus { interface: None, ..session_status("", key, &session, false) }
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
