//! Where an API listens: a TCP port, with TLS or without, or a Unix socket that file permissions guard.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::auth::token::{self, Token, TokenError};
use super::connections::{ConnectionStream, Peer};
use super::tls::Tls;

/// Mode of a Unix socket: its owner and its group may connect.
const MODE: u32 = 0o660;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A listening address of the API: `ADDRESS:PORT`, `unix:PATH`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// At this address and port.
    Tcp(SocketAddr),
    /// At this socket in the file system.
    Unix(PathBuf),
    /// Nowhere.
    None,
}

/// A text that is no [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write ADDRESS:PORT, such as 127.0.0.1:8000, unix:/PATH, or none")]
pub struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(_) => Err(InvalidListenAddress),
            None if text == "none" => Ok(Self::None),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidListenAddress),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListenAddress;

    fn try_from(text: String) -> Result<Self, InvalidListenAddress> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(place: ListenAddress) -> Self {
        place.to_string()
    }
}

/// The API can't be offered.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not in this way.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Not at this address.
    #[error("the API cannot listen at {0}: {1}; name another place with --api, or --api none")]
    Listen(ListenAddress, io::Error),
    /// Another process listens there.
    #[error("the API cannot listen at {0}: another process does; stop it, or name another place with --api")]
    Taken(ListenAddress),
    /// The file in its place is no socket.
    #[error("the API cannot listen at {0}: the file there is no socket; remove it, or name another place with --api")]
    NoSocket(ListenAddress),
}

/// A place that is listened at. Dropping it takes a Unix socket away.
pub enum ApiListener {
    /// A port.
    Tcp(TcpListener, Option<Tls>),
    /// A socket in the file system.
    Unix(UnixListener, SocketFile),
}

/// A client that has connected, before its first request.
pub enum Incoming {
    /// There is nothing to agree on.
    Plain(Box<dyn ConnectionStream>),
    /// TLS comes first.
    Tls(TcpStream, Tls),
}

impl ApiListener {
    /// Opens the place, if the API may be offered there; `None` for [`ListenAddress::None`].
    pub async fn open(place: &ListenAddress, token: Option<&Token>) -> Result<Option<Self>, ListenError> {
        match place {
            ListenAddress::None => Ok(None),
            ListenAddress::Tcp(address) => {
                token::check_listen(*address, token)?;
                let listener = TcpListener::bind(address).await;
                listener
                    .map(|listener| Some(Self::Tcp(listener, None)))
                    .map_err(|error| ListenError::Listen(place.clone(), error))
            }
            ListenAddress::Unix(path) => {
                clear(place, path)?;
                let opened = bind_unix(path).and_then(|socket| Ok(Self::Unix(socket, SocketFile::new(path)?)));
                opened.map(Some).map_err(|error| ListenError::Listen(place.clone(), error))
            }
        }
    }

    /// Adds TLS, if there is any and this is a port.
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        match self {
            Self::Tcp(listener, _) => Self::Tcp(listener, tls),
            Self::Unix(..) => self,
        }
    }

    /// Returns the next connection, and both of its ends.
    pub async fn accept(&self) -> io::Result<(Incoming, Peer)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, client) = listener.accept().await?;
                let peer = Peer::Tcp { client, server: stream.local_addr()? };
                let incoming = match tls {
                    Some(tls) => Incoming::Tls(stream, tls.clone()),
                    None => Incoming::Plain(Box::new(stream)),
                };
                Ok((incoming, peer))
            }
            Self::Unix(listener, _) => Ok((Incoming::Plain(Box::new(listener.accept().await?.0)), Peer::Unix)),
        }
    }

    /// Warns of a token that is sent in the clear over a network that others are on.
    pub fn warn_of_exposure(&self, token: Option<&Token>) {
        let is_remote = self.address().is_some_and(|address| !address.ip().to_canonical().is_loopback());
        if token.is_some() && is_remote && matches!(self, Self::Tcp(_, None)) {
            tracing::warn!(
                api = %self,
                "the API's token crosses the network in the clear; add --api-tls-cert and --api-tls-key, or listen on loopback"
            );
        }
    }

    /// Address and port, for a port.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

impl Incoming {
    /// The connection, ready for a request. To be given up after a time: a client may say nothing.
    pub async fn ready(self) -> io::Result<Box<dyn ConnectionStream>> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(stream, tls) => Ok(Box::new(tls.handshake(stream).await?)),
        }
    }
}

impl fmt::Display for ApiListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, tls) => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                match self.address() {
                    Some(address) => write!(f, "{scheme}://{address}"),
                    None => f.write_str(scheme),
                }
            }
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// Takes a socket out of the way that nobody listens at any more: its process was killed.
fn clear(place: &ListenAddress, path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NoSocket(place.clone()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| ListenError::Listen(place.clone(), error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ListenError::Listen(place.clone(), error)),
        _ => Err(ListenError::Taken(place.clone())),
    }
}

/// The socket has its permissions before it has its name: nobody else can connect in between.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = File::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    socket.set_permissions(Permissions::from_mode(MODE))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // What the process's mask has taken away.
    std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

/// The name of a Unix socket in the file system.
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_the_file_system_is_its_owners_and_its_groups() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api");
        let place: ListenAddress = format!("unix:{}", path.display()).parse().unwrap();
        let listener = ApiListener::open(&place, None).await.unwrap().unwrap();
        assert_eq!(listener.to_string(), place.to_string());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let taken = ApiListener::open(&place, None).await;
        assert!(matches!(taken, Err(ListenError::Taken(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api");
        let place = ListenAddress::Unix(path.clone());
        // Dropping it leaves the name.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = ApiListener::open(&place, None).await.unwrap().unwrap();
        // Another one has taken the name: it is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ApiListener::open(&place, None).await, Err(ListenError::NoSocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn places_are_written_in_three_ways() {
        assert_eq!("127.0.0.1:8000".parse(), Ok(ListenAddress::Tcp(([127, 0, 0, 1], 8000).into())));
        assert_eq!("unix:/run/teaparty.sock".parse(), Ok(ListenAddress::Unix("/run/teaparty.sock".into())));
        assert_eq!("none".parse(), Ok(ListenAddress::None));
        for wrong in ["", "8000", "localhost:8000", "unix:", "unix:here", "/run/teaparty.sock"] {
            assert!(wrong.parse::<ListenAddress>().unwrap_err().to_string().contains("unix:/PATH"), "{wrong}");
        }
    }
}
