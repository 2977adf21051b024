//! The two 64-bit timestamp formats: NTP (RFC 5905 §6) and PTPv2 truncated (RFC 8186 §2.1), in integers only.

use zerocopy::network_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Seconds from 1900-01-01 to 1970-01-01: what NTP counts and Unix does not.
pub const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// The format of a timestamp: the Z bit of the Error Estimate beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Seconds since 1900 in UTC and a binary fraction; the default of both roles (RFC 8762 §4.2.1).
    Ntp,
    /// Seconds since 1970, nominally in TAI, and nanoseconds.
    Ptp,
}

impl TimestampFormat {
    /// Returns the reading of the format's timescale at a reading of TAI, both in nanoseconds since 1970: NTP counts UTC,
    /// PTP counts TAI. `tai_offset_ns` is TAI minus UTC, modulo 2^64.
    #[inline(always)]
    pub const fn nanos(self, tai_ns: u64, tai_offset_ns: u64) -> u64 {
        match self {
            Self::Ntp => tai_ns.wrapping_sub(tai_offset_ns),
            Self::Ptp => tai_ns,
        }
    }
}

/// A 64-bit timestamp as it is on the wire; which format it is in stands in the Error Estimate.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Timestamp(pub U64);

impl Timestamp {
    /// The timestamp from its 64 bits in host order.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(U64::new(bits))
    }

    /// The 64 bits in host order.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }

    /// The timestamp for `nanos` since 1970 on the timescale of the format (NTP: UTC; PTP: TAI). Exact to 1 ns.
    ///
    /// `nanos` must be under 2^61 (the year 2043): the kernel shares this function, and there a 64-bit division costs
    /// more than the rest of it. Later times give a wrong result, not a panic.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64, format: TimestampFormat) -> Self {
        TimeParts::new(nanos).timestamp(format)
    }

    /// Nanoseconds since 1970 on the timescale of the format, in the era that lies nearest to `near_nanos`.
    ///
    /// Both formats keep seconds modulo 2^32 (NTP era 0 ends 2036-02-07, PTP's 2106), so an instant is known only
    /// together with a rough idea of the time. PTP nanoseconds of 10^9 and above are taken as they are.
    pub const fn to_nanos(self, format: TimestampFormat, near_nanos: u64) -> u64 {
        let bits = self.bits();
        let (seconds, subsec) = match format {
            TimestampFormat::Ntp => {
                let fraction = bits & 0xffff_ffff;
                ((bits >> 32).wrapping_sub(NTP_UNIX_OFFSET), (fraction * NANOS_PER_SEC + (1 << 31)) >> 32)
            }
            TimestampFormat::Ptp => (bits >> 32, bits & 0xffff_ffff),
        };
        // The signed distance of the 32-bit seconds decides about the era.
        let near_seconds = near_nanos / NANOS_PER_SEC;
        let distance = (seconds as u32).wrapping_sub(near_seconds as u32) as i32;
        let absolute = near_seconds.wrapping_add(distance as i64 as u64);
        absolute.wrapping_mul(NANOS_PER_SEC).wrapping_add(subsec)
    }
}

impl core::fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Timestamp({:#018x})", self.bits())
    }
}

/// An instant as seconds since 1970 and nanoseconds, of which there may be more than a second's: on its way to a
/// [`Timestamp`], and close to the next one.
#[derive(Clone, Copy, Debug)]
pub struct TimeParts {
    seconds: u64,
    /// Less than 4 · 10^9.
    nanos: u64,
}

impl TimeParts {
    /// From nanoseconds since 1970, which must be under 2^61 as for [`Timestamp::from_nanos`].
    #[inline(always)]
    pub const fn new(nanos: u64) -> Self {
        let (seconds, nanos) = split_roughly(nanos);
        Self { seconds, nanos }
    }

    /// The instant `elapsed` nanoseconds later, which must be less than a second; of one that is no such instant itself.
    #[inline(always)]
    pub const fn later(self, elapsed: u64) -> Self {
        Self { seconds: self.seconds, nanos: self.nanos + elapsed }
    }

    /// The timestamp for this instant on the timescale of the format.
    #[inline(always)]
    pub const fn timestamp(self, format: TimestampFormat) -> Timestamp {
        match format {
            TimestampFormat::Ntp => {
                // What is more than a second's carries by itself.
                let seconds = self.seconds.wrapping_add(NTP_UNIX_OFFSET);
                Timestamp::from_bits((seconds << 32).wrapping_add(ntp_fraction(self.nanos)))
            }
            TimestampFormat::Ptp => {
                let (seconds, nanos) = carry(self.seconds, self.nanos);
                let (seconds, nanos) = carry(seconds, nanos);
                let (seconds, nanos) = carry(seconds, nanos);
                Timestamp::from_bits(seconds << 32 | nanos)
            }
        }
    }
}

/// `(nanos / 10^9, nanos % 10^9)` by [`split_roughly`] and what it may lack, for `nanos` under 2^61.
#[cfg(test)]
const fn split_seconds(nanos: u64) -> (u64, u64) {
    let (seconds, rest) = split_roughly(nanos);
    let (seconds, rest) = carry(seconds, rest);
    carry(seconds, rest)
}

/// `(nanos / 10^9, nanos % 10^9)` without a division, for `nanos` under 2^61; but the nanoseconds may be up to two seconds too
/// many, and the seconds as many too few.
#[inline(always)]
const fn split_roughly(nanos: u64) -> (u64, u64) {
    // 2^61 / 10^9, rounded down. The high 32 bits of `nanos` (from bit 29 on) times this, shifted down, is the number
    // of seconds or up to two less: truncating the low 29 bits loses under 0.54 s, the constant and the shift under 1 each.
    const RECIPROCAL: u64 = (1 << 61) / NANOS_PER_SEC;
    let seconds = ((nanos >> 29) * RECIPROCAL) >> 32;
    (seconds, nanos.wrapping_sub(seconds.wrapping_mul(NANOS_PER_SEC)))
}

/// Makes a second of 10^9 of the nanoseconds, if they are as many; they must be under 2^63. Without a branch, which would be
/// guessed wrongly often, and after which the kernel's verifier has two ways to walk.
#[inline(always)]
const fn carry(seconds: u64, nanos: u64) -> (u64, u64) {
    let is_over = is_less(NANOS_PER_SEC - 1, nanos);
    (seconds + is_over, nanos - is_over * NANOS_PER_SEC)
}

/// 1 if `a` is less than `b`, else 0; both must be under 2^63.
#[inline(always)]
const fn is_less(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b) >> 63
}

/// `(nanos << 32) / 10^9` without a division, for `nanos` under 4 · 10^9.
#[inline(always)]
const fn ntp_fraction(nanos: u64) -> u64 {
    // 2^62 / 10^9 as a whole number and what it lacks in 2^24ths, rounded up, so that the sum is never less than the exact
    // one. It is less than 256 more, from the rounding, and 1 for each of the whole numbers. The exact one is a multiple
    // of 2^30 / 5^9 (which is 549), since 10^9 is 2^9 · 5^9: so much more brings none of them to the next multiple of 2^30.
    const WHOLE: u64 = (1 << 62) / NANOS_PER_SEC;
    const REST: u64 = (((1 << 62) % NANOS_PER_SEC) << 24) / NANOS_PER_SEC + 1;
    (nanos * WHOLE + ((nanos * REST) >> 24) + 1) >> 30
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_instants_convert_both_ways() {
        // The table `timestamps` of the vectors, made by an implementation of its own.
        for (nanos, ntp, ptp) in [
            (0, 0x83aa_7e80_0000_0000, 0),
            (1, 0x83aa_7e80_0000_0004, 1),
            (999_999_999, 0x83aa_7e80_ffff_fffb, 0x3b9a_c9ff),
            (1_746_049_288_271_330_430, 0xebbd_1788_4575_e93b, 0x6812_9908_102c_2c7e),
            (2_085_978_495_999_999_999, 0xffff_ffff_ffff_fffb, 0x7c55_817f_3b9a_c9ff),
            (2_085_978_496_000_000_000, 0, 0x7c55_8180_0000_0000_u64),
        ] {
            assert_eq!(Timestamp::from_nanos(nanos, TimestampFormat::Ntp).bits(), ntp, "{nanos}");
            assert_eq!(Timestamp::from_nanos(nanos, TimestampFormat::Ptp).bits(), ptp, "{nanos}");
            assert_eq!(Timestamp::from_bits(ntp).to_nanos(TimestampFormat::Ntp, nanos), nanos);
            assert_eq!(Timestamp::from_bits(ptp).to_nanos(TimestampFormat::Ptp, nanos), nanos);
        }
    }

    #[test]
    fn edges_of_the_second_are_exact() {
        for second in (0..2_300_000_000u64).step_by(9_999_991) {
            for subsec in [0, 1, 499_999_999, 999_999_998, 999_999_999] {
                let nanos = second * NANOS_PER_SEC + subsec;
                if nanos < 1 << 61 {
                    assert_eq!(split_seconds(nanos), (second, subsec));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn reciprocals_equal_divisions(nanos in 0u64..1 << 61) {
            prop_assert_eq!(split_seconds(nanos), (nanos / NANOS_PER_SEC, nanos % NANOS_PER_SEC));
        }

        #[test]
        fn fractions_equal_divisions(nanos in 0..4 * NANOS_PER_SEC, unit in 0u64..4 << 32) {
            // Anywhere, and where one fraction gives way to the next.
            let edge = (unit * NANOS_PER_SEC).div_ceil(1 << 32);
            for nanos in [nanos, edge.saturating_sub(1), edge.min(4 * NANOS_PER_SEC - 1)] {
                let exact = (u128::from(nanos) << 32) / u128::from(NANOS_PER_SEC);
                prop_assert_eq!(u128::from(ntp_fraction(nanos)), exact, "of {}", nanos);
            }
        }

        #[test]
        fn later_is_the_same_as_anew(nanos in 0u64..1 << 60, elapsed in 0..NANOS_PER_SEC) {
            for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
                let later = TimeParts::new(nanos).later(elapsed).timestamp(format);
                prop_assert_eq!(later, Timestamp::from_nanos(nanos + elapsed, format));
            }
        }

        #[test]
        fn round_trip_is_exact_to_the_nanosecond(nanos in 0u64..1 << 61, skew in -2_000_000_000_000_000_000i64..2_000_000_000_000_000_000) {
            let near = nanos.saturating_add_signed(skew);
            for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
                prop_assert_eq!(Timestamp::from_nanos(nanos, format).to_nanos(format, near), nanos);
            }
        }
    }
}
