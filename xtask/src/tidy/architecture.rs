//! What ARCHITECTURE.md claims: the layers as `layers.toml` has them, and tests that exist.

use std::collections::BTreeSet;

use super::layers::Drawn;

/// The heading of the table of invariants.
const TABLE: &str = "| Invariant | Test that guards it |";
/// Most lines of the page.
const MOST_LINES: usize = 150;

/// Returns what is wrong with the page, given the layers and the sources' texts.
pub(super) fn problems<'a>(page: &str, drawn: &[Drawn], sources: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = page.lines().count();
    if lines > MOST_LINES {
        problems.push(format!("{lines} lines, {MOST_LINES} at most"));
    }
    for line in drawn {
        if !page.lines().any(|one| one.trim() == line.0) {
            problems.push(format!("the layers lack the line `{}`", line.0));
        }
    }
    let guards = guards(page);
    if guards.is_empty() {
        problems.push(format!("no table with the heading `{TABLE}`"));
    }
    let mut unknown: BTreeSet<String> = guards.into_iter().collect();
    for text in sources {
        unknown.retain(|name| !text.contains(&format!("fn {name}(")));
    }
    problems.extend(unknown.into_iter().map(|name| format!("there is no test `{name}`")));
    problems
}

/// Returns the names in the last column of the table of invariants.
fn guards(page: &str) -> Vec<String> {
    let rows = page.lines().skip_while(|line| *line != TABLE).skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "```\na     low\n      mid, side\n```\n\n| Invariant | Test that guards it |\n|---|---|\n| one | `it_holds` |\n";

    fn found(page: &str, source: &str) -> Vec<String> {
        let drawn = [Drawn("a     low".into()), Drawn("mid, side".into())];
        problems(page, &drawn, [source].into_iter())
    }

    #[test]
    fn a_page_that_says_what_is_has_no_problem() {
        assert!(found(PAGE, "fn it_holds() {}").is_empty());
    }

    #[test]
    fn tests_that_are_gone_layers_that_changed_and_long_pages_are_found() {
        assert_eq!(found(PAGE, "fn it_held() {}"), ["there is no test `it_holds`"]);
        assert_eq!(found(&PAGE.replace("side", "other"), "fn it_holds() {}"), ["the layers lack the line `mid, side`"]);
        assert!(found(&(PAGE.to_owned() + &"\n".repeat(150)), "fn it_holds() {}")[0].contains("150 at most"));
        assert!(found("", "")[2].contains("no table"));
    }
}
