//! What the programs of the bench have in common: the least that answers a packet, and what every object needs.
#![no_std]

use aya_ebpf::programs::XdpContext;

/// Ethernet, IPv4 without options, UDP: as far as these programs go into a packet.
pub const HEADERS: usize = 14 + 20 + 8;

/// Returns where the frame begins, if `N` octets of it are there.
#[inline(always)]
pub fn held<const N: usize>(ctx: &XdpContext) -> Option<usize> {
    let start = ctx.data();
    if start + N > ctx.data_end() { None } else { Some(start) }
}

/// Swaps the addresses of all three layers. Returns false if the packet does not have them.
#[inline(always)]
pub fn swap(ctx: &XdpContext) -> bool {
    let Some(start) = held::<HEADERS>(ctx) else { return false };
    // SAFETY: `HEADERS` octets are there, and all fields lie in them.
    unsafe {
        swap_fields::<[u16; 3]>(start, 0, 6);
        swap_fields::<[u16; 2]>(start, 26, 30);
        swap_fields::<u16>(start, 34, 36);
    }
    true
}

/// Swaps two fields of type `T` at these offsets.
///
/// # Safety
///
/// Both lie in the packet that begins at `start`.
#[inline(always)]
unsafe fn swap_fields<T: Copy>(start: usize, one: usize, other: usize) {
    let (one, other) = ((start + one) as *mut T, (start + other) as *mut T);
    // SAFETY: the caller's; the fields need no alignment.
    unsafe {
        let (first, second) = (one.read_unaligned(), other.read_unaligned());
        one.write_unaligned(second);
        other.write_unaligned(first);
    }
}

/// Defines what every object needs: a panic handler, and the licence that the kernel asks for.
#[macro_export]
macro_rules! object {
    () => {
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            // SAFETY: no path of the programs panics; the verifier refuses to load one that could come here.
            unsafe { core::hint::unreachable_unchecked() }
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}
