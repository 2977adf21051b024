//! Frames that a driver was to send back for an XDP program and could not, as `ethtool -S` shows them.
//!
//! Each driver has names of its own for this: `rx_queue_0_xdp_tx_errors` (veth), `tx0_xdp_tx_drops` (virtio_net),
//! `rx_xdp_tx_full` (mlx5), `queue_8_xdp_tx_prepare_ctx_err` (ena), `rx_xdp_tx_errors[0]` (gve). They are found by their
//! words. i40e, ice and ixgbe have none for XDP and count these frames in `tx_busy`.

use std::collections::BTreeMap;
use std::io;

use super::ethtool;

/// Beginnings of the words that say that a frame was not sent.
const FAILURES: [&str; 8] = ["err", "drop", "fail", "full", "busy", "abort", "discard", "lost"];

/// Reads the counters of one interface. Remembers where they are among all statistics.
#[derive(Debug, Default)]
pub(crate) struct TransmitErrors {
    /// The number of the interface's statistics when their names were read.
    count: usize,
    places: Vec<usize>,
}

impl TransmitErrors {
    /// Returns how many frames the driver of `interface` could not send for XDP programs, since the interface exists.
    ///
    /// `None` if the driver does not count that. An error if the interface is gone.
    pub(crate) fn read(&mut self, interface: &str) -> io::Result<Option<u64>> {
        let count = ethtool::statistics_count(interface)?;
        if count != self.count {
            self.places = places(&ethtool::statistics_names(interface, count)?);
            self.count = count;
        }
        if self.places.is_empty() {
            return Ok(None);
        }
        let values = ethtool::statistics(interface, count)?;
        let value = |place: &usize| values.get(*place).copied().unwrap_or(0);
        Ok(Some(self.places.iter().map(value).fold(0, u64::wrapping_add)))
    }
}

/// The likelihood that a counter is the wanted one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Frames that an XDP program sent back.
    Returned,
    /// Frames that leave by XDP, which some drivers count together with those sent back.
    Sent,
    /// Frames that a driver has dropped after the program, for whatever reason.
    Dropped,
    /// Frames that found the queue full, whoever sent them.
    Busy,
}

/// Returns the places of the counters to add up: those of the best rank, and of a counter that is there for each queue
/// and for all queues together only the latter.
fn places(names: &[String]) -> Vec<usize> {
    let ranked: Vec<(Rank, usize)> =
        names.iter().enumerate().filter_map(|(place, name)| Some((rank(name)?, place))).collect();
    let Some(best) = ranked.iter().map(|(rank, _)| *rank).min() else { return Vec::new() };
    let mut groups: BTreeMap<String, (Vec<usize>, Option<usize>)> = BTreeMap::new();
    for (_, place) in ranked.into_iter().filter(|(rank, _)| *rank == best) {
        let name = &names[place];
        let (each, total) = groups.entry(words(name).join("_")).or_default();
        if name.contains(|c: char| c.is_ascii_digit()) {
            each.push(place);
        } else {
            *total = Some(place);
        }
    }
    groups.into_values().flat_map(|(each, total)| total.map_or(each, |total| vec![total])).collect()
}

/// The words of a counter's name without the numbers of queues.
fn words(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_ascii_alphabetic()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect()
}

fn rank(name: &str) -> Option<Rank> {
    let words = words(name);
    if words == ["tx", "busy"] {
        return Some(Rank::Busy);
    }
    let xdp = words.iter().position(|word| word == "xdp")?;
    let rest = &words[xdp + 1..];
    if !rest.iter().any(|word| FAILURES.iter().any(|failure| word.starts_with(failure))) {
        return None;
    }
    match rest.first().map(String::as_str) {
        Some("tx") => Some(Rank::Returned),
        Some("xmit") => Some(Rank::Sent),
        // sfc; plain `xdp_drops` are what a program wanted to be dropped.
        Some("bad") => Some(Rank::Dropped),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names among these that are added up.
    fn found<'a>(names: &[&'a str]) -> Vec<&'a str> {
        let owned: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut places = places(&owned);
        places.sort_unstable();
        places.into_iter().map(|place| names[place]).collect()
    }

    #[test]
    fn each_drivers_counters_are_found_by_their_names() {
        for (driver, names, expected) in [
            (
                "veth",
                &[
                    "peer_ifindex",
                    "rx_queue_0_xdp_packets",
                    "rx_queue_0_drops",
                    "rx_queue_0_xdp_drops",
                    "rx_queue_0_xdp_tx",
                    "rx_queue_0_xdp_tx_errors",
                    "rx_queue_1_xdp_tx_errors",
                    "tx_queue_0_xdp_xmit",
                    "tx_queue_0_xdp_xmit_errors",
                ][..],
                &["rx_queue_0_xdp_tx_errors", "rx_queue_1_xdp_tx_errors"][..],
            ),
            (
                "virtio_net",
                &["rx0_drops", "rx0_xdp_tx", "rx0_xdp_drops", "tx0_xdp_tx", "tx0_xdp_tx_drops", "tx1_xdp_tx_drops"],
                &["tx0_xdp_tx_drops", "tx1_xdp_tx_drops"],
            ),
            ("older virtio_net", &["tx_queue_0_xdp_tx", "tx_queue_0_xdp_tx_drops"], &["tx_queue_0_xdp_tx_drops"]),
            (
                "mlx5: the sums and not each queue once more",
                &[
                    "rx_xdp_drop",
                    "rx_xdp_tx_xmit",
                    "rx_xdp_tx_full",
                    "rx_xdp_tx_err",
                    "tx_xdp_full",
                    "tx_xdp_err",
                    "rx0_xdp_tx_full",
                    "rx1_xdp_tx_full",
                    "rx0_xdp_tx_err",
                ],
                &["rx_xdp_tx_full", "rx_xdp_tx_err"],
            ),
            (
                "ena",
                &[
                    "queue_0_rx_xdp_aborted",
                    "queue_0_rx_xdp_tx",
                    "queue_8_xdp_tx_cnt",
                    "queue_8_xdp_tx_queue_stop",
                    "queue_8_xdp_tx_prepare_ctx_err",
                    "queue_8_xdp_tx_linearize_failed",
                ],
                &["queue_8_xdp_tx_prepare_ctx_err", "queue_8_xdp_tx_linearize_failed"],
            ),
            (
                "gve",
                &["rx_xdp_tx[0]", "rx_xdp_tx_errors[0]", "rx_xdp_tx_errors[1]", "tx_xdp_xmit_errors[0]"],
                &["rx_xdp_tx_errors[0]", "rx_xdp_tx_errors[1]"],
            ),
            ("enetc", &["Rx ring  0 xdp drops", "Rx ring  0 xdp tx drops"], &["Rx ring  0 xdp tx drops"]),
            ("vmxnet3", &["  xdp drops", "  xdp xmit", "  xdp xmit err"], &["  xdp xmit err"]),
            ("sfc", &["rx_xdp_drops", "rx_xdp_bad_drops", "rx_xdp_tx"], &["rx_xdp_bad_drops"]),
            ("ice", &["tx_busy", "tx_errors", "tx_queue_0_packets"], &["tx_busy"]),
            ("none", &["rx_packets", "tx_errors", "rx_xdp_drop"], &[]),
        ] {
            assert_eq!(found(names), expected, "{driver}");
        }
    }

    #[test]
    fn loopback_counts_none_and_an_unknown_interface_is_an_error() {
        let mut errors = TransmitErrors::default();
        assert!(!matches!(errors.read("lo"), Ok(Some(_))));
        assert!(errors.read("nosuch0").is_err());
    }
}
