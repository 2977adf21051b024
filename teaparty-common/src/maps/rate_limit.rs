//! The rate limit: one token bucket for each source prefix, shared by all processors.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::session_table::SlotWords;
use super::token_bucket::TokenRate;
use crate::address::Address;

/// The rate limit's state for one source prefix.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Bucket {
    /// The prefix, see [`SourcePrefix::of`].
    pub source: Address,
    /// CLOCK_MONOTONIC at which the prefix will have its full burst again, in nanoseconds.
    pub full_at_ns: u64,
    /// Nothing.
    pub reserved: u64,
}

/// Buckets in a row.
const WAYS: usize = 4;

/// Buckets of prefixes that are looked for together: two cache lines.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct BucketSet {
    /// In no order.
    pub buckets: [Bucket; WAYS],
}

/// Rows of buckets there are, so 65,536 prefixes.
pub const BUCKET_SETS: u32 = 16_384;

/// Words of a row.
pub const BUCKET_SET_WORDS: usize = size_of::<BucketSet>() / 8;

const BUCKET_WORDS: usize = size_of::<Bucket>() / 8;
const FULL_AT: usize = offset_of!(Bucket, full_at_ns) / 8;

/// The part of a source address that the rate limit counts by: an IPv6 host has 2^64 addresses and more to choose from.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SourcePrefix {
    /// The bits of an IPv6 address that count, in memory order as [`Address::words`].
    v6: [u64; 2],
    /// The bits of the second word of an IPv4 address that count.
    v4: u64,
}

impl SourcePrefix {
    /// One network of IPv6, one address of IPv4.
    pub const DEFAULT: Self = Self::new(64, 32);

    /// Counts by the first `v6` bits of an IPv6 address and the first `v4` bits of an IPv4 address.
    pub const fn new(v6: u8, v4: u8) -> Self {
        let (v6, v4) = (if v6 > 128 { 128 } else { v6 } as u32, if v4 > 32 { 32 } else { v4 } as u32);
        let [_, low] = mask(96 + v4);
        Self { v6: mask(v6), v4: low }
    }

    /// Returns the prefix of a source address, with zeros in place of the bits that do not count.
    #[inline(always)]
    pub const fn of(&self, source: &Address) -> Address {
        let [high, low] = source.words();
        let [v6_high, v6_low] = self.v6;
        Address::from_words(if source.is_ipv4() { [high, low & self.v4] } else { [high & v6_high, low & v6_low] })
    }
}

/// Returns the words of an address whose first `len` bits are set.
const fn mask(len: u32) -> [u64; 2] {
    let bits = if len == 0 { 0 } else { u128::MAX << (128 - len) };
    zerocopy::transmute!(bits.to_be_bytes())
}

/// Returns true if one more packet of `source`, received at `now_ns` of CLOCK_MONOTONIC, is within the limit, and charges its
/// bucket then. `row` is the row of [`super::session_table::TableLayout::bucket_set`].
///
/// A source without a bucket takes the one that is full first: forgetting that one loses least, and nothing where it is
/// full. Processors that charge the same bucket exchange its time atomically, so together they admit what one would.
#[inline(always)]
pub fn admit(row: impl SlotWords, source: &Address, now_ns: u64, rate: TokenRate) -> bool {
    let words = source.words();
    let (mut chosen, mut soonest, mut is_known) = (0, i64::MAX, false);
    for way in 0..WAYS {
        let at = way * BUCKET_WORDS;
        if (row.get(at) ^ words[0]) | (row.get(at + 1) ^ words[1]) == 0 {
            (chosen, is_known) = (way, true);
            break;
        }
        let ahead = rate.ahead_ns(row.get(at + FULL_AT), now_ns);
        if ahead < soonest {
            (chosen, soonest) = (way, ahead);
        }
    }
    let at = chosen % WAYS * BUCKET_WORDS;
    if !is_known {
        let there = row.get(at + FULL_AT);
        // Where another processor was faster, one packet of a new source is not charged.
        if row.exchange(at + FULL_AT, there, now_ns.wrapping_add(rate.interval_ns)) {
            row.set(at, words[0]);
            row.set(at + 1, words[1]);
        }
        return true;
    }
    rate.charge_shared(row, at + FULL_AT, now_ns)
}

/// A row in the memory of a process, which its threads share.
#[cfg(target_has_atomic = "64")]
pub type SharedBucketSet = [core::sync::atomic::AtomicU64; BUCKET_SET_WORDS];

#[cfg(test)]
mod tests;
