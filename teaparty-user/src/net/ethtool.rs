//! What `ethtool` shows of an interface: its driver, and offloads that change packets before an XDP program sees them.

use std::ffi::CStr;
use std::io;

use super::ioctl::interface_ioctl;

// linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
/// The set of names that are those of statistics.
const ETH_SS_STATS: u32 = 1;
/// Octets of a name.
const NAME_LEN: usize = 32;
/// Statistics that there is room for besides those counted: a change of the queues between two questions adds some, and
/// the kernel writes all that there are.
const SPARE: usize = 8192;
const FLAG_RXVLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

/// Offloads of received packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offloads {
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
pub(crate) fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: the command fills a `struct ethtool_drvinfo`, which this is laid out as.
    unsafe { ask(interface, &mut info) }?;
    let name = CStr::from_bytes_until_nul(&info.driver).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// The offloads that are on.
pub(crate) fn offloads(interface: &str) -> io::Result<Offloads> {
    let value = |command| {
        let mut value = Value { command, data: 0 };
        // SAFETY: the commands that this is called with fill a `struct ethtool_value`, which this is laid out as.
        unsafe { ask(interface, &mut value) }.map(|()| value.data)
    };
    let flags = value(ETHTOOL_GFLAGS)?;
    Ok(Offloads { lro: flags & FLAG_LRO != 0, gro: value(ETHTOOL_GGRO)? != 0, receive_vlan: flags & FLAG_RXVLAN != 0 })
}

/// `struct ethtool_sset_info` with room for the size of one set.
#[repr(C)]
struct SetInfo {
    command: u32,
    reserved: u32,
    mask: u64,
    count: u32,
}

/// Returns how many statistics an interface has; 0 if its driver has none.
pub(crate) fn statistics_count(interface: &str) -> io::Result<usize> {
    let mut info = SetInfo { command: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << ETH_SS_STATS, count: 0 };
    // SAFETY: the command fills a `struct ethtool_sset_info` with as many sizes as there are bits in the mask.
    match unsafe { ask(interface, &mut info) } {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(0),
        Err(error) => Err(error),
        // A set that is not there has no bit in the answer.
        Ok(()) if info.mask == 0 => Ok(0),
        Ok(()) => Ok(info.count as usize),
    }
}

/// Returns the names of an interface's statistics, of which there are `count`.
pub(crate) fn statistics_names(interface: &str, count: usize) -> io::Result<Vec<String>> {
    /// `command`, `string_set` and `len` of `struct ethtool_gstrings`.
    const HEAD: usize = 12;
    let mut data = vec![0u8; HEAD + (count + SPARE) * NAME_LEN];
    data[..4].copy_from_slice(&ETHTOOL_GSTRINGS.to_ne_bytes());
    data[4..8].copy_from_slice(&ETH_SS_STATS.to_ne_bytes());
    data[8..HEAD].copy_from_slice(&(count as u32).to_ne_bytes());
    // SAFETY: a `struct ethtool_gstrings` and room for more names than there are.
    unsafe { ask_at(interface, data.as_mut_ptr().cast()) }?;
    let name = |octets: &[u8]| {
        let len = octets.iter().position(|octet| *octet == 0).unwrap_or(NAME_LEN);
        String::from_utf8_lossy(&octets[..len]).into_owned()
    };
    Ok(data[HEAD..HEAD + count * NAME_LEN].chunks_exact(NAME_LEN).map(name).collect())
}

/// Returns the values of an interface's statistics, of which there are `count`.
pub(crate) fn statistics(interface: &str, count: usize) -> io::Result<Vec<u64>> {
    #[repr(C)]
    struct Head {
        command: u32,
        count: u32,
    }
    let mut data = vec![0u64; 1 + count + SPARE];
    let head = Head { command: ETHTOOL_GSTATS, count: count as u32 };
    // SAFETY: the head is as long as one of these numbers, and aligned less strictly.
    unsafe { data.as_mut_ptr().cast::<Head>().write(head) };
    // SAFETY: a `struct ethtool_stats` and room for more values than there are.
    unsafe { ask_at(interface, data.as_mut_ptr().cast()) }?;
    Ok(data[1..=count].to_vec())
}

/// Has the kernel carry out an ethtool command.
///
/// # Safety
///
/// `data` is laid out as the structure that its command reads and writes.
unsafe fn ask<T>(interface: &str, data: &mut T) -> io::Result<()> {
    // SAFETY: the caller answers for the layout.
    unsafe { ask_at(interface, std::ptr::from_mut(data).cast()) }
}

/// Has the kernel carry out an ethtool command.
///
/// # Safety
///
/// At `data` is the structure that its command reads and writes, with all that the kernel appends to it.
unsafe fn ask_at(interface: &str, data: *mut libc::c_char) -> io::Result<()> {
    // SAFETY: the caller answers for what is at `data`.
    unsafe { interface_ioctl(interface, libc::SIOCETHTOOL, data) }
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
