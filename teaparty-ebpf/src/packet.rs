//! Access to packet memory: the only pointer arithmetic of the program.

use core::arch::asm;
use core::hint::black_box;

use teaparty_common::bytes::Bytes;
use teaparty_common::wire::checksum;

/// Furthest octet that the fast path reaches from the start of a frame; longer frames are punted. The verifier wants a bound.
pub const REACH: usize = 2047;

/// Octets of a frame from an offset on, with the difference that writing makes to an internet checksum.
pub struct Packet {
    data: usize,
    end: usize,
    base: usize,
    /// Whether four zero octets at a TLV's place are known to begin a tail of zeros: `plan` has looked.
    pub is_tail_known: bool,
    removed: u64,
    added: u64,
}

impl Packet {
    /// The octets between `data` and `end`, the pointers of an XDP context, from `base` on.
    #[inline(always)]
    pub fn new(data: usize, end: usize, base: usize) -> Self {
        Self { data, end, base, is_tail_known: false, removed: 0, added: 0 }
    }

    /// The sums of the octets that were overwritten and of those that are there now.
    #[inline(always)]
    pub fn difference(&self) -> (u64, u64) {
        (self.removed, self.added)
    }

    /// The place of `N` octets, where they are all within the packet.
    #[inline(always)]
    fn place<const N: usize>(&self, at: usize) -> Option<usize> {
        let offset = self.base + at;
        if offset > REACH {
            return None;
        }
        // 6.18: without the mask the verifier loses the bound when the offset was spilled ("unbounded memory access").
        let mut place = self.data + (offset & REACH);
        // SAFETY: adds zero. It hides the sum from LLVM, which would compare `end - N` instead; the verifier refuses
        // arithmetic on `end` ("R3 pointer arithmetic on pkt_end prohibited").
        unsafe { asm!("{0} += 0", inout(reg) place) };
        if place + N > self.end { None } else { Some(place) }
    }

    /// The sum of `len` octets from `at` on, for a checksum in full. `None` where they are not all there.
    #[inline(always)]
    pub fn sum(&self, at: usize, len: usize) -> Option<u64> {
        const STEP: usize = 32;
        let mut total = 0u64;
        let mut i = 0;
        for _ in 0..REACH / STEP {
            if i + STEP > len {
                break;
            }
            total += checksum::sum_at(&self.get::<STEP>(at + i)?, 0);
            i += STEP;
        }
        for _ in 0..STEP / 2 {
            if i + 2 > len {
                break;
            }
            total += u64::from(u16::from_ne_bytes(self.get::<2>(at + i)?));
            i += 2;
        }
        if i < len {
            let [last] = self.get::<1>(at + i)?;
            total += u64::from(u16::from_ne_bytes([last, 0]));
        }
        Some(total)
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let place = self.place::<N>(at)?;
        // SAFETY: `place + N <= end` was compared in `place`.
        Some(unsafe { load(place) })
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool {
        let Some(place) = self.place::<N>(at) else {
            return false;
        };
        // SAFETY: `place + N <= end` was compared in `place`.
        let old = unsafe { load::<N>(place) };
        self.removed += checksum::sum_at(&old, at);
        self.added += checksum::sum_at(&octets, at);
        // SAFETY: as above.
        unsafe { store(place, octets) };
        true
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // 6.18: compared as `payload + len <= end`, LLVM proves the later, smaller checks and drops them, while the
        // verifier still needs them ("invalid access to packet, off=54 size=8, r=40").
        self.base + len <= black_box(self.end - self.data) && self.base + len <= REACH
    }

    #[inline(always)]
    fn is_zero(&self, at: usize, len: usize) -> Option<bool> {
        if self.is_tail_known {
            return Some(true);
        }
        const STEP: usize = 32;
        let mut i = at;
        for _ in 0..REACH / STEP {
            if i + STEP > len {
                break;
            }
            if self.get::<STEP>(i)? != [0; STEP] {
                return None;
            }
            i += STEP;
        }
        for _ in 0..STEP {
            if i >= len {
                break;
            }
            if self.get::<1>(i)? != [0] {
                return None;
            }
            i += 1;
        }
        Some(true)
    }
}

/// `N` octets from `place` on, in loads as wide as they come: packet memory is not aligned, and LLVM would load octet
/// by octet.
///
/// # Safety
///
/// The octets are within the packet.
#[inline(always)]
unsafe fn load<const N: usize>(place: usize) -> [u8; N] {
    let mut octets = [0u8; N];
    let mut i = 0;
    while i + 8 <= N {
        let word: u64;
        // SAFETY: `i + 8 <= N`, and the caller vouches for `N` octets.
        unsafe { asm!("{0} = *(u64 *)({1} + 0)", out(reg) word, in(reg) place + i, options(readonly, nostack)) };
        octets[i..i + 8].copy_from_slice(&word.to_ne_bytes());
        i += 8;
    }
    if i + 4 <= N {
        let word: u64;
        // SAFETY: `i + 4 <= N`.
        unsafe { asm!("{0} = *(u32 *)({1} + 0)", out(reg) word, in(reg) place + i, options(readonly, nostack)) };
        octets[i..i + 4].copy_from_slice(&(word as u32).to_ne_bytes());
        i += 4;
    }
    if i + 2 <= N {
        let word: u64;
        // SAFETY: `i + 2 <= N`.
        unsafe { asm!("{0} = *(u16 *)({1} + 0)", out(reg) word, in(reg) place + i, options(readonly, nostack)) };
        octets[i..i + 2].copy_from_slice(&(word as u16).to_ne_bytes());
        i += 2;
    }
    if i < N {
        let word: u64;
        // SAFETY: `i < N`.
        unsafe { asm!("{0} = *(u8 *)({1} + 0)", out(reg) word, in(reg) place + i, options(readonly, nostack)) };
        octets[i] = word as u8;
    }
    octets
}

/// Writes `N` octets from `place` on, in stores as wide as they come.
///
/// # Safety
///
/// The octets are within the packet.
#[inline(always)]
unsafe fn store<const N: usize>(place: usize, octets: [u8; N]) {
    let mut i = 0;
    while i + 8 <= N {
        let word = u64::from_ne_bytes([
            octets[i],
            octets[i + 1],
            octets[i + 2],
            octets[i + 3],
            octets[i + 4],
            octets[i + 5],
            octets[i + 6],
            octets[i + 7],
        ]);
        // SAFETY: `i + 8 <= N`, and the caller vouches for `N` octets.
        unsafe { asm!("*(u64 *)({1} + 0) = {0}", in(reg) word, in(reg) place + i, options(nostack)) };
        i += 8;
    }
    if i + 4 <= N {
        let word = u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        // SAFETY: `i + 4 <= N`.
        unsafe { asm!("*(u32 *)({1} + 0) = {0}", in(reg) u64::from(word), in(reg) place + i, options(nostack)) };
        i += 4;
    }
    if i + 2 <= N {
        let word = u16::from_ne_bytes([octets[i], octets[i + 1]]);
        // SAFETY: `i + 2 <= N`.
        unsafe { asm!("*(u16 *)({1} + 0) = {0}", in(reg) u64::from(word), in(reg) place + i, options(nostack)) };
        i += 2;
    }
    if i < N {
        // SAFETY: `i < N`.
        unsafe { asm!("*(u8 *)({1} + 0) = {0}", in(reg) u64::from(octets[i]), in(reg) place + i, options(nostack)) };
    }
}
