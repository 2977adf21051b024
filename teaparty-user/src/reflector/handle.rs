//! What the rest of the program may know and ask of a running reflector: plain types, nothing of BPF.

mod capture;
mod change;
mod list;
mod reconfigure;
mod status;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast::{Receiver, Sender};
use tokio::sync::mpsc::UnboundedSender;

pub use self::capture::CaptureError;
pub(in crate::reflector) use self::capture::follow_or_warn;
pub use self::list::SessionStatus;
pub use self::reconfigure::ReconfigureError;
pub(in crate::reflector) use self::reconfigure::changes;
pub(in crate::reflector) use self::status::Away;
pub use self::status::{Count, CounterPath, InterfaceStatus};
use crate::net::address::{address, ip};
use crate::net::socket::Socket;
use crate::reflector::ReflectorCommand;
use crate::reflector::capture::Captures;
use crate::reflector::config::ReflectorConfig;
pub use crate::reflector::config::session_spec::{SessionError, SessionId, SessionSpec};
use crate::reflector::interface_reflector::InterfaceReflector;
use crate::reflector::provisioned::ProvisionedSet;
use crate::sync::locked;

/// A running reflector, from outside. Cheap to clone.
#[derive(Clone)]
pub struct ReflectorHandle {
    pub(in crate::reflector) state: Arc<Mutex<ReflectorState>>,
    pub(in crate::reflector) commands: UnboundedSender<ReflectorCommand>,
}

/// The state that the reflector's task and its handles share.
pub(in crate::reflector) struct ReflectorState {
    pub(in crate::reflector) config: Arc<ReflectorConfig>,
    /// By the order of the configuration; `None` while an interface is away.
    pub(in crate::reflector) slots: Vec<(String, Option<InterfaceReflector>)>,
    /// The counts of interfaces that are away.
    pub(in crate::reflector) away: HashMap<String, Away>,
    pub(in crate::reflector) provisioned: ProvisionedSet,
    /// Counts the changes of provisioned sessions.
    pub(in crate::reflector) revision: u64,
    /// The subscribers to changes.
    pub(in crate::reflector) events: Sender<ChangeEvent>,
    /// The captures.
    pub(in crate::reflector) captures: Arc<Captures>,
}

/// Something that was changed by way of a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeEvent {
    /// A session.
    Session {
        /// The session.
        id: SessionId,
        /// The measurement.
        change: SessionChange,
    },
    /// Settings of the reflector, by their names.
    Settings(Vec<String>),
}

/// The change of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It was provisioned.
    Created,
    /// Its configuration was replaced.
    Replaced,
    /// Its keys were changed.
    Keys,
    /// It was reset.
    Reset,
    /// It was taken back, or forgotten.
    Deleted,
}

/// The egress of packets of our own.
pub struct Egress {
    /// Address to send from: one that we listen at.
    pub source: IpAddr,
    /// MAC address of the interface; all zero where it has none.
    pub mac: [u8; 6],
    /// A listening socket, bound to the interface.
    pub socket: Arc<Socket>,
}

impl ReflectorHandle {
    /// The reflector's name, or what it answers on.
    pub fn name(&self) -> String {
        self.config().name()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<ReflectorConfig> {
        locked(&self.state).config.clone()
    }

    /// Subscribes to changes. A receiver that is too far behind gets an error instead of the missed ones.
    pub fn events(&self) -> Receiver<ChangeEvent> {
        locked(&self.state).events.subscribe()
    }

    /// The way out for packets of our own, by the interface that has the address `by`.
    pub fn exit(&self, by: IpAddr) -> Option<Egress> {
        let state = locked(&self.state);
        state.slots.iter().filter_map(|(_, instance)| instance.as_ref()).find_map(|instance| {
            let snapshot = instance.context.snapshot();
            if !snapshot.interface.addresses.contains(&by) {
                return None;
            }
            let answered = snapshot.addresses.iter().map(ip).filter(|ip| ip.is_ipv4() == by.is_ipv4()).min();
            let source = if snapshot.addresses.contains(&address(by)) { by } else { answered? };
            let fits = |socket: &&Arc<Socket>| socket.local_addr().is_ok_and(|own| own.is_ipv4() == by.is_ipv4());
            let socket = instance.sockets.iter().find(fits)?.clone();
            Some(Egress { source, mac: snapshot.interface.mac, socket })
        })
    }

    /// Has the reflector end and leave its programs answering, because something else of the process has failed.
    pub fn leave(&self) {
        // It may have ended already.
        let _ = self.commands.send(ReflectorCommand::Leave);
    }

    /// Has the reflector end.
    pub fn stop(&self) {
        // It may have ended already.
        let _ = self.commands.send(ReflectorCommand::Stop);
    }
}
