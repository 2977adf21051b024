//! What a measurement prints: [`human`] for people, [`json`] a summary for programs, [`stream`] a line for each packet,
//! [`hdr`] distributions for HdrHistogram's tools.

pub mod hdr;
pub mod human;
pub mod json;
pub mod stream;

/// The forms of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: a line for each reply, unless there are more than a hundred a second, then a summary.
    #[default]
    Human,
    /// One JSON object at the end.
    Json,
    /// One JSON object a line for each packet while it runs, the summary as the last line.
    Jsonl,
    /// One line of comma-separated values for each packet while it runs.
    Csv,
}

/// A time in nanoseconds with a unit that fits, to four digits.
pub fn nanos(value: i64) -> String {
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
