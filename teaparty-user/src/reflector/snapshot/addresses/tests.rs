//! Which addresses are answered, on which interface and VLAN, and which sources are believed.

use std::net::IpAddr;

use super::*;
use crate::net::host::{HostAddress, NetworkDevice};
use crate::reflector::config::ReflectorSettings;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A router: eth0 with a VLAN, eth1, loopback and a dummy interface with addresses of the host as a whole.
fn host() -> Host {
    let link = |index, name: &str, kind: &str| NetworkDevice {
        index,
        name: name.into(),
        mac: [2, 0, 0, 0, 0, index as u8],
        mtu: 1500,
        link_type: libc::ARPHRD_ETHER,
        is_up: true,
        is_loopback: name == "lo",
        kind: kind.into(),
        lower: 0,
        vlan: None,
    };
    let address = |index, text: &str, broadcast: Option<&str>, is_global| HostAddress {
        index,
        ip: ip(text),
        broadcast: broadcast.map(|text| text.parse().unwrap()),
        is_global,
    };
    Host {
        links: vec![
            link(1, "lo", ""),
            link(2, "eth0", ""),
            link(3, "eth1", ""),
            link(4, "dum0", "dummy"),
            NetworkDevice { lower: 2, vlan: Some((0x8100, 100)), ..link(5, "eth0.100", "vlan") },
        ],
        addresses: vec![
            address(1, "127.0.0.1", None, false),
            address(1, "::1", None, false),
            address(1, "10.255.0.1", None, true),
            address(2, "192.0.2.1", Some("192.0.2.255"), true),
            address(2, "fe80::1", None, false),
            address(3, "198.51.100.1", Some("198.51.100.255"), true),
            address(3, "fe80::3", None, false),
            address(4, "2001:db8:ff::1", None, true),
            address(4, "fe80::4", None, false),
            address(5, "203.0.113.1", Some("203.0.113.255"), true),
        ],
    }
}

fn book(name: &str, change: impl FnOnce(&mut ReflectorSettings)) -> AddressBook {
    let mut settings = ReflectorSettings { iface: vec![name.into()], ..ReflectorSettings::default() };
    change(&mut settings);
    let config = ReflectorConfig::try_from(settings).unwrap();
    let host = host();
    let link = host.links.iter().find(|link| link.name == name).unwrap();
    AddressBook::new(&config, &Interface::of(&host, link), &host)
}

fn answered(book: &AddressBook) -> Vec<String> {
    let mut all: Vec<String> = book.answered().iter().map(|own| crate::net::address::ip(own).to_string()).collect();
    all.sort_unstable();
    all
}

#[test]
fn by_default_the_interface_and_the_host_as_a_whole_are_answered_for() {
    let all = ["10.255.0.1", "192.0.2.1", "2001:db8:ff::1", "fe80::1"];
    assert_eq!(answered(&book("eth0", |_| {})), all);
    assert_eq!(answered(&book("eth0", |settings| settings.strict_addresses = true)), ["192.0.2.1", "fe80::1"]);
    let listed = |ips: &[&str]| ips.iter().map(|text| ip(text)).collect::<Vec<IpAddr>>();
    // Of another interface, and one that nobody has.
    let others = book("eth0", |settings| settings.address = listed(&["198.51.100.1", "198.51.100.2"]));
    assert_eq!(answered(&others), ["198.51.100.1"]);
    // Loopback addresses and those of other links mean somebody else here.
    let never = book("eth0", |settings| settings.address = listed(&["127.0.0.1", "::1", "fe80::3"]));
    assert!(answered(&never).is_empty());
    let both = book("eth0", |settings| {
        settings.address = listed(&["198.51.100.1", "192.0.2.1"]);
        settings.strict_addresses = true;
    });
    assert_eq!(answered(&both), ["192.0.2.1"]);
    assert_eq!(answered(&book("lo", |_| {})), ["10.255.0.1", "127.0.0.1", "2001:db8:ff::1", "::1"]);
}

#[test]
fn destination_node_addresses_are_those_that_replies_may_leave_from() {
    let asked =
        ["192.0.2.1", "10.255.0.1", "2001:db8:ff::1", "198.51.100.1", "127.0.0.1", "::1", "192.0.2.255", "192.0.2.9"];
    let accepted = |book: &AddressBook| asked.map(|text| book.is_node(&address(ip(text)), Tags::NONE));
    let interface = book("eth0", |_| {});
    assert_eq!(accepted(&interface), [true, true, true, false, false, false, false, false]);
    let any = book("eth0", |settings| settings.allow_destination_node = DestinationNode::Any);
    assert_eq!(accepted(&any), [true, true, true, true, false, false, false, false]);
    let excluding = book("eth0", |settings| {
        settings.allow_destination_node = DestinationNode::Any;
        settings.address = vec![ip("192.0.2.1")];
    });
    assert_eq!(accepted(&excluding), [true, false, false, false, false, false, false, false]);
}

#[test]
fn sources_and_vlans_are_judged_as_by_the_kernel_program() {
    let book = book("eth0", |_| {});
    let vlan = Tags(0x8100_0064);
    let check = |source: &str, destination: &str, tags| {
        book.check((&address(ip(source)), 5000), &address(ip(destination)), tags)
    };
    let rows = [
        ("192.0.2.9", "192.0.2.1", Tags::NONE, Ok(())),
        ("192.0.2.9", "198.51.100.1", Tags::NONE, Err(Reason::NotOurAddress)),
        ("192.0.2.255", "192.0.2.1", Tags::NONE, Err(Reason::InvalidSource)),
        ("192.0.2.1", "192.0.2.1", Tags::NONE, Err(Reason::InvalidSource)),
        ("198.51.100.1", "192.0.2.1", Tags::NONE, Err(Reason::InvalidSource)),
        // The broadcast address of another interface's subnet is a host's for all that is known here.
        ("198.51.100.255", "192.0.2.1", Tags::NONE, Ok(())),
        ("fe80::3", "fe80::1", Tags::NONE, Ok(())),
        ("127.0.0.1", "192.0.2.1", Tags::NONE, Err(Reason::InvalidSource)),
        ("203.0.113.9", "203.0.113.1", vlan, Ok(())),
        ("203.0.113.9", "203.0.113.1", Tags::NONE, Err(Reason::NotOurAddress)),
        ("203.0.113.9", "203.0.113.1", Tags(0x8100_0065), Err(Reason::NotOurVlan)),
        ("203.0.113.9", "192.0.2.1", vlan, Err(Reason::NotOurVlan)),
        ("203.0.113.9", "10.255.0.1", vlan, Ok(())),
        ("203.0.113.255", "203.0.113.1", vlan, Err(Reason::InvalidSource)),
        ("203.0.113.1", "203.0.113.1", vlan, Err(Reason::InvalidSource)),
    ];
    for (source, destination, tags, expected) in rows {
        assert_eq!(check(source, destination, tags), expected, "{source} to {destination}, {tags:?}");
    }
    let any = super::tests::book("eth0", |settings| settings.any_vlan = true);
    let source = (&address(ip("192.0.2.9")), 5000);
    assert_eq!(any.check(source, &address(ip("192.0.2.1")), Tags(0x8100_0fff)), Ok(()));
    let lo = super::tests::book("lo", |_| {});
    assert_eq!(lo.check((&address(ip("127.0.0.1")), 5000), &address(ip("127.0.0.1")), Tags::NONE), Ok(()));
    assert_eq!(lo.check((&address(ip("192.0.2.1")), 5000), &address(ip("127.0.0.1")), Tags::NONE), Ok(()));
}
