//! The clock in a network card: has it stamp packets, and says what its stamps are on CLOCK_REALTIME.
//!
//! A card's clock runs by itself, or follows PTP on the timescale of the network. Its readings are compared with
//! CLOCK_REALTIME again and again, and its stamps are carried over by a line through the last two comparisons.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use libc::c_int;

use super::ioctl::interface_ioctl;
use crate::sys::clock::{ClockSource, SystemClock};

/// Why a card's clock can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HardwareError {
    /// The card, or its driver, has none.
    #[error("{device} has no clock that stamps all packets; `ethtool -T {device}` shows what it has")]
    Missing {
        /// Interface name.
        device: String,
    },
    /// The kernel refuses something.
    #[error("{device}: cannot {what}: {source}{}", advice(source))]
    Refused {
        /// Interface name.
        device: String,
        /// The attempt.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; it takes CAP_NET_ADMIN, and read access to /dev/ptp*",
        _ => "",
    }
}

/// The settings of a card's timestamping (`struct hwtstamp_config`).
type HwtstampConfig = libc::hwtstamp_config;

/// The abilities of a card (`struct ethtool_ts_info`).
#[repr(C)]
#[derive(Default)]
struct TsCapabilities {
    command: u32,
    so_timestamping: u32,
    clock_index: i32,
    transmit_types: u32,
    transmit_reserved: [u32; 3],
    receive_filters: u32,
    receive_reserved: [u32; 3],
}

const ETHTOOL_GET_TS_INFO: u32 = 0x41;

impl TsCapabilities {
    /// Returns true if it stamps all packets in both directions by a clock that can be read.
    fn suffice(&self) -> bool {
        let wanted = libc::SOF_TIMESTAMPING_TX_HARDWARE
            | libc::SOF_TIMESTAMPING_RX_HARDWARE
            | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        self.so_timestamping & wanted == wanted
            && self.clock_index >= 0
            && self.transmit_types & 1 << libc::HWTSTAMP_TX_ON != 0
            && self.receive_filters & 1 << libc::HWTSTAMP_FILTER_ALL != 0
    }
}

/// A card's clock in use. When dropped, the card is set as it was before.
#[derive(Debug)]
pub(crate) struct HardwareClock {
    device: String,
    clock: File,
    bridge: ClockMap,
    /// To be restored; `None` where nothing was changed.
    before: Option<HwtstampConfig>,
}

impl HardwareClock {
    /// Has the card of an interface stamp all packets, unless it does already.
    ///
    /// Fails where it can't, or this process may not: then the kernel's own timestamps have to do.
    pub(crate) fn open(device: &str) -> Result<Self, HardwareError> {
        let refused =
            |what| move |source: io::Error| HardwareError::Refused { device: device.to_owned(), what, source };
        let mut abilities = TsCapabilities { command: ETHTOOL_GET_TS_INFO, ..TsCapabilities::default() };
        let asked = request(device, libc::SIOCETHTOOL, &mut abilities);
        let has_none = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL));
        match asked {
            Err(error) if !has_none(&error) => return Err(refused("ask for its timestamping")(error)),
            Ok(()) if abilities.suffice() => {}
            _ => return Err(HardwareError::Missing { device: device.to_owned() }),
        }
        let clock = File::open(format!("/dev/ptp{}", abilities.clock_index)).map_err(refused("open its clock"))?;
        let before = switch_on(device).map_err(refused("switch its timestamping on"))?;
        // From here on dropping it restores the card.
        let mut this = Self { device: device.to_owned(), clock, bridge: ClockMap::default(), before };
        this.compare().map_err(refused("read its clock"))?;
        Ok(this)
    }

    /// Compares the two clocks once more. Call it about once a second, or after CLOCK_REALTIME was set.
    pub(crate) fn compare(&mut self) -> io::Result<()> {
        let fd = self.clock.as_raw_fd();
        let mut best: Option<(u64, Comparison)> = None;
        for _ in 0..5 {
            let before = SystemClock.realtime_ns();
            let hardware_ns = read(fd)?;
            let took = SystemClock.realtime_ns().saturating_sub(before);
            // The quicker, the less is hidden between the two readings.
            if best.as_ref().is_none_or(|(least, _)| took < *least) {
                best = Some((took, Comparison { hardware_ns, realtime_ns: before + took / 2 }));
            }
        }
        self.bridge.extend(best.map(|(_, comparison)| comparison));
        Ok(())
    }

    /// Forgets earlier comparisons, because CLOCK_REALTIME was set.
    pub(crate) fn restart(&mut self) {
        self.bridge = ClockMap::default();
    }

    /// A stamp of the card as nanoseconds since 1970 on CLOCK_REALTIME; `None` before the first comparison.
    pub(crate) fn realtime_ns(&self, hardware_ns: u64) -> Option<u64> {
        self.bridge.realtime_ns(hardware_ns)
    }
}

impl Drop for HardwareClock {
    fn drop(&mut self) {
        if let Some(mut before) = self.before.take()
            && let Err(error) = request(&self.device, libc::SIOCSHWTSTAMP, &mut before)
        {
            tracing::warn!(interface = self.device, %error, "cannot set its timestamping back");
        }
    }
}

/// Switches stamps of all packets on; returns the settings before, if they were others.
fn switch_on(device: &str) -> io::Result<Option<HwtstampConfig>> {
    const ON: (c_int, c_int) = (libc::HWTSTAMP_TX_ON as c_int, libc::HWTSTAMP_FILTER_ALL as c_int);
    let mut before = HwtstampConfig { flags: 0, tx_type: 0, rx_filter: 0 };
    request(device, libc::SIOCGHWTSTAMP, &mut before)?;
    if (before.tx_type, before.rx_filter) == ON {
        return Ok(None);
    }
    let mut wanted = HwtstampConfig { flags: 0, tx_type: ON.0, rx_filter: ON.1 };
    request(device, libc::SIOCSHWTSTAMP, &mut wanted)?;
    Ok(Some(before))
}

/// An ioctl of an interface whose argument is a pointer to `value`.
fn request<T>(device: &str, code: libc::c_ulong, value: &mut T) -> io::Result<()> {
    // SAFETY: each caller passes what its ioctl takes.
    unsafe { interface_ioctl(device, code, std::ptr::from_mut(value).cast()) }
}

/// Reads the clock of a descriptor of /dev/ptp* (clock_gettime(2), "dynamic clocks").
fn read(fd: RawFd) -> io::Result<u64> {
    let clock = (!fd << 3) | 3;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call.
    if unsafe { libc::clock_gettime(clock, &raw mut now) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64))
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    hardware_ns: u64,
    realtime_ns: u64,
}

/// From one clock to the other: a line through the last two comparisons, of which the later one is `last`.
#[derive(Clone, Copy, Debug, Default)]
struct ClockMap {
    last: Option<Comparison>,
    /// Nanoseconds of CLOCK_REALTIME gained for each nanosecond of the card's clock.
    gain: f64,
}

/// Clocks that differ more than this in speed (a thousandth) are none, or were set in the meantime: then the line
/// starts over.
const MOST_GAIN: f64 = 1e-3;

impl ClockMap {
    fn extend(&mut self, next: Option<Comparison>) {
        let Some(next) = next else { return };
        self.gain = match self.last {
            Some(last) if next.hardware_ns > last.hardware_ns => {
                let hardware = (next.hardware_ns - last.hardware_ns) as f64;
                let gain = (next.realtime_ns.wrapping_sub(last.realtime_ns) as i64) as f64 / hardware - 1.0;
                if gain.abs() <= MOST_GAIN { gain } else { 0.0 }
            }
            _ => 0.0,
        };
        self.last = Some(next);
    }

    fn realtime_ns(&self, hardware_ns: u64) -> Option<u64> {
        let last = self.last?;
        let since = hardware_ns.wrapping_sub(last.hardware_ns) as i64;
        Some(last.realtime_ns.wrapping_add_signed(since + (since as f64 * self.gain).round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A card's clock that is 37 s ahead, as one on TAI is, and 50 parts in a million too fast.
    fn hardware(realtime_ns: u64) -> u64 {
        realtime_ns + 37 * SECOND + realtime_ns / 20_000
    }

    fn comparison(realtime_ns: u64) -> Option<Comparison> {
        Some(Comparison { hardware_ns: hardware(realtime_ns), realtime_ns })
    }

    #[test]
    fn stamps_are_carried_over_whatever_the_cards_timescale_and_speed() {
        let mut bridge = ClockMap::default();
        assert_eq!(bridge.realtime_ns(hardware(5)), None);
        bridge.extend(comparison(100 * SECOND));
        // One comparison knows the distance and not the speed: 50 µs off after a second.
        let off = bridge.realtime_ns(hardware(101 * SECOND)).unwrap().abs_diff(101 * SECOND);
        assert!((49_000..51_000).contains(&off), "{off}");
        bridge.extend(comparison(101 * SECOND));
        for at in [100 * SECOND + 1, 101 * SECOND, 101 * SECOND + 999_999_999, 103 * SECOND] {
            let found = bridge.realtime_ns(hardware(at)).unwrap();
            assert!(found.abs_diff(at) <= 2, "{at} {found}");
        }
    }

    #[test]
    fn a_clock_that_was_set_between_two_comparisons_is_followed_at_once() {
        let mut bridge = ClockMap::default();
        bridge.extend(comparison(100 * SECOND));
        let set = Comparison { hardware_ns: hardware(101 * SECOND), realtime_ns: 50 * SECOND };
        bridge.extend(Some(set));
        assert_eq!(bridge.realtime_ns(set.hardware_ns + 10), Some(50 * SECOND + 10));
    }

    #[test]
    fn a_card_without_a_clock_and_one_that_is_not_there_are_told_apart() {
        let error = HardwareClock::open("lo").unwrap_err();
        assert!(
            matches!(error, HardwareError::Missing { .. }) && error.to_string().contains("ethtool -T lo"),
            "{error}"
        );
        let error = HardwareClock::open("nosuch0").unwrap_err();
        assert!(error.to_string().contains("nosuch0: cannot ask for its timestamping"), "{error}");
    }

    #[test]
    fn only_a_card_that_stamps_everything_both_ways_suffices() {
        // An Intel I210, as its driver reports: all kinds of stamps, clock 0, on and off, none and all.
        let whole = || TsCapabilities {
            so_timestamping: 0x5f,
            clock_index: 0,
            transmit_types: 3,
            receive_filters: 3,
            ..TsCapabilities::default()
        };
        assert!(whole().suffice());
        assert!(!TsCapabilities { clock_index: -1, ..whole() }.suffice());
        assert!(!TsCapabilities { receive_filters: 1 << 12, ..whole() }.suffice());
        assert!(!TsCapabilities { so_timestamping: 0x1a, ..whole() }.suffice());
    }
}
