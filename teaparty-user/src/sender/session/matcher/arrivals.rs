//! The order of first replies: the extent of reordering (RFC 4737 §4.2.1).

/// The last arrivals, to look back from a reordered one.
#[derive(Debug)]
pub(super) struct Arrivals {
    indexes: [u64; Self::DEPTH],
    count: usize,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { indexes: [0; Self::DEPTH], count: 0 }
    }
}

impl Arrivals {
    /// Larger extents than this are reported as this.
    const DEPTH: usize = 256;

    /// Notes the arrival of a first reply to packet `index`.
    pub(super) fn push(&mut self, index: u64) {
        self.indexes[self.count % Self::DEPTH] = index;
        self.count += 1;
    }

    /// Distance to the earliest arrival of a later packet.
    pub(super) fn extent(&self, index: u64) -> u32 {
        let known = self.count.min(Self::DEPTH);
        (1..=known).rev().find(|back| self.indexes[(self.count - back) % Self::DEPTH] > index).unwrap_or(0) as u32
    }
}
