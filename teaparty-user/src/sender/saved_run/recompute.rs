//! The figures of a stream that has no summary, since its run was cut off: computed again from its lines, by the statistics of
//! a running measurement. What only a summary knows (loss by direction, what was ignored) stays unknown.

use serde_json::{Value, json};

use crate::sender::session::stats::Statistics;

/// The totals of the lines about one target.
#[derive(Clone, Debug, Default)]
pub(super) struct RecomputedRun {
    statistics: Statistics,
    received: u64,
    lost: u64,
    unsettled: u64,
    duplicates: u64,
    late: u64,
    further: u64,
    reordered: u64,
    reordering_extent_max: u64,
    /// Number of the last packet that was answered, counted on where Sequence Numbers begin again.
    last_index: Option<u64>,
    synchronized: u64,
    /// The first and the last moment, in nanoseconds since 1970.
    span: Option<(u64, u64)>,
}

impl RecomputedRun {
    /// Takes in the line of a packet, one that came at `epoch_ns`.
    pub(super) fn take(&mut self, line: &Value, epoch_ns: u64) {
        let began = line["t1_ns"].as_u64().unwrap_or(epoch_ns).min(epoch_ns);
        let (first, last) = self.span.unwrap_or((began, epoch_ns));
        self.span = Some((first.min(began), last.max(epoch_ns)));
        match line["fate"].as_str() {
            Some("reply") => self.reply(line),
            // Late replies are to packets that a line before has given up.
            Some("lost") => self.lost += 1,
            Some("unsettled") => self.unsettled += 1,
            Some("duplicate") => self.duplicates += 1,
            Some("late") => self.late += 1,
            Some("further") => {
                self.further += 1;
                if let Some(backward_ns) = line["backward_ns"].as_i64() {
                    self.statistics.backward.record(backward_ns);
                }
            }
            _ => {}
        }
    }

    fn reply(&mut self, line: &Value) {
        self.received += 1;
        self.synchronized += u64::from(line["synchronized"] == true);
        let extent = line["reordering_extent"].as_u64().unwrap_or(0);
        self.reordered += u64::from(extent > 0);
        self.reordering_extent_max = self.reordering_extent_max.max(extent);
        let delay = |key: &str| line[key].as_i64();
        let (Some(sequence), Some(round_trip), Some(residence), Some(forward), Some(backward)) = (
            line["sequence"].as_u64(),
            delay("round_trip_ns"),
            delay("residence_ns"),
            delay("forward_ns"),
            delay("backward_ns"),
        ) else {
            return;
        };
        let index = self.index(sequence as u32);
        let statistics = &mut self.statistics;
        for (distribution, variation, delay_ns) in [
            (&mut statistics.round_trip, Some(&mut statistics.round_trip_variation), round_trip),
            (&mut statistics.residence, None, residence),
            (&mut statistics.forward, Some(&mut statistics.forward_variation), forward),
            (&mut statistics.backward, Some(&mut statistics.backward_variation), backward),
        ] {
            distribution.record(delay_ns);
            if let Some(variation) = variation {
                variation.record(index, delay_ns);
            }
        }
    }

    fn index(&mut self, sequence: u32) -> u64 {
        let index = match self.last_index {
            None => u64::from(sequence),
            Some(last) => last.saturating_add_signed(i64::from(sequence.wrapping_sub(last as u32) as i32)),
        };
        self.last_index = Some(index);
        index
    }

    /// Returns the target's summary, as far as the lines allow. They have no address.
    fn summary(&self, target: &str) -> Value {
        let statistics = &self.statistics;
        json!({
            "target": target,
            "address": target,
            "sent": self.received + self.lost + self.unsettled,
            "received": self.received,
            "lost": self.lost,
            "unsettled": self.unsettled,
            "loss": self.lost as f64 / (self.received + self.lost).max(1) as f64,
            "duplicates": self.duplicates,
            "late": self.late,
            "further_replies": self.further,
            "reordered": self.reordered,
            "reordering_extent_max": self.reordering_extent_max,
            "round_trip_ns": statistics.round_trip.figures(),
            "residence_ns": statistics.residence.figures(),
            "forward_ns": statistics.forward.figures(),
            "backward_ns": statistics.backward.figures(),
            "variation_ns": {
                "round_trip": statistics.round_trip_variation,
                "forward": statistics.forward_variation,
                "backward": statistics.backward_variation,
            },
            "one_way": { "reliable": (self.received > 0).then_some(self.synchronized == self.received) },
        })
    }
}

/// The summary of a stream without one. `targets` are not none.
pub(super) fn summary<'a>(targets: impl Iterator<Item = (&'a str, &'a RecomputedRun)> + Clone) -> Value {
    let spans = || targets.clone().filter_map(|(_, recount)| recount.span);
    let first = spans().map(|(first, _)| first).min();
    let last = spans().map(|(_, last)| last).max();
    json!({
        "started_ns": first,
        "ended_ns": last,
        "duration_ns": first.zip(last).map(|(first, last)| last - first),
        "targets": targets.map(|(target, recount)| recount.summary(target)).collect::<Vec<_>>(),
    })
}

/// Returns the caveat for recomputed figures.
pub(super) fn caveat(lines: u64, is_torn: bool) -> String {
    let torn = if is_torn { "; its last line is torn and left out" } else { "" };
    format!("without a summary: recomputed from {lines} lines, the run was cut off{torn}")
}
