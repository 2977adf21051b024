//! Prints the registry of TLVs as a Markdown table, for `cargo xtask codegen`.

use teaparty_common::tlv::{Entry, REGISTRY};

fn main() {
    print!("{}", table(REGISTRY));
}

/// Returns a head, and a line for each TLV in the order of the registry.
fn table(registry: &[Entry]) -> String {
    let head = "| type | TLV | name here | specified in | answered by | the reflector must allow |\n|---|---|---|---|---|---|\n";
    registry.iter().fold(head.to_owned(), |table, entry| table + &line(entry))
}

fn line(entry: &Entry) -> String {
    let Entry { title, name, section, .. } = entry;
    let earlier = entry.earlier_code.map(|code| format!(" (earlier {code})")).unwrap_or_default();
    let handled_by = entry.handled_by.label();
    let option = entry.allowed_by.map(|option| format!("`{option}`")).unwrap_or_default();
    format!("| {}{earlier} | {title} | `{name}` | {section} | {handled_by} | {option} |\n", entry.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tlv_has_a_line() {
        let table = table(REGISTRY);
        assert_eq!(table.lines().count(), 2 + REGISTRY.len());
        let line = "| 9 | Destination Node Address | `destination-address` | RFC 9503 §3 | kernel |  |\n";
        assert!(table.contains(line), "{table}");
    }
}
