//! Access to the first octets of a frame at constant offsets, after one comparison for all of them.

use core::arch::asm;

use teaparty_common::packet_buf::PacketBuf;

use super::access::Packet;

/// `LEN` octets that were found to be there by one comparison, so that an access at a constant offset needs no other. What
/// writing changes in a sum is not told.
pub(crate) struct CheckedHeader<const LEN: usize> {
    start: usize,
}

impl<const LEN: usize> CheckedHeader<LEN> {
    /// The first octets of a frame. `None` where they are fewer.
    #[inline(always)]
    pub(crate) fn of(frame: &Packet) -> Option<Self> {
        let Packet { data, end, .. } = *frame;
        let behind: usize;
        // SAFETY: computes `data + LEN`. In assembly for the reason given in `Packet::checked_pointer`.
        unsafe {
            asm!("{behind} = {data}", "{behind} += {len}", behind = out(reg) behind, data = in(reg) data, len = const LEN,
                 options(pure, nomem, nostack))
        };
        if behind > end { None } else { Some(Self { start: data }) }
    }

    /// `N` of the octets from `AT` on.
    #[inline(always)]
    pub(crate) fn part<const AT: usize, const N: usize>(&self) -> CheckedHeader<N> {
        const { assert!(AT + N <= LEN) };
        CheckedHeader { start: self.start + AT }
    }
}

impl<const LEN: usize> PacketBuf for CheckedHeader<LEN> {
    #[inline(always)]
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `at + N <= LEN`, and as many octets were found to be there.
        if at + N > LEN { None } else { Some(unsafe { ((self.start + at) as *const [u8; N]).read_unaligned() }) }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool {
        if at + N > LEN {
            return false;
        }
        // SAFETY: as above.
        unsafe { ((self.start + at) as *mut [u8; N]).write_unaligned(octets) };
        true
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        len <= LEN
    }

    /// Nobody asks: packets with a tail are not held.
    #[inline(always)]
    fn is_zero(&self, _: usize, _: usize) -> bool {
        false
    }
}
