//! Asks the kernel (sock_diag) which user owns the far end of a loopback TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::sys::netlink::exchange;

// linux/sock_diag.h, linux/inet_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NO_COOKIE: u32 = u32::MAX;
const ALL_STATES: u32 = u32::MAX;
const UID_AT: usize = 64;
const INODE_AT: usize = 68;

/// Returns the user that owns the TCP socket at `client`, which is connected to `server` on this host.
///
/// Returns `None` if there is no such socket in this network namespace, or if its process has closed it: an orphaned
/// socket has no owner any more, and the kernel reports root for it.
///
/// # Errors
///
/// Fails if the kernel has no sock_diag for TCP, or refuses netlink sockets.
pub(crate) fn owner(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    match exchange(libc::NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DIAG_BY_FAMILY, &request(client, server)) {
        Ok(reply) => Ok(read_owner(&reply)),
        // Any answer but a socket is an error message of the kernel's, of which "not found" is the ordinary one.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `struct inet_diag_req_v2` for exactly one socket.
fn request(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (client_ip, server_ip) = (client.ip().to_canonical(), server.ip().to_canonical());
    let family = if client_ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut request = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    request.extend(ALL_STATES.to_ne_bytes());
    request.extend(client.port().to_be_bytes());
    request.extend(server.port().to_be_bytes());
    for ip in [client_ip, server_ip] {
        let mut place = [0; 16];
        match ip {
            IpAddr::V4(v4) => place[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => place.copy_from_slice(&v6.octets()),
        }
        request.extend(place);
    }
    request.extend(0u32.to_ne_bytes());
    request.extend([NO_COOKIE.to_ne_bytes(), NO_COOKIE.to_ne_bytes()].concat());
    request
}

/// Reads uid and inode of `struct inet_diag_msg`.
fn read_owner(reply: &[u8]) -> Option<u32> {
    let word = |at: usize| reply.get(at..at + 4)?.first_chunk().copied().map(u32::from_ne_bytes);
    let (uid, inode) = (word(UID_AT)?, word(INODE_AT)?);
    (inode != 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_connected_socket_is_its_user() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let server = listener.local_addr().unwrap();
            let client = TcpStream::connect(server).unwrap();
            let (accepted, from) = listener.accept().unwrap();
            assert_eq!(owner(from, server).unwrap(), Some(nix::unistd::getuid().as_raw()), "{address}");
            drop((client, accepted));
        }
    }

    #[test]
    fn a_closed_socket_has_no_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let (mut accepted, from) = listener.accept().unwrap();
        drop(client);
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        // The kernel still has the socket, in FIN_WAIT2, and older kernels say that root owns it.
        assert_eq!(owner(from, server).unwrap(), None);
    }

    #[test]
    fn a_socket_that_is_not_there_has_no_owner() {
        assert_eq!(owner("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn an_orphan_of_root_is_told_by_its_inode() {
        let mut reply = vec![0; 72];
        assert_eq!(read_owner(&reply), None);
        reply[INODE_AT] = 9;
        assert_eq!(read_owner(&reply), Some(0));
        assert_eq!(read_owner(&reply[..70]), None);
    }
}
