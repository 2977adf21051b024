//! Random packets from a seed: the same seed makes the same packets, so that a failure can be repeated.

/// A small generator (xorshift64*): tests need variety and repeatability, not secrecy.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed that is printed where a test fails.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it has no end, and nobody iterates over it")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// An octet.
    pub fn octet(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    /// `len` octets.
    pub fn octets(&mut self, len: usize) -> Vec<u8> {
        let mut octets = Vec::with_capacity(len + 8);
        while octets.len() < len {
            octets.extend(self.next().to_le_bytes());
        }
        octets.truncate(len);
        octets
    }

    /// From `least` to `most` octets.
    pub fn few_octets(&mut self, least: usize, most: usize) -> Vec<u8> {
        let len = least + self.below(most - least + 1);
        self.octets(len)
    }
}
