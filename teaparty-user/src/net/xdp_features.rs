//! What a driver can do for XDP, asked of the kernel's `netdev` family of generic netlink (Linux 6.3).

use std::io;

use crate::sys::netlink::{attribute, exchange};

// linux/genetlink.h, linux/netdev.h.
const CTRL_FAMILY: u16 = 0x10;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const NETDEV_DEV_GET: u8 = 1;
const NETDEV_IFINDEX: u16 = 1;
const NETDEV_XDP_FEATURES: u16 = 3;
const HEAD: usize = 4;

/// The features of a driver, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Returns true if programs run in the driver and may send packets back.
    pub(crate) const fn has_basic(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns true if packets may lie in several buffers.
    pub(crate) const fn has_fragments(self) -> bool {
        self.0 & 32 != 0
    }
}

/// The features of an interface. `None` where the kernel does not tell.
pub(crate) fn of(index: u32) -> io::Result<Option<XdpFeatures>> {
    let reply = ask(CTRL_FAMILY, CTRL_GETFAMILY, CTRL_FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&reply, CTRL_FAMILY_ID).and_then(|id| id.first_chunk().copied()).map(u16::from_ne_bytes);
    let Some(family) = family else { return Ok(None) };
    let reply = ask(family, NETDEV_DEV_GET, NETDEV_IFINDEX, &index.to_ne_bytes())?;
    let bits = attribute(&reply, NETDEV_XDP_FEATURES).and_then(|bits| bits.first_chunk().copied());
    Ok(bits.map(u64::from_ne_bytes).map(XdpFeatures))
}

/// Sends a command with one attribute; gives the attributes of the answer.
fn ask(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = vec![command, 1, 0, 0];
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    let reply = exchange(libc::NETLINK_GENERIC, family, family, &body)?;
    Ok(reply.get(HEAD..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_none_and_an_unknown_interface_is_an_error() {
        // Kernels before 6.3 have no such family.
        if let Ok(Some(features)) = of(1) {
            assert!(!features.has_basic());
            assert!(of(0x7fff_ffff).is_err());
        }
    }
}
