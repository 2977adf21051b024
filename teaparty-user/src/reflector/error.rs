//! Why a reflector does not start or does not go on.

use std::io;

use crate::net::interface::InterfaceError;
use crate::net::socket::SocketError;
use crate::reflector::kernel::load_error::LoadError;

/// The reflector can't start or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ReflectorError {
    /// An interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A port.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The XDP program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The socket for frames out of an interface.
    #[error("cannot open a packet socket on {interface}: {source}; it takes root or CAP_NET_RAW, or --xdp-mode off")]
    Frames {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// The packet socket of the link engine.
    #[error(
        "cannot take frames from {interface}: {source}; --link-layer takes Ethernet frames and CAP_NET_RAW (or root)"
    )]
    LinkLayer {
        /// The interface.
        interface: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The system.
    #[error("the system refuses what the reflector needs: {0}")]
    System(#[from] io::Error),
    /// An engine has ended by itself.
    #[error("{0}")]
    Engine(String),
}
