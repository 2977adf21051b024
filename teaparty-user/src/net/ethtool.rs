//! What `ethtool` shows of an interface: its driver, and offloads that change packets before an XDP program sees them.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

// linux/ethtool.h and linux/sockios.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const FLAG_RXVLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

/// Offloads of received packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// The device joins packets.
    pub lro: bool,
    /// The kernel joins packets.
    pub gro: bool,
    /// The device takes VLAN tags out.
    pub receive_vlan: bool,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// The name of an interface's driver.
pub fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: the command fills a `struct ethtool_drvinfo`, which this is laid out as.
    unsafe { ask(interface, &mut info) }?;
    let name = CStr::from_bytes_until_nul(&info.driver).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// The offloads that are on.
pub fn offloads(interface: &str) -> io::Result<Offloads> {
    let value = |command| {
        let mut value = Value { command, data: 0 };
        // SAFETY: the commands that this is called with fill a `struct ethtool_value`, which this is laid out as.
        unsafe { ask(interface, &mut value) }.map(|()| value.data)
    };
    let flags = value(ETHTOOL_GFLAGS)?;
    Ok(Offloads { lro: flags & FLAG_LRO != 0, gro: value(ETHTOOL_GGRO)? != 0, receive_vlan: flags & FLAG_RXVLAN != 0 })
}

/// Has the kernel carry out an ethtool command.
///
/// # Safety
///
/// `data` is laid out as the structure that its command reads and writes.
unsafe fn ask<T>(interface: &str, data: &mut T) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let octets = interface.as_bytes();
    if octets.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (place, octet) in request.ifr_name.iter_mut().zip(octets) {
        *place = *octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM.cloexec(), None)?;
    // SAFETY: the request and what it points at outlive the call; the caller answers for their layout.
    if unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_lro_and_an_unknown_interface_is_an_error() {
        let lo = offloads("lo").unwrap();
        assert!(!lo.lro && !lo.receive_vlan);
        assert!(offloads("nosuch0").is_err() && driver("nosuch0").is_err());
        assert!(driver("a-name-that-is-much-too-long").is_err());
    }
}
