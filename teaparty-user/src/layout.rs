//! Text that fits its screen: how large the screen is, lines folded to its width, numbers with their nouns.

use std::fmt::Write;
use std::os::fd::AsFd;

/// Columns where nothing says how many there are: in files and pipes.
pub(crate) const DEFAULT_COLUMNS: usize = 80;
/// Columns below which nothing becomes narrower.
const LEAST_COLUMNS: usize = 20;

/// Returns the columns that standard output has: what `COLUMNS` says, else the terminal's, else 80.
pub(crate) fn columns() -> usize {
    let stated = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    stated.or_else(|| Some(screen()?.0)).unwrap_or(DEFAULT_COLUMNS).max(LEAST_COLUMNS)
}

/// Returns columns and rows of the terminal that standard output is, if it is one.
pub(crate) fn screen() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout().as_fd()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Folds each line of a text to `width` columns, at spaces where there are some; what follows the first part of a line is
/// indented by `indent` columns more than the line itself.
///
/// Spaces inside a line that fits stay as they are.
pub(crate) fn fold(text: &str, width: usize, indent: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            folded.push('\n');
        }
        fold_line(&mut folded, line, width, indent);
    }
    folded
}

fn fold_line(folded: &mut String, line: &str, width: usize, indent: usize) {
    if line.chars().count() <= width {
        folded.push_str(line);
        return;
    }
    let own = line.chars().take_while(|c| *c == ' ').count();
    // An indent that leaves no room is none.
    let hang = if own + indent + 8 <= width { own + indent } else { 0 };
    let (mut room, mut rest) = (width, line);
    loop {
        let Some((end, _)) = rest.char_indices().nth(room) else {
            folded.push_str(rest);
            return;
        };
        let start = rest.len() - rest.trim_start().len();
        // The last space that the line can end at; where a word is longer than the line, it is cut.
        let fits = &rest[..end + rest[end..].chars().next().map_or(0, char::len_utf8)];
        let cut = fits.rfind(' ').filter(|at| *at > start).unwrap_or(end);
        folded.push_str(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
        if rest.is_empty() {
            return;
        }
        let _ = write!(folded, "\n{:hang$}", "");
        room = width - hang;
    }
}

/// Shortens a text to `width` columns; the last column of one that was longer is `…`.
pub(crate) fn clip(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Returns a number with its noun: "1 burst", "2 bursts".
pub(crate) fn count(number: u64, one: &str) -> String {
    match (number, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {one}s"),
    }
}

/// A time in nanoseconds with a unit that fits, to four digits.
pub(crate) fn nanos(value: i64) -> String {
    let magnitude = value.unsigned_abs();
    let (divisor, unit) = match magnitude {
        0..1_000 => return format!("{value} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let scaled = value as f64 / divisor;
    let decimals = match scaled.abs() {
        0.0..9.9995 => 3,
        9.9995..99.995 => 2,
        99.995..1_000.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fold_at_spaces_and_long_words_are_cut() {
        let cases = [
            ("short", 10, "short"),
            ("one two three four", 10, "one two\n  three\n  four"),
            ("exactly te", 10, "exactly te"),
            ("exactly te n", 10, "exactly te\n  n"),
            ("0123456789abcdef", 10, "0123456789\n  abcdef"),
            ("  own and more words", 12, "  own and\n    more\n    words"),
            ("a  b\nµµµµµµ µµµµµ", 8, "a  b\nµµµµµµ\nµµµµµ"),
        ];
        for (text, width, expected) in cases {
            let folded = fold(text, width, 2);
            assert_eq!(folded, expected, "{text:?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        let text = "round trip 2001:db8::1:2:3:4:5:6:7 × ± µs  and   spaces, then some more of them ".repeat(3);
        for width in 10..100 {
            for indent in 0..9 {
                let folded = fold(&text, width, indent);
                assert!(folded.lines().all(|line| line.chars().count() <= width), "{width} {indent}\n{folded}");
                let words = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(words(&folded), words(&text), "nothing is lost");
            }
        }
    }

    #[test]
    fn numbers_have_the_right_noun() {
        assert_eq!(
            [count(1, "burst"), count(0, "burst"), count(2, "reply")],
            ["1 burst", "0 bursts", "2 replies"].map(String::from)
        );
        assert_eq!((&*clip("abcdef", 4), &*clip("abcd", 4)), ("abc…", "abcd"));
    }

    #[test]
    fn times_get_a_unit_that_fits() {
        let cases = [
            (0, "0 ns"),
            (-999, "-999 ns"),
            (1_000, "1.000 µs"),
            (23_456, "23.46 µs"),
            (-234_560, "-234.6 µs"),
            (1_500_000, "1.500 ms"),
            (2_000_000_000, "2.000 s"),
            (123_456_000_000_000, "123456 s"),
        ];
        for (value, text) in cases {
            assert_eq!(nanos(value), text);
        }
    }
}
