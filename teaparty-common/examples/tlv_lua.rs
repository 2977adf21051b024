//! Prints the registry of TLVs as tables in Lua, for `cargo xtask codegen` and the dissector in `dist/wireshark`.

use std::fmt::{Display, Write};

use teaparty_common::reflect::HEARTBEAT_SEQUENCE;
use teaparty_common::tlv::measurement::HistoryEntry;
use teaparty_common::tlv::{Entry, LengthRule, REGISTRY, location, reflected_control, return_path};
use teaparty_common::wire::{AUTHENTICATED_LEN, DEFAULT_PORT, Dscp, Ecn, UNAUTHENTICATED_LEN};

fn main() {
    println!("local DEFAULT_PORT = {DEFAULT_PORT}");
    println!("local UNAUTHENTICATED_LEN = {UNAUTHENTICATED_LEN}");
    println!("local AUTHENTICATED_LEN = {AUTHENTICATED_LEN}");
    println!("local HEARTBEAT_SEQUENCE = {HEARTBEAT_SEQUENCE}");
    println!("local HISTORY_ENTRY_LEN = {}", size_of::<HistoryEntry>());
    print!("{}", tlvs(REGISTRY));
    print!("{}", names("LOCATION_SUBS", location::sub::NAMES.iter().copied()));
    print!("{}", names("RETURN_PATH_SUBS", return_path::sub::NAMES.iter().copied()));
    print!("{}", names("REFLECTED_CONTROL_SUBS", reflected_control::sub::NAMES.iter().copied()));
    print!("{}", names("DSCP_NAMES", Dscp::NAMED.iter().map(|(name, dscp)| (dscp.value(), *name))));
    print!("{}", names("ECN_NAMES", Ecn::NAMED.iter().map(|(name, ecn)| (ecn.value(), *name))));
}

/// Returns the TLVs by the numbers that they have in any profile. Of those that share a number, the Length decides.
fn tlvs(registry: &[Entry]) -> String {
    let mut table = "local TLVS = {\n".to_owned();
    for code in 0..=u8::MAX {
        let has_it = |entry: &&Entry| entry.code == code || entry.earlier_code == Some(code);
        let entries: Vec<String> = registry.iter().filter(has_it).map(entry).collect();
        if !entries.is_empty() {
            writeln!(table, "    [{code}] = {{\n{}    }},", entries.concat()).expect("a string takes all");
        }
    }
    table + "}\n"
}

fn entry(entry: &Entry) -> String {
    let Entry { name, title, section, length, .. } = entry;
    let lengths = lengths(length);
    format!("        {{ name = {name:?}, title = {title:?}, section = {section:?}, lengths = {{ {lengths} }} }},\n")
}

/// Returns the Lengths that a rule allows: as a list, or as the first one and the distance of those that follow.
fn lengths(rule: &LengthRule) -> String {
    let mut allowed = (0..=u16::MAX).filter(|length| rule.allows(*length));
    match (allowed.next(), allowed.next(), allowed.next()) {
        (Some(only), None, _) => only.to_string(),
        (Some(first), Some(second), None) => format!("{first}, {second}"),
        (Some(first), Some(second), Some(_)) => format!("from = {first}, step = {}", second - first),
        (None, ..) => unreachable!("a TLV that no Length is right for"),
    }
}

fn names<N: Display>(table: &str, names: impl Iterator<Item = (u8, N)>) -> String {
    let lines: String = names.map(|(code, name)| format!("    [{code}] = \"{name}\",\n")).collect();
    format!("local {table} = {{\n{lines}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tlv_stands_by_each_of_its_numbers() {
        let table = tlvs(REGISTRY);
        for entry in REGISTRY {
            let times = 1 + usize::from(entry.earlier_code.is_some());
            assert_eq!(table.matches(&format!("title = {:?}", entry.title)).count(), times, "{}", entry.name);
        }
    }

    #[test]
    fn lengths_are_those_of_the_rules() {
        assert_eq!(lengths(&LengthRule::ANY), "from = 0, step = 1");
        assert_eq!(lengths(&LengthRule::exactly(4)), "4");
        assert_eq!(lengths(&LengthRule::one_of(20, 40)), "20, 40");
        assert_eq!(lengths(&LengthRule::multiple_of(8)), "from = 8, step = 8");
    }

    #[test]
    fn tlvs_that_share_a_number_differ_in_length() {
        for one in REGISTRY {
            for other in REGISTRY.iter().filter(|other| other.kind > one.kind) {
                let shares = [Some(one.code), one.earlier_code]
                    .iter()
                    .flatten()
                    .any(|code| [Some(other.code), other.earlier_code].contains(&Some(*code)));
                let overlaps = (0..=u16::MAX).any(|length| one.length.allows(length) && other.length.allows(length));
                assert!(!(shares && overlaps), "{} and {}", one.name, other.name);
            }
        }
    }
}
