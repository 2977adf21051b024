//! Netlink: sockets, requests, messages and attributes (netlink(7), rtnetlink(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::c_int;

/// Octets of a message's header.
pub(crate) const HEAD: usize = 16;

/// Sends one request of a type and returns the body of the answer, which must be of type `expected`.
pub(crate) fn exchange(protocol: c_int, kind: u16, expected: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let fd = open(protocol, 0)?;
    send(&fd, kind, libc::NLM_F_REQUEST, body)?;
    let mut reply = vec![0u8; 32 << 10];
    // The kernel has queued the answer before `send` returned.
    let got = receive(&fd, &mut reply)?;
    let answered = reply.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if got < HEAD || answered != Some(expected) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    reply.truncate(got);
    reply.drain(..HEAD);
    Ok(reply)
}

/// Returns all messages that answer a request to rtnetlink for a list, one after the other with their headers.
pub(crate) fn dump(kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    /// Lists that were disturbed by a change are asked for again, but not forever.
    const TRIES: usize = 8;
    let mut list = Err(io::ErrorKind::Interrupted.into());
    for _ in 0..TRIES {
        list = dump_once(kind, body);
        if !list.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            break;
        }
    }
    list
}

fn dump_once(kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    const DISTURBED: u16 = libc::NLM_F_DUMP_INTR as u16;
    let fd = open(libc::NETLINK_ROUTE, 0)?;
    send(&fd, kind, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, body)?;
    let mut list = Vec::new();
    let mut buffer = vec![0u8; 128 << 10];
    let mut is_disturbed = false;
    loop {
        let got = match receive(&fd, &mut buffer) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for message in messages(&buffer[..got]) {
            is_disturbed |= message.flags & DISTURBED != 0;
            match c_int::from(message.kind) {
                libc::NLMSG_DONE if is_disturbed => return Err(io::ErrorKind::Interrupted.into()),
                libc::NLMSG_DONE => return Ok(list),
                libc::NLMSG_ERROR => {
                    let code = message.body.first_chunk().map_or(-libc::EIO, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => {}
            }
        }
        list.extend_from_slice(&buffer[..got]);
    }
}

/// A netlink message.
pub(crate) struct NetlinkMessage<'a> {
    pub(crate) kind: u16,
    flags: u16,
    pub(crate) body: &'a [u8],
}

/// Returns the messages in a datagram or a list, up to the first that is cut short.
pub(crate) fn messages(mut octets: &[u8]) -> impl Iterator<Item = NetlinkMessage<'_>> {
    std::iter::from_fn(move || {
        let head: &[u8; HEAD] = octets.first_chunk()?;
        let [a, b, c, d, e, f, g, h, ..] = *head;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let body = octets.get(HEAD..len)?;
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(NetlinkMessage { kind: u16::from_ne_bytes([e, f]), flags: u16::from_ne_bytes([g, h]), body })
    })
}

/// Returns the value of the first attribute of a type.
pub(crate) fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    // The two upper bits of the type are flags.
    const TYPE: u16 = 0x3fff;
    while let Some(head) = octets.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = octets.get(4..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) & TYPE == wanted {
            return Some(value);
        }
        octets = octets.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// Opens a socket that hears the announcements of these groups.
pub(crate) fn open(protocol: c_int, groups: u32) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, flags, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was compared with zero above, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero is a valid `sockaddr_nl`.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address outlives the call and is `len` octets long.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Sends one message of a type.
fn send(fd: &OwnedFd, kind: u16, flags: c_int, body: &[u8]) -> io::Result<()> {
    let mut message = vec![0u8; HEAD];
    message[..4].copy_from_slice(&((HEAD + body.len()) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    message.extend(body);
    // SAFETY: the length given is that of the vector.
    if unsafe { libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Waits for a datagram; returns its octets, as far as there is room for them.
fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the length given is that of the buffer.
    let got = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}
