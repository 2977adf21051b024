//! Access to packet memory, each with a comparison of its own.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::wire::checksum::ChecksumDelta;

/// Furthest octet that the fast path reaches from the start of a frame; longer frames are punted. The verifier wants a bound.
pub(crate) const REACH: usize = 2047;

/// An integer of packet memory, which is not aligned: one load, since the program is linked for a processor that can do that.
macro_rules! load {
    ($type:ty, $place:expr) => {
        // SAFETY: the caller of the function around has compared the place with the packet's end.
        unsafe { (($place) as *const $type).read_unaligned() }
    };
}

/// Stores an integer into packet memory.
macro_rules! store {
    ($type:ty, $place:expr, $word:expr) => {
        // SAFETY: the caller of the function around has compared the place with the packet's end.
        unsafe { (($place) as *mut $type).write_unaligned($word) }
    };
}

/// Calls a macro for each word of `$n` octets, with the word's offset: `$wide` for each of eight octets, and the others for
/// what is left. Written out instead of looped over, because LLVM keeps arrays that a loop has touched on the stack, of which
/// there is little. The last word first: what is known last, T3, stands in front, and so is what a sum is waiting for at
/// the end.
macro_rules! each_word {
    ($n:ident, $wide:ident, $half:ident, $short:ident, $octet:ident) => {{
        // A request for a session operation is the longest thing that is moved whole.
        const { assert!($n <= 144) };
        if $n & 1 != 0 {
            $octet!($n & !1);
        }
        if $n & 2 != 0 {
            $short!($n & !3);
        }
        if $n & 4 != 0 {
            $half!($n & !7);
        }
        each_word!(wide: $n, $wide, 136 128 120 112 104 96 88 80 72 64 56 48 40 32 24 16 8 0);
    }};
    (wide: $n:ident, $wide:ident, $($at:literal)*) => {
        $(
            if $n >= $at + 8 {
                $wide!($at);
            }
        )*
    };
}

/// Octets from `data` to `end`, which LLVM does not see to be their difference.
#[inline(always)]
fn distance(data: usize, end: usize) -> usize {
    let mut distance = end;
    // SAFETY: a subtraction.
    unsafe {
        asm!("{distance} -= {data}", distance = inout(reg) distance, data = in(reg) data, options(pure, nomem, nostack))
    };
    distance
}

/// Octets of a frame from an offset on, with the difference that writing makes to an internet checksum.
pub(crate) struct Packet {
    pub(super) data: usize,
    pub(super) end: usize,
    base: usize,
    delta: ChecksumDelta,
    /// True if [`PacketBuf::is_zero`] looks. Where it is known that no tail of zeros is there, that spares the verifier a loop.
    may_have_zero_tail: bool,
}

impl Packet {
    /// The frame of `ctx`, from octet `base` on.
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext, base: usize) -> Self {
        let (data, end): (usize, usize);
        // SAFETY: two fields of a context of this program. In assembly, because LLVM moves the loads of 32 bits to the
        // callers of a function and extends them there, which makes a scalar of the pointer.
        unsafe {
            asm!(
                "{data} = *(u32 *)({ctx} + {at_data})",
                "{end} = *(u32 *)({ctx} + {at_end})",
                data = out(reg) data,
                end = out(reg) end,
                ctx = in(reg) ctx.ctx,
                at_data = const offset_of!(xdp_md, data),
                at_end = const offset_of!(xdp_md, data_end),
                options(readonly, nostack),
            );
        }
        Self { data, end, base, delta: ChecksumDelta::NONE, may_have_zero_tail: true }
    }

    /// Returns the number of octets of the frame that are directly accessible.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        distance(self.data, self.end)
    }

    /// Returns the same without a tail of zeros.
    #[inline(always)]
    pub(crate) fn assume_no_zero_tail(self) -> Self {
        Self { may_have_zero_tail: false, ..self }
    }

    /// The sums of the octets that were overwritten and of those that are there now.
    #[inline(always)]
    pub(crate) fn delta(&self) -> ChecksumDelta {
        self.delta
    }

    /// The place of `N` octets, where they are all within the packet.
    #[inline(always)]
    fn checked_pointer<const N: usize>(&self, at: usize) -> Option<usize> {
        let offset = self.base + at;
        if offset > REACH {
            return None;
        }
        let place: usize;
        // SAFETY: computes `data + offset`, which the next line compares with the end. In assembly, because LLVM would
        // compare `end - N` instead ("R3 pointer arithmetic on pkt_end prohibited") and add a part of the offset before
        // the mask ("math between pkt pointer and register with unbounded min value"); both seen on 6.18. The mask
        // changes nothing, and is the bound that the verifier sees where the offset comes from memory.
        unsafe {
            asm!(
                "{place} = {offset}",
                "{place} &= {reach}",
                "{place} += {data}",
                place = out(reg) place,
                offset = in(reg) offset,
                reach = const REACH,
                data = in(reg) self.data,
                options(nomem, nostack),
            )
        };
        if place + N > self.end { None } else { Some(place) }
    }

    /// The 32 octets from `at` on as words in memory order.
    #[inline(always)]
    fn words(&self, at: usize) -> Option<[u64; 4]> {
        let place = self.checked_pointer::<32>(at)?;
        Some([load!(u64, place), load!(u64, place + 8), load!(u64, place + 16), load!(u64, place + 24)])
    }

    /// The sum of `N` octets from `at` on, in words of four: a load and an addition for each.
    #[inline(always)]
    pub(crate) fn sum_of<const N: usize>(&self, at: usize) -> Option<u64> {
        let place = self.checked_pointer::<N>(at)?;
        let mut total = 0u64;
        let mut i = 0;
        while i < N {
            total += u64::from(load!(u32, place + i));
            i += 4;
        }
        Some(total)
    }

    /// The sum of `len` octets from `at` on, for a checksum in full. `None` where they are not all there.
    #[inline(always)]
    pub(crate) fn sum(&self, at: usize, len: usize) -> Option<u64> {
        const STEP: usize = 64;
        let mut total = 0u64;
        let mut i = 0;
        for _ in 0..REACH / STEP {
            if i + STEP > len {
                break;
            }
            total += self.sum_of::<STEP>(at + i)?;
            i += STEP;
        }
        for _ in 0..STEP / 4 {
            if i + 4 > len {
                break;
            }
            total += u64::from(u32::from_ne_bytes(self.get::<4>(at + i)?));
            i += 4;
        }
        if i + 2 <= len {
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

impl PacketBuf for Packet {
    #[inline(always)]
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let place = self.checked_pointer::<N>(at)?;
        // SAFETY: `checked_pointer + N <= end` was compared in `checked_pointer`.
        Some(unsafe { load(place) })
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool {
        let Some(place) = self.checked_pointer::<N>(at) else {
            return false;
        };
        // SAFETY: `checked_pointer + N <= end` was compared in `checked_pointer`.
        let change = unsafe { store(place, octets) };
        self.delta.add(change.at(at));
        true
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // 6.18: compared as `payload + len <= end`, LLVM proves the later, smaller checks and drops them, while the
        // verifier still needs them ("invalid access to packet, off=54 size=8, r=40").
        self.base + len <= distance(self.data, self.end) && self.base + len <= REACH
    }

    #[inline(always)]
    fn is_zero(&self, at: usize, len: usize) -> bool {
        if !self.may_have_zero_tail {
            return false;
        }
        const STEP: usize = 32;
        let mut i = at;
        for _ in 0..REACH / STEP {
            if i + STEP > len {
                break;
            }
            let Some([a, b, c, d]) = self.words(i) else { return false };
            if a | b | c | d != 0 {
                return false;
            }
            i += STEP;
        }
        for _ in 0..STEP {
            if i >= len {
                break;
            }
            if self.get::<1>(i) != Some([0]) {
                return false;
            }
            i += 1;
        }
        true
    }
}

/// `N` octets from `checked_pointer` on, in loads as wide as they come.
///
/// # Safety
///
/// The octets are within the packet.
#[inline(always)]
unsafe fn load<const N: usize>(place: usize) -> [u8; N] {
    let mut octets = [0u8; N];
    macro_rules! wide {
        ($at:expr) => {
            octets[$at..$at + 8].copy_from_slice(&load!(u64, place + $at).to_ne_bytes())
        };
    }
    macro_rules! half {
        ($at:expr) => {
            octets[$at..$at + 4].copy_from_slice(&load!(u32, place + $at).to_ne_bytes())
        };
    }
    macro_rules! short {
        ($at:expr) => {
            octets[$at..$at + 2].copy_from_slice(&load!(u16, place + $at).to_ne_bytes())
        };
    }
    macro_rules! octet {
        ($at:expr) => {
            octets[$at] = load!(u8, place + $at)
        };
    }
    each_word!(N, wide, half, short, octet);
    octets
}

/// Writes `N` octets from `checked_pointer` on, in stores as wide as they come, and gives the unfolded sums of the octets that
/// were there and of those that are.
///
/// # Safety
///
/// The octets are within the packet.
#[inline(always)]
unsafe fn store<const N: usize>(place: usize, octets: [u8; N]) -> ChecksumDelta {
    let (mut removed, mut added) = (0u64, 0u64);
    let word = |at: usize| {
        u64::from_ne_bytes([
            octets[at],
            octets[at + 1],
            octets[at + 2],
            octets[at + 3],
            octets[at + 4],
            octets[at + 5],
            octets[at + 6],
            octets[at + 7],
        ])
    };
    macro_rules! wide {
        ($at:expr) => {
            let (old, new) = (load!(u64, place + $at), word($at));
            removed += (old & 0xffff_ffff) + (old >> 32);
            added += (new & 0xffff_ffff) + (new >> 32);
            store!(u64, place + $at, new)
        };
    }
    macro_rules! half {
        ($at:expr) => {
            let new = u32::from_ne_bytes([octets[$at], octets[$at + 1], octets[$at + 2], octets[$at + 3]]);
            removed += u64::from(load!(u32, place + $at));
            added += u64::from(new);
            store!(u32, place + $at, new)
        };
    }
    macro_rules! short {
        ($at:expr) => {
            let new = u16::from_ne_bytes([octets[$at], octets[$at + 1]]);
            removed += u64::from(load!(u16, place + $at));
            added += u64::from(new);
            store!(u16, place + $at, new)
        };
    }
    macro_rules! octet {
        ($at:expr) => {
            removed += u64::from(u16::from_ne_bytes([load!(u8, place + $at), 0]));
            added += u64::from(u16::from_ne_bytes([octets[$at], 0]));
            store!(u8, place + $at, octets[$at])
        };
    }
    each_word!(N, wide, half, short, octet);
    ChecksumDelta { removed, added }
}
