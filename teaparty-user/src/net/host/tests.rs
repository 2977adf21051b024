//! Lists of links and addresses as the kernel writes them (rtnetlink(7), linux/if_link.h, linux/if_addr.h).

use super::*;
use crate::sys::netlink::HEAD;

/// A netlink attribute, padded to four octets.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut octets = ((HEAD + body.len()) as u32).to_ne_bytes().to_vec();
    octets.extend(kind.to_ne_bytes());
    octets.extend([2, 0, 1, 0, 0, 0, 9, 9, 0, 0]);
    octets.extend(body);
    octets
}

/// A link: `ifinfomsg`, then its attributes.
fn link_of(index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let head = [&[0, 0, 1, 0][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]].concat();
    message(libc::RTM_NEWLINK, &[head, attributes.concat()].concat())
}

const UP: u32 = (libc::IFF_UP | libc::IFF_RUNNING) as u32;

fn named(name: &str) -> Vec<u8> {
    attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
}

/// IFLA_LINKINFO of a VLAN device, in the order in which the kernel writes it, flags and maps included.
fn vlan_info(protocol: u16, id: u16) -> Vec<u8> {
    let data = [
        attribute(IFLA_VLAN_PROTOCOL, &protocol.to_be_bytes()),
        attribute(IFLA_VLAN_ID, &id.to_ne_bytes()),
        attribute(2, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    ];
    let info = [attribute(libc::IFLA_INFO_KIND, b"vlan"), attribute(libc::IFLA_INFO_DATA, &data.concat())];
    // Nested attributes may have a flag that says so.
    attribute(libc::IFLA_LINKINFO | 0x8000, &info.concat())
}

fn vlan_device(index: u32, name: &str, lower: u32, flags: u32, info: Vec<u8>) -> Vec<u8> {
    let mac = attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, index as u8]);
    link_of(index, flags, &[named(name), attribute(libc::IFLA_LINK, &lower.to_ne_bytes()), mac, info])
}

#[test]
fn vlan_devices_are_found_with_their_tags_outer_to_inner() {
    let list = [
        link_of(2, UP, &[named("eth0")]),
        vlan_device(3, "eth0.100", 2, UP, vlan_info(0x8100, 100)),
        vlan_device(4, "eth0.100.200", 3, UP, vlan_info(0x8100, 200)),
        vlan_device(5, "sp", 2, UP, vlan_info(0x88a8, 7)),
        vlan_device(6, "cust", 5, UP, vlan_info(0x8100, 4094)),
        // Three tags are more than is looked behind; what is down receives nothing; another interface's is not ours.
        vlan_device(7, "deep", 4, UP, vlan_info(0x8100, 9)),
        vlan_device(8, "down", 2, 0, vlan_info(0x8100, 101)),
        vlan_device(9, "other", 99, UP, vlan_info(0x8100, 102)),
        // The number of a device in another namespace, which happens to be that of one here.
        link_of(
            10,
            UP,
            &[
                named("away"),
                attribute(libc::IFLA_LINK, &2u32.to_ne_bytes()),
                attribute(libc::IFLA_LINK_NETNSID, &0u32.to_ne_bytes()),
                vlan_info(0x8100, 103),
            ],
        ),
        // A macvlan is stacked too, and has no tags.
        link_of(
            11,
            UP,
            &[
                named("mv"),
                attribute(libc::IFLA_LINK, &2u32.to_ne_bytes()),
                attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, b"macvlan\0")),
            ],
        ),
    ];
    let host = Host { links: links(&list.concat()), addresses: Vec::new() };
    assert_eq!(host.links.len(), 10);
    let found: Vec<(u64, &str)> = host.vlans_of(2).iter().map(|(tags, link)| (tags.0, &*link.name)).collect();
    assert_eq!(
        found,
        [
            (0x8100_0064, "eth0.100"),
            (0x8100_0064_8100_00c8, "eth0.100.200"),
            (0x88a8_0007, "sp"),
            (0x88a8_0007_8100_0ffe, "cust"),
        ]
    );
    assert_eq!(host.link(3).map(|link| link.mac), Some([2, 0, 0, 0, 0, 3]));
    assert_eq!(host.vlans_of(3).len(), 2, "stacked on it: one tag, and one after it");
}

fn address_of(index: u32, prefix_len: u8, scope: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let family = if attributes.iter().any(|octets| octets.len() > 16) { libc::AF_INET6 } else { libc::AF_INET };
    let head = [&[family as u8, prefix_len, 0x80, scope][..], &index.to_ne_bytes()].concat();
    message(libc::RTM_NEWADDR, &[head, attributes.concat()].concat())
}

#[test]
fn addresses_are_those_of_a_number_whatever_their_label_is() {
    let v4 = |last: u8| attribute(libc::IFA_LOCAL, &[192, 0, 2, last]);
    let peer = attribute(libc::IFA_ADDRESS, &[192, 0, 2, 99]);
    let label = attribute(libc::IFA_LABEL, b"eth0:1\0");
    let stated = attribute(libc::IFA_BROADCAST, &[192, 0, 2, 127]);
    let v6 = |first: u8| attribute(libc::IFA_ADDRESS, &[first, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let list = [
        address_of(2, 24, 0, &[attribute(libc::IFA_ADDRESS, &[192, 0, 2, 1]), v4(1), label]),
        address_of(2, 25, 0, &[v4(2), stated]),
        address_of(2, 32, 0, &[peer, v4(3)]),
        address_of(2, 31, 0, &[v4(4)]),
        address_of(2, 64, 253, &[v6(0xfe)]),
        address_of(1, 128, 0, &[v6(0xfd)]),
    ];
    let found = addresses(&list.concat());
    let shown: Vec<(u32, String, Option<String>, bool)> = found
        .iter()
        .map(|one| (one.index, one.ip.to_string(), one.broadcast.map(|v4| v4.to_string()), one.is_global))
        .collect();
    let row = |index, ip: &str, broadcast: Option<&str>, is_global| {
        (index, ip.to_owned(), broadcast.map(str::to_owned), is_global)
    };
    assert_eq!(
        shown,
        [
            row(2, "192.0.2.1", Some("192.0.2.255"), true),
            row(2, "192.0.2.2", Some("192.0.2.127"), true),
            row(2, "192.0.2.3", None, true),
            row(2, "192.0.2.4", None, true),
            row(2, "fe80::1", None, false),
            row(1, "fd80::1", None, true),
        ]
    );
}

#[test]
fn lists_that_are_cut_short_anywhere_are_read_without_harm() {
    let list = [vlan_device(3, "eth0.100", 2, UP, vlan_info(0x8100, 100)), link_of(2, UP, &[named("eth0")])].concat();
    for len in 0..list.len() {
        assert!(links(&list[..len]).len() < 2, "{len}");
    }
}

#[test]
fn loopback_is_listed_with_its_addresses() {
    let host = Host::read().unwrap();
    let lo = host.links.iter().find(|link| link.is_loopback).unwrap();
    assert_eq!((lo.name.as_str(), lo.mac, lo.mtu >= 1500), ("lo", [0; 6], true));
    let own: Vec<&HostAddress> = host.addresses_of(lo.index).collect();
    assert!(own.iter().any(|own| own.ip == IpAddr::from([127, 0, 0, 1]) && !own.is_global), "{own:?}");
}
