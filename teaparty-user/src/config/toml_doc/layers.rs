//! The tables of one file laid over those of the files before it.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Lays a file over those before it: its keys take the place of theirs, and its lists of tables (`[[session]]`) follow theirs.
/// A table (`[sla]`) is laid over the table key by key.
pub(super) fn lay_over<'a>(below: &mut DeTable<'a>, above: DeTable<'a>) {
    for (name, value) in above {
        // Removed, because a key that is there keeps its place in the text.
        let value = match below.remove(&name) {
            Some(known) => layered(known, value),
            None => value,
        };
        below.insert(name, value);
    }
}

fn layered<'a>(below: Spanned<DeValue<'a>>, above: Spanned<DeValue<'a>>) -> Spanned<DeValue<'a>> {
    let span = above.span();
    match (below.into_inner(), above.into_inner()) {
        (DeValue::Table(mut below), DeValue::Table(above)) => {
            lay_over(&mut below, above);
            Spanned::new(span, DeValue::Table(below))
        }
        (DeValue::Array(below), DeValue::Array(above)) if has_tables(&below) && has_tables(&above) => {
            Spanned::new(span, DeValue::Array(below.into_iter().chain(above).collect()))
        }
        (_, above) => Spanned::new(span, above),
    }
}

/// Returns true for a list of tables, which an empty list is not.
fn has_tables(list: &DeArray<'_>) -> bool {
    list.first().is_some_and(|first| matches!(first.get_ref(), DeValue::Table(_)))
}

/// Returns a table with all places moved on by so many octets.
pub(super) fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    table.into_iter().map(|(name, value)| (moved(name, by), shifted_value(value, by))).collect()
}

fn shifted_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        DeValue::Array(list) => DeValue::Array(list.into_iter().map(|value| shifted_value(value, by)).collect()),
        plain => plain,
    };
    moved(Spanned::new(span, value), by)
}

fn moved<T>(value: Spanned<T>, by: usize) -> Spanned<T> {
    let span = value.span();
    Spanned::new(span.start + by..span.end + by, value.into_inner())
}
