//! Access to the octets of a packet, the same for packet memory in the kernel and a slice on the host.

/// Octets that may be read and written at bounded places, and nothing else.
///
/// The core is generic over this trait because a slice length says nothing to the kernel's verifier: there, each
/// access compares with the packet's end. Reading or writing outside is not an error but `None` or `false`.
pub trait PacketBuf {
    /// The `N` octets from `at` on, or `None` where they are not all there.
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Replaces the `N` octets from `at` on; `false`, with nothing written, where they are not all there.
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool;

    /// Returns true if the first `len` octets are all there.
    fn holds(&self, len: usize) -> bool;

    /// Returns true if every octet from `at` up to `len` is zero.
    fn is_zero(&self, at: usize, len: usize) -> bool;
}

/// A slice on the host that is only read, as [`PacketBuf`].
pub struct ReadOnlyBuf<'a>(pub &'a [u8]);

impl PacketBuf for ReadOnlyBuf<'_> {
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        self.0.get(at..end)?.try_into().ok()
    }

    fn put<const N: usize>(&mut self, _: usize, _: [u8; N]) -> bool {
        false
    }

    fn holds(&self, len: usize) -> bool {
        len <= self.0.len()
    }

    fn is_zero(&self, at: usize, len: usize) -> bool {
        // From the end: the caller asks at one header after the other, and a tail that is not zero is usually so there.
        self.0.get(at..len).is_some_and(|tail| tail.iter().rev().all(|octet| *octet == 0))
    }
}

/// A slice on the host as [`PacketBuf`].
pub struct SliceBuf<'a>(pub &'a mut [u8]);

impl PacketBuf for SliceBuf<'_> {
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        ReadOnlyBuf(self.0).get(at)
    }

    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool {
        let Some(place) = at.checked_add(N).and_then(|end| self.0.get_mut(at..end)) else {
            return false;
        };
        place.copy_from_slice(&octets);
        true
    }

    fn holds(&self, len: usize) -> bool {
        ReadOnlyBuf(self.0).holds(len)
    }

    fn is_zero(&self, at: usize, len: usize) -> bool {
        ReadOnlyBuf(self.0).is_zero(at, len)
    }
}
