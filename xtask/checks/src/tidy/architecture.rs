//! What ARCHITECTURE.md and the threat model claim: the layers as `layers.toml` has them, and tests that exist.

use std::collections::BTreeSet;

use super::layers::Drawn;

/// Ends of the headings of tables whose last column names tests.
const TABLES: [&str; 2] = ["| Test that guards it |", "| Test |"];
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
    problems.extend(unguarded(page, sources));
    problems
}

/// Returns what is wrong with the tables of a page that name tests: none there, a row without a test, or a test that is gone.
pub(super) fn unguarded<'a>(page: &str, sources: impl Iterator<Item = &'a str>) -> Vec<String> {
    let cells = last_cells(page);
    if cells.is_empty() {
        return vec![format!("no table whose heading ends in `{}`", TABLES.join("` or `"))];
    }
    let bare = cells.iter().filter(|(_, cell)| !cell.contains('`'));
    let mut problems: Vec<String> = bare.map(|(row, _)| format!("no test is named in `{row}`")).collect();
    let names = cells.iter().flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2));
    let mut unknown: BTreeSet<&str> = names.collect();
    for text in sources {
        unknown.retain(|name| !text.contains(&format!("fn {name}(")));
    }
    problems.extend(unknown.into_iter().map(|name| format!("there is no test `{name}`")));
    problems
}

/// Returns each row of the tables that name tests, with its last cell.
fn last_cells(page: &str) -> Vec<(&str, &str)> {
    let mut cells = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if !TABLES.iter().any(|end| line.ends_with(end)) {
            continue;
        }
        let rows = lines.by_ref().skip(1).take_while(|row| row.starts_with('|'));
        cells.extend(rows.filter_map(|row| Some((row, row.trim_end_matches([' ', '|']).rsplit('|').next()?))));
    }
    cells
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

    #[test]
    fn every_table_of_a_page_is_read_and_a_row_names_a_test() {
        let page = "| Threat | Guard | Test |\n|---|---|---|\n| a | b | `one`, `two` |\n\n| Asset |\n|---|\n| key |\n\n\
            | Threat | Guard | Test |\n|---|---|---|\n| c | d | none |\n| e | f | `three` |\n";
        let found = unguarded(page, ["fn one() {} fn three() {}"].into_iter());
        assert_eq!(found, ["no test is named in `| c | d | none |`", "there is no test `two`"]);
    }
}
