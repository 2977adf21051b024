//! Distributions in HdrHistogram's log format. Its tools in Java and Python read the compressed form only, so that is used.

use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::sender::session::measurement::FinishedMeasurement;

/// Writes one line for each target and quantity. The tag says which: `TARGET/round_trip` and so on, in nanoseconds.
pub(crate) fn write(file: impl Write, outcome: &FinishedMeasurement) -> anyhow::Result<()> {
    let mut file = BufWriter::new(file);
    let mut serializer = V2DeflateSerializer::new();
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(outcome.started_ns);
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(concat!("teaparty ", env!("CARGO_PKG_VERSION"), ", nanoseconds; values under 0 count as 0"))
        .with_start_time(start)
        .begin_log_with(&mut file, &mut serializer)?;
    for session in &outcome.sessions {
        let statistics = &session.statistics;
        for (name, distribution) in [
            ("round_trip", &statistics.round_trip),
            ("residence", &statistics.residence),
            ("forward", &statistics.forward),
            ("backward", &statistics.backward),
        ] {
            if distribution.count() == 0 {
                continue;
            }
            let (histogram, _) = distribution.to_hdr();
            // Commas and spaces are the format's own.
            let label = format!("{}/{name}", session.address);
            let duration = Duration::from_nanos(outcome.duration_ns);
            writer
                .write_histogram(&histogram, Duration::ZERO, duration, Tag::new(&label))
                .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
    }
    file.flush()?;
    Ok(())
}
