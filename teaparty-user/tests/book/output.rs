//! Compares the output that a page shows with the one that came: numbers match numbers, `…` matches any lines.

use std::net::IpAddr;

/// Units of what differs from run to run, whose size may differ too.
const UNITS: [&str; 5] = ["ns", "µs", "ms", "s", "m"];
/// The counts of a summary: of the numbers before these words it matters whether they are 0.
const COUNTED: [&str; 3] = ["sent", "received", "lost"];
/// A run of hexadecimal digits as long as this names something: a session, a process, a file.
const HEX: usize = 8;

/// Beginnings of lines that depend on the machine: a busy one, and root as its user. They count only where a page shows them.
const NOISE: [&str; 2] = [" WARN packets of the schedule were missed", "Running as user \"root\""];

/// A word, with 0 for whatever is different in each run.
struct Word {
    line: usize,
    text: String,
}

/// Returns true if what came is what is shown. Shown lines that are `…` or `...` match any number of lines.
///
/// Line breaks between two of those don't matter: text is folded to 80 columns, and numbers are not
/// equally long in each run.
pub(crate) fn matches(shown: &[String], came: &str) -> bool {
    let is_gap = |line: &String| ["…", "..."].contains(&line.trim());
    let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect();
    let parts: Vec<Vec<String>> = shown.split(is_gap).map(|part| texts(words(&part.join("\n")))).collect();
    let is_shown = |start: &str| shown.iter().any(|line| line.starts_with(start));
    let came = without_colours(came);
    let is_noise = |line: &&str| NOISE.iter().any(|start| line.starts_with(start) && !is_shown(start));
    let came = came.lines().filter(|line| !is_noise(line)).collect::<Vec<_>>().join("\n");
    let words = words(&came);
    let lines: Vec<Vec<String>> = words
        .chunk_by(|a, b| a.line == b.line)
        .map(|line| line.iter().map(|word| word.text.clone()).collect())
        .collect();
    from(&parts, &lines, true)
}

/// Returns true if the lines begin with the first part, if that is fixed, and have the others after it in their order.
fn from(parts: &[Vec<String>], lines: &[Vec<String>], is_fixed: bool) -> bool {
    let Some((part, rest)) = parts.split_first() else { return lines.is_empty() };
    let last_start = if is_fixed { 0 } else { lines.len() };
    (0..=last_start).any(|start| {
        let mut ends = (start..=lines.len()).filter(|end| lines[start..*end].concat() == *part);
        ends.any(|end| if rest.is_empty() { end == lines.len() } else { from(rest, &lines[end..], false) })
    })
}

/// Returns the words of a text.
fn words(text: &str) -> Vec<Word> {
    let lines = text.lines().enumerate();
    let mut rest = lines.flat_map(|(line, text)| text.split_whitespace().map(move |word| (line, word))).peekable();
    let mut words: Vec<Word> = Vec::new();
    while let Some((line, word)) = rest.next() {
        let bare = word.trim_end_matches([',', ';', '.', ')']);
        let is_after_number = words.last().is_some_and(|last| last.text.ends_with('0'));
        let is_counted = rest.peek().is_some_and(|(_, next)| COUNTED.contains(&next.trim_end_matches(',')));
        let text = if is_counted && word.bytes().all(|b| b.is_ascii_digit()) {
            (if word == "0" { "none" } else { "some" }).to_owned()
        } else if is_after_number && UNITS.contains(&bare) {
            // `826 ns` in one run is `1.2 µs` in the next.
            word.replacen(bare, "time", 1)
        } else {
            self::word(word)
        };
        words.push(Word { line, text });
    }
    words
}

/// Returns the word with 0 for its numbers. Addresses stay: they are the lab's.
fn word(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '[');
    let host = bare.trim_start_matches('[').split([']', '/', '%']).next().unwrap_or_default().trim_end_matches(':');
    let is_v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().is_ok();
    if host.parse::<IpAddr>().is_ok() || host.split(':').next().is_some_and(is_v4) {
        let at = word.find(host).unwrap_or_default();
        let end = if is_v4(host) || !host.contains('.') {
            at + host.len()
        } else {
            at + host.find(':').unwrap_or(host.len())
        };
        return format!("{}{}", &word[..end], numbers(&word[end..]));
    }
    numbers(word)
}

/// Returns the text with 0 for each number, with its sign, fraction and unit, and for each long hexadecimal run.
fn numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (run, after) = rest.split_at(len.max(first.len_utf8()));
        rest = after;
        let is_hex =
            run.len() >= HEX && run.bytes().all(|b| b.is_ascii_hexdigit()) && run.bytes().any(|b| b.is_ascii_digit());
        if is_hex || run.bytes().all(|b| b.is_ascii_digit()) {
            push_number(&mut out);
        } else if first.is_ascii_digit() {
            let unit = run.trim_start_matches(|c: char| c.is_ascii_digit());
            push_number(&mut out);
            out.push_str(if UNITS.contains(&unit) { "time" } else { "" });
            let digits = |part: &str| if part.is_empty() { String::new() } else { "0".to_owned() };
            if !UNITS.contains(&unit) {
                for part in unit.split_inclusive(|c: char| !c.is_ascii_digit()) {
                    let letters = part.trim_start_matches(|c: char| c.is_ascii_digit());
                    out.push_str(&digits(&part[..part.len() - letters.len()]));
                    out.push_str(letters);
                }
            }
        } else {
            out.push_str(run);
        }
    }
    out
}

/// Appends 0, or makes one number of it with the one before it: `1.5`, `12:30:01`.
fn push_number(out: &mut String) {
    if ["0.", "0:", "0,"].iter().any(|end| out.ends_with(end)) {
        out.pop();
        return;
    }
    if out.ends_with('-') && out.trim_end_matches('-').chars().last().is_none_or(|c| !c.is_alphanumeric()) {
        out.pop();
    }
    out.push('0');
}

/// Returns the text without the escape sequences of a terminal.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(shown: &str, came: &str) -> bool {
        matches(&shown.lines().map(str::to_owned).collect::<Vec<_>>(), came)
    }

    #[test]
    fn what_differs_in_each_run_matches() {
        for (shown, came) in [
            ("seq=0 rtt=63.07 µs forward=826 ns", "seq=0 rtt=826 ns forward=1.5 ms"),
            ("round trip   8.3 µs   9 ns", "round trip 10.25 µs 12.0 ms\n"),
            ("pid 812, took 5ms", "pid 4, took 1.3s"),
            ("at 2026-01-02T03:04:05.678Z", "at 2027-11-12T13:14:15.001Z"),
            ("id 0123abcd9876", "id fedc56780123ff"),
            ("port 49553 to 127.0.0.1:862", "port 1 to 127.0.0.1:862"),
            ("offset -5.1 µs", "offset 20 ns"),
            (
                "one way unreliable: error 15 ns,\n    the reflector's",
                "one way unreliable: error 1.5 µs, the\n    reflector's",
            ),
            ("a\n…\nz", "a\nb\nc\nz"),
            ("a\n...\nz", "a\nz"),
            ("…\nz", "b\nz"),
            ("a\n…", "a\nb\n"),
            (" WARN x", "\x1b[33m WARN\x1b[0m x"),
            ("5 sent, 4 received, 1 lost", "5 sent, 3 received, 2 lost"),
            ("x", "x\n WARN packets of the schedule were missed and are skipped, so far 5"),
        ] {
            assert!(is_match(shown, came), "{shown:?} {came:?}");
        }
    }

    #[test]
    fn what_is_wrong_does_not_match() {
        for (shown, came) in [
            ("lost", "late"),
            ("a", "a\nb"),
            ("a\nb", "a"),
            ("", "a"),
            ("a\n…\nz", "a\nz\ny"),
            ("a\n…\nz", "b\nz"),
            ("to 192.0.2.1 port 862", "to 192.0.2.2 port 862"),
            ("to 192.0.2.1:862", "to 192.0.2.2:862"),
            ("to 2001:db8::1", "to 2001:db8::2"),
            ("to [2001:db8::1]:862", "to [2001:db8::2]:862"),
            ("eth0", "eth1"),
            ("DSCP af21", "DSCP af22"),
            ("5 packets", "some packets"),
            ("5 received", "received"),
            ("5 sent, 5 received, 0 lost", "5 sent, 4 received, 1 lost"),
        ] {
            assert!(!is_match(shown, came), "{shown:?} {came:?}");
        }
    }
}
