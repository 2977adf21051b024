//! The connections that there are, so that many greedy clients cannot keep the owner of the token out.
//!
//! Their number is bounded, in all and for each peer of another host. Where there is no place, a new connection takes that of
//! the oldest one that has not shown the token, of the peer that has most. Each has a moment for its request before that, or
//! clients that connect again and again would leave the owner no time for a handshake.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// Most connections at a time.
const MOST: usize = 256;
/// Most connections at a time of one peer of another host: an IPv4 address or an IPv6 /64.
const MOST_OF_A_PEER: usize = 64;
/// Time that a connection has before another one may take its place.
const GRACE: Duration = Duration::from_secs(1);

/// Both directions of a connection.
pub trait ConnectionStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConnectionStream for T {}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Of TCP.
    Tcp {
        /// The far end.
        client: SocketAddr,
        /// Our end.
        server: SocketAddr,
    },
    /// Of a Unix socket, whose permissions let the client in.
    Unix,
}

/// Clients that count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientGroup {
    V4(u32),
    V6(u64),
    /// This host, by loopback or a Unix socket.
    Here,
}

impl Peer {
    fn group(self) -> ClientGroup {
        match self {
            Self::Unix => ClientGroup::Here,
            Self::Tcp { client, .. } if client.ip().to_canonical().is_loopback() => ClientGroup::Here,
            Self::Tcp { client, .. } => match client.ip().to_canonical() {
                IpAddr::V4(v4) => ClientGroup::V4(v4.to_bits()),
                IpAddr::V6(v6) => ClientGroup::V6((v6.to_bits() >> 64) as u64),
            },
        }
    }
}

/// A connection, for those who serve it and for those who need its place.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Both ends.
    pub peer: Peer,
    since: Instant,
    is_trusted: AtomicBool,
    is_kept: AtomicBool,
    is_over: Notify,
}

impl Connection {
    /// A connection that has shown nothing yet.
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            since: Instant::now(),
            is_trusted: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            is_over: Notify::new(),
        }
    }

    /// Keeps the connection from being ended for another one: its client has the token.
    pub(crate) fn trust(&self) {
        self.is_trusted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the client has shown the token.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted.load(Ordering::Relaxed)
    }

    /// Lets the connection last as long as its client reads.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Returns whether the connection may last as long as its client reads.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Waits until another connection takes the place of this one.
    pub(crate) async fn displaced(&self) {
        self.is_over.notified().await;
    }
}

/// All connections of one listener, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Arc<Connection>>>>);

/// The place of a connection; dropping it gives the place back.
pub(crate) struct ConnectionSlot {
    all: Connections,
    /// The connection that has it.
    pub connection: Arc<Connection>,
}

/// Why a connection has no place.
#[derive(Debug)]
pub(crate) enum NoConnectionSlot {
    /// Its peer has its share, or all places belong to owners of the token.
    Refused,
    /// A place can be taken from another connection after this time.
    After(Duration),
}

impl Connections {
    /// Gives a new connection a place.
    ///
    /// # Errors
    ///
    /// Fails if there is none now; says whether waiting helps.
    pub(crate) fn place(&self, peer: Peer) -> Result<ConnectionSlot, NoConnectionSlot> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let group = peer.group();
        if group != ClientGroup::Here && count(&all, group) >= MOST_OF_A_PEER {
            displace(&mut all, group).map_err(|_| NoConnectionSlot::Refused)?;
        } else if all.len() >= MOST {
            let untrusted = all.iter().filter(|one| !one.is_trusted()).map(|one| one.peer.group());
            let largest = untrusted.max_by_key(|group| count(&all, *group)).ok_or(NoConnectionSlot::Refused)?;
            displace(&mut all, largest)?;
        }
        let connection = Arc::new(Connection::new(peer));
        all.push(connection.clone());
        Ok(ConnectionSlot { all: self.clone(), connection })
    }
}

/// Ends the oldest connection of a group that has not shown the token.
fn displace(all: &mut Vec<Arc<Connection>>, group: ClientGroup) -> Result<(), NoConnectionSlot> {
    let oldest =
        all.iter().position(|one| one.peer.group() == group && !one.is_trusted()).ok_or(NoConnectionSlot::Refused)?;
    let left = GRACE.saturating_sub(all[oldest].since.elapsed());
    if left > Duration::ZERO {
        return Err(NoConnectionSlot::After(left));
    }
    all.remove(oldest).is_over.notify_one();
    Ok(())
}

fn count(all: &[Arc<Connection>], group: ClientGroup) -> usize {
    all.iter().filter(|one| one.peer.group() == group).count()
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !Arc::ptr_eq(one, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        let server = SocketAddr::from(([192, 0, 2, 200], 8000));
        Peer::Tcp { client: SocketAddr::from(([192, 0, 2, last], 1)), server }
    }

    fn is_there(all: &Connections, place: &ConnectionSlot) -> bool {
        all.0.lock().unwrap().iter().any(|one| Arc::ptr_eq(one, &place.connection))
    }

    /// Has so much time go by for all that are there.
    fn wait(all: &Connections, time: Duration) {
        for one in all.0.lock().unwrap().iter_mut() {
            let older = Connection { peer: one.peer, since: one.since - time, ..Connection::new(one.peer) };
            if one.is_trusted() {
                older.trust();
            }
            *one = Arc::new(older);
        }
    }

    #[test]
    fn a_peer_that_has_its_share_displaces_its_own_oldest() {
        let all = Connections::default();
        let _other = all.place(peer(2)).unwrap();
        let _greedy: Vec<ConnectionSlot> = (0..MOST_OF_A_PEER).map(|_| all.place(peer(1)).unwrap()).collect();
        assert!(matches!(all.place(peer(1)), Err(NoConnectionSlot::Refused)), "all of them have a moment yet");
        all.0.lock().unwrap()[1].trust();
        wait(&all, GRACE);
        let late = all.place(peer(1)).unwrap();
        let there = all.0.lock().unwrap().clone();
        assert_eq!(count(&there, peer(1).group()), MOST_OF_A_PEER);
        assert_eq!(count(&there, peer(2).group()), 1);
        assert!(there[1].is_trusted() && is_there(&all, &late));
        there.iter().for_each(|one| one.trust());
        assert!(matches!(all.place(peer(1)), Err(NoConnectionSlot::Refused)), "all of them have the token");
    }

    #[test]
    fn where_all_places_are_taken_the_peer_with_most_gives_one() {
        let all = Connections::default();
        let many: Vec<ConnectionSlot> = (0..MOST - 1).map(|i| all.place(peer(10 + (i / 60) as u8)).unwrap()).collect();
        let single = all.place(peer(9)).unwrap();
        assert!(matches!(all.place(peer(8)), Err(NoConnectionSlot::After(left)) if left <= GRACE));
        wait(&all, GRACE);
        let late = all.place(peer(8)).unwrap();
        let groups: Vec<ClientGroup> = all.0.lock().unwrap().iter().map(|one| one.peer.group()).collect();
        assert_eq!(groups.len(), MOST);
        assert!(groups.contains(&peer(9).group()) && is_there(&all, &late));
        drop((many, single));
    }

    #[test]
    fn this_host_may_have_all_places() {
        let all = Connections::default();
        let here = Peer::Tcp { client: "127.0.0.1:1".parse().unwrap(), server: "127.0.0.1:2".parse().unwrap() };
        let places: Vec<ConnectionSlot> = (0..MOST).map(|_| all.place(here).unwrap()).collect();
        drop(places);
        assert!(all.0.lock().unwrap().is_empty());
    }

    #[test]
    fn addresses_of_one_subnet_of_ipv6_are_one_peer() {
        let of = |ip: &str| Peer::Tcp {
            client: SocketAddr::new(ip.parse().unwrap(), 1),
            server: "[::1]:1".parse().unwrap(),
        };
        assert_eq!(of("2001:db8::1").group(), of("2001:db8::ffff:1").group());
        assert_ne!(of("2001:db8::1").group(), of("2001:db8:0:1::1").group());
        assert_eq!(of("::ffff:192.0.2.1").group(), peer(1).group());
        assert_eq!(of("::1").group(), Peer::Unix.group());
    }
}
