//! No type name twice in the product: a reader who meets one knows whose it is without its import.

use std::collections::BTreeMap;
use std::path::Path;

/// Crates whose names are compared. `xtask` is a tool of its own: each of its commands has its `Args`.
const CRATES: [&str; 3] = ["teaparty-common/src/", "teaparty-ebpf/src/", "teaparty-user/src/"];

const KEYWORDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// Returns each second definition of a name as `file:line: what`, given all source files (path from the repository's root, text).
pub(super) fn problems<'a>(files: impl Iterator<Item = (&'a Path, &'a str)>) -> Vec<String> {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    let mut problems = Vec::new();
    for (file, text) in files.filter(|(file, _)| is_compared(file)) {
        for (line, name) in definitions(text) {
            let place = format!("{}:{line}", file.display());
            match first.get(name) {
                Some(before) => problems
                    .push(format!("{place}: a type `{name}` is defined in {before} too: say in its name whose it is")),
                None => drop(first.insert(name, place)),
            }
        }
    }
    problems
}

fn is_compared(file: &Path) -> bool {
    let path = file.to_str().unwrap_or_default();
    let inside = CRATES.iter().find_map(|root| path.strip_prefix(root));
    inside.is_some_and(|path| !path.starts_with("bin/") && !path.ends_with("tests.rs") && !path.contains("tests/"))
}

/// Returns the types that a file defines outside its tests, each with its line. Types that belong to a trait or an
/// implementation are indented, and no names of their own.
fn definitions(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.find("#[cfg(test)]\nmod ").map_or(text, |end| &text[..end]);
    text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, defined(line)?)))
}

fn defined(line: &str) -> Option<&str> {
    let is_inner = line.starts_with(' ');
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) => {
            rest.strip_prefix('(').and_then(|rest| Some(rest.split_once(')')?.1)).unwrap_or(rest).trim_start()
        }
        None => line,
    };
    let (keyword, rest) = line.strip_prefix("unsafe ").unwrap_or(line).split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let is_type = KEYWORDS.contains(&keyword) && !(keyword == "type" && is_inner);
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        problems(files.iter().map(|(file, text)| (Path::new(*file), *text)))
    }

    #[test]
    fn a_name_may_be_defined_once() {
        let files = [
            ("teaparty-common/src/a.rs", "pub struct Plan {\n"),
            ("teaparty-user/src/b.rs", "//! x\n\npub(crate) enum Plan {\n"),
            ("teaparty-user/src/c.rs", "mod m {\n    trait Plan {\n"),
        ];
        let expected = [
            "teaparty-user/src/b.rs:3: a type `Plan` is defined in teaparty-common/src/a.rs:1 too: say in its name whose it is",
            "teaparty-user/src/c.rs:2: a type `Plan` is defined in teaparty-common/src/a.rs:1 too: say in its name whose it is",
        ];
        assert_eq!(found(&files), expected);
    }

    #[test]
    fn tests_tools_associated_types_and_uses_define_nothing() {
        let files = [
            ("teaparty-common/src/a.rs", "pub struct Plan;\npub type Item = u8;\n"),
            ("teaparty-common/src/a/tests.rs", "struct Plan;\n"),
            ("teaparty-ebpf/src/bin/b.rs", "struct Plan;\n"),
            ("xtask/src/c.rs", "struct Plan;\n"),
            (
                "teaparty-user/src/d.rs",
                "impl Iterator for D {\n    type Item = u8;\n}\n#[cfg(test)]\nmod tests {\n    struct Plan;\n",
            ),
            ("teaparty-user/src/e.rs", "use a::Plan;\n/// struct Plan\nfn f() -> Plan {\n"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
