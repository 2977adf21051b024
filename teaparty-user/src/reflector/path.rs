//! The parts of the reflector that packets end in.

use serde::Serialize;

/// The part of the reflector that handled a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Path)]
pub enum CounterPath {
    /// The XDP program.
    Xdp,
    /// The controller, from the punt ring.
    Ring,
    /// The controller, from a socket.
    Socket,
}

impl CounterPath {
    /// As metrics, JSON and the summary spell it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ring => "ring",
            Self::Socket => "socket",
        }
    }
}
