//! Source addresses that no reply may go to, judged the same way by every engine.

use super::Address;
use crate::address::LocalAddress;

/// Returns true if no host may have sent a packet from this address and UDP port.
///
/// * `known`: the entry of `source` among the addresses of this host and its subnets' broadcast addresses, if it has one.
/// * `is_loopback`: the packet came in by the loopback interface. Our own addresses and those of loopback are right there,
///   and nowhere else.
///
/// RFC 1122 §3.2.1.3 for IPv4; RFC 4291 §2.5.2, §2.5.3, §2.5.5 and §2.7 for IPv6. Port 0 means that no reply is expected
/// (RFC 768).
#[inline(always)]
pub const fn is_invalid_source(
    source: &Address,
    source_port: u16,
    known: Option<LocalAddress>,
    is_loopback: bool,
) -> bool {
    if source_port == 0 || source.is_never_unicast() || (source.is_loopback() && !is_loopback) {
        return true;
    }
    match known {
        Some(known) => known.has(LocalAddress::BROADCAST) || !is_loopback,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(octets: [u16; 8]) -> Address {
        let mut address = [0; 16];
        for (pair, word) in address.chunks_exact_mut(2).zip(octets) {
            pair.copy_from_slice(&word.to_be_bytes());
        }
        Address(address)
    }

    #[test]
    fn hosts_may_send_from_unicast_addresses_alone() {
        let never = [
            Address::v4([0, 0, 0, 0]),
            Address::v4([0, 1, 2, 3]),
            Address::v4([224, 0, 0, 1]),
            Address::v4([239, 255, 255, 255]),
            Address::v4([255, 255, 255, 255]),
            Address::UNSPECIFIED,
            v6([0xff02, 0, 0, 0, 0, 0, 0, 1]),
            v6([0xff00, 0, 0, 0, 0, 0, 0, 0]),
            // IPv4-compatible.
            v6([0, 0, 0, 0, 0, 0, 0xc000, 0x0201]),
        ];
        for source in never {
            for is_loopback in [false, true] {
                assert!(is_invalid_source(&source, 5000, None, is_loopback), "{source:?}");
            }
        }
        let right = [
            Address::v4([192, 0, 2, 1]),
            Address::v4([1, 0, 0, 0]),
            Address::v4([126, 255, 255, 255]),
            Address::v4([128, 0, 0, 1]),
            Address::v4([223, 255, 255, 255]),
            Address::v4([169, 254, 1, 1]),
            Address::v4([240, 0, 0, 1]),
            v6([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
            v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
            v6([0, 0, 0, 1, 0, 0, 0, 1]),
        ];
        for source in right {
            assert!(!is_invalid_source(&source, 5000, None, false), "{source:?}");
            assert!(is_invalid_source(&source, 0, None, false), "{source:?}: port 0");
        }
    }

    #[test]
    fn own_and_loopback_addresses_are_right_on_loopback_alone() {
        let loopback = [Address::v4([127, 0, 0, 1]), Address::v4([127, 255, 255, 254]), v6([0, 0, 0, 0, 0, 0, 0, 1])];
        for source in loopback {
            assert!(is_invalid_source(&source, 5000, None, false), "{source:?}");
            assert!(!is_invalid_source(&source, 5000, None, true), "{source:?}");
        }
        let ours = Address::v4([192, 0, 2, 1]);
        let own = Some(LocalAddress { flags: LocalAddress::ANSWERED });
        assert!(is_invalid_source(&ours, 5000, own, false));
        assert!(!is_invalid_source(&ours, 5000, own, true));
        let broadcast = Some(LocalAddress { flags: LocalAddress::BROADCAST });
        for is_loopback in [false, true] {
            assert!(is_invalid_source(&ours, 5000, broadcast, is_loopback));
        }
    }
}
