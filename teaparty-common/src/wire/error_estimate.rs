//! The Error Estimate field: S, Z, Scale, Multiplier (RFC 4656 §4.1.2, Z bit of RFC 8186 §2.3).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::TimestampFormat;

/// The error bound of a clock: `Multiplier × 2^(Scale − 32)` seconds, with the clock's synchronisation and format.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(transparent)]
pub struct ErrorEstimate(pub U16);

const S: u16 = 0x8000;
/// Z: the timestamps beside the estimate are PTPv2 (RFC 8186 §2.3).
pub const Z: u16 = 0x4000;

impl ErrorEstimate {
    /// The field from its 16 bits in host order.
    pub const fn from_bits(bits: u16) -> Self {
        Self(U16::new(bits))
    }

    /// The 16 bits in host order.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0.get()
    }

    /// The smallest estimate that covers `bound_ns` nanoseconds. Multiplier is never 0, as RFC 4656 §4.1.2 demands.
    ///
    /// Bounds above the largest expressible one (over 10^10 seconds) give the largest.
    pub const fn new(is_synchronized: bool, format: TimestampFormat, bound_ns: u64) -> Self {
        // In units of 2^-32 s, rounded up so that the claim is never better than the bound.
        let units = ((bound_ns as u128) << 32).div_ceil(1_000_000_000);
        let mut scale = 0u16;
        while scale < 63 && units.div_ceil(1u128 << scale) > 255 {
            scale += 1;
        }
        let wanted = units.div_ceil(1u128 << scale);
        let multiplier = if wanted > 255 {
            255
        } else if wanted == 0 {
            1
        } else {
            wanted as u16
        };
        let s = if is_synchronized { S } else { 0 };
        let z = match format {
            TimestampFormat::Ntp => 0,
            TimestampFormat::Ptp => Z,
        };
        Self::from_bits(s | z | scale << 8 | multiplier)
    }

    /// S: the clock claims to be synchronised to an external source.
    pub const fn is_synchronized(self) -> bool {
        self.bits() & S != 0
    }

    /// Z: the format of the timestamps that this estimate goes with.
    pub const fn format(self) -> TimestampFormat {
        if self.bits() & Z == 0 { TimestampFormat::Ntp } else { TimestampFormat::Ptp }
    }

    /// Scale, 0 to 63.
    pub const fn scale(self) -> u8 {
        (self.bits() >> 8 & 0x3f) as u8
    }

    /// Multiplier; 0 marks a packet that RFC 4656 §4.1.2 calls corrupt.
    #[inline(always)]
    pub const fn multiplier(self) -> u8 {
        self.bits() as u8
    }

    /// The bound in nanoseconds, rounded up; `u64::MAX` where it does not fit.
    pub const fn bound_ns(self) -> u64 {
        let units = (self.multiplier() as u128) << self.scale();
        let ns = (units * 1_000_000_000).div_ceil(1 << 32);
        if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 }
    }
}

impl core::fmt::Debug for ErrorEstimate {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ErrorEstimate")
            .field("is_synchronized", &self.is_synchronized())
            .field("format", &self.format())
            .field("scale", &self.scale())
            .field("multiplier", &self.multiplier())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_is_covered_with_the_smallest_scale() {
        for bound in [0, 1, 2, 59, 60, 1_000, 1_192, 16_000, 1_000_000, 16_000_000_000, u64::MAX / 2] {
            let estimate = ErrorEstimate::new(true, TimestampFormat::Ntp, bound);
            assert!(estimate.bound_ns() >= bound, "{bound} {estimate:?}");
            assert_ne!(estimate.multiplier(), 0);
            assert!(estimate.scale() == 0 || estimate.multiplier() >= 128, "{bound} {estimate:?}");
        }
    }

    #[test]
    fn known_examples_decode() {
        // STAMP.md 1.2: 0x8A05 is synchronised, scale 10, multiplier 5: 5·2^-22 s, about 1.19 µs.
        let estimate = ErrorEstimate::from_bits(0x8a05);
        assert!(estimate.is_synchronized());
        assert_eq!((estimate.scale(), estimate.multiplier(), estimate.bound_ns()), (10, 5, 1193));
        assert_eq!(ErrorEstimate::from_bits(0x4001).format(), TimestampFormat::Ptp);
    }
}
