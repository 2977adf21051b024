//! The capture ring: takes what the programs with capture mirror, for whoever captures.

use std::io::PipeReader;
use std::sync::Arc;
use std::time::Duration;

use teaparty_common::maps::capture::{CaptureCounts, MAX_CAPTURES};

use crate::net::poll::wait;
use crate::reflector::capture::packet::CapturedPacket;
use crate::reflector::engine::context::InterfaceContext;
use crate::reflector::kernel::capture::CaptureOutput;

/// Time from one look into the ring to the next: the programs wake nobody, which would cost each packet more than its copy.
const INTERVAL: Duration = Duration::from_millis(10);

/// Delivers until `wake` becomes readable, and what is in the ring then.
pub(crate) fn run(context: &Arc<InterfaceContext>, mut output: CaptureOutput, wake: &PipeReader) {
    let mut told = CaptureCounts::default();
    loop {
        let is_over = wait(&[wake], Some(INTERVAL)).unwrap_or(true);
        let snapshot = context.snapshot();
        let (interface, clock) = (&snapshot.interface, context.clock());
        while let Some(record) = output.packets.next() {
            if let Some((captures, packet)) = CapturedPacket::of_record(&record, interface.index, &clock) {
                context.captures().deliver(&interface.name, captures, packet);
            }
        }
        if let Ok(each) = output.counts.get(&0, 0) {
            let now = each.iter().fold(CaptureCounts::default(), |all, one| CaptureCounts {
                above_rate: std::array::from_fn(|n| all.above_rate[n] + one.above_rate[n]),
                ring_full: std::array::from_fn(|n| all.ring_full[n] + one.ring_full[n]),
            });
            context.captures().add_lost(interface.index, &difference(&now, &told));
            told = now;
        }
        if is_over {
            return;
        }
    }
}

fn difference(now: &CaptureCounts, before: &CaptureCounts) -> CaptureCounts {
    let less = |now: &[u64; MAX_CAPTURES], before: &[u64; MAX_CAPTURES]| {
        std::array::from_fn(|number| now[number].wrapping_sub(before[number]))
    };
    CaptureCounts {
        above_rate: less(&now.above_rate, &before.above_rate),
        ring_full: less(&now.ring_full, &before.ring_full),
    }
}
