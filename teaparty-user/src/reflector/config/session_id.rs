//! Which sessions can be provisioned at all: rules that the API and configuration files share.

use super::session_spec::SessionId;

/// A part of a [`SessionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionIdPart {
    /// Address of the Session-Sender.
    Source,
    /// Our address.
    Destination,
    /// Our port.
    DestinationPort,
}

impl SessionIdPart {
    /// As a configuration file calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::DestinationPort => "destination-port",
        }
    }
}

/// Why no packet could ever be of a session.
#[derive(Clone, Debug)]
pub struct InvalidSessionId {
    /// The part that does not fit.
    pub part: SessionIdPart,
    /// The problem.
    pub what: &'static str,
    /// The remedy.
    pub remedy: String,
}

impl SessionId {
    /// Refuses a session that no packet could ever be of; `ports` are those that are listened on.
    pub fn check(&self, ports: &[u16]) -> Result<(), InvalidSessionId> {
        let misfit = |part, what, remedy: &str| Err(InvalidSessionId { part, what, remedy: remedy.into() });
        if self.source.is_unspecified() || self.source.is_multicast() {
            return misfit(SessionIdPart::Source, "is the address of no sender", "give the sender's unicast address");
        }
        if self.destination.is_multicast() {
            return misfit(SessionIdPart::Destination, "is a multicast address", "give an address of the reflector's");
        }
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            return misfit(
                SessionIdPart::Destination,
                "is not of the sender's address family",
                "give both of one family",
            );
        }
        if !ports.contains(&self.destination_port) {
            let listening: Vec<String> = ports.iter().map(u16::to_string).collect();
            let remedy = format!("give a listening port: {}", listening.join(", "));
            return misfit(SessionIdPart::DestinationPort, "is not listened on", &remedy);
        }
        Ok(())
    }
}
