//! Rules for Rust files.

/// Macros that stand for code that is still to be written. In two halves, so that this file obeys itself.
const UNDONE: [&str; 2] = [concat!("to", "do!("), concat!("unimpl", "emented!(")];

const ALLOW: [&str; 2] = [concat!("#[al", "low("), concat!("#![al", "low(")];

/// Returns the problems of a file with this content, each as `line: what`.
pub(super) fn problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//! ") {
        problems.push("1: does not open with `//!` and what it is for".to_owned());
    }
    for (at, found) in UNDONE.iter().flat_map(|undone| text.match_indices(undone)) {
        problems.push(format!("{}: `{found}…)` is no code", line_at(text, at)));
    }
    for (at, found) in ALLOW.iter().flat_map(|allow| text.match_indices(allow)) {
        let attribute = text[at..].split(']').next().unwrap_or_default();
        if !attribute.contains("reason") {
            problems.push(format!(
                "{}: `{found}…)]` gives no reason; prefer `#[expect(…, reason = …)]`",
                line_at(text, at)
            ));
        }
    }
    problems
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_has_no_problems() {
        assert_eq!(problems("//! Something.\n#[expect(dead_code, reason = \"x\")]\nfn f() {}\n"), [""; 0]);
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(problems("fn f() {}\n").len(), 1);
        assert_eq!(problems("// Something.\n//! More.\n").len(), 1);
    }

    #[test]
    fn undone_code_is_found_with_its_line() {
        for undone in UNDONE {
            let found = problems(&format!("//! x\n\nfn f() {{ {undone}) }}\n"));
            assert!(found.len() == 1 && found[0].starts_with("3: "), "{found:?}");
        }
    }

    #[test]
    fn an_exception_needs_a_reason_on_whichever_line() {
        for allow in ALLOW {
            assert_eq!(problems(&format!("//! x\n{allow}dead_code)]\n")).len(), 1);
            assert_eq!(problems(&format!("//! x\n{allow}\n    dead_code,\n    reason = \"y\"\n)]\n")).len(), 0);
        }
    }
}
