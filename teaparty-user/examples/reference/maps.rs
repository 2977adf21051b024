//! The BPF maps: what keys and values are, as the object's own BTF describes them and `bpftool map dump` prints them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use teaparty_common::maps::ABI_VERSION;

use crate::btf::{Member, Type, parse};
use crate::markdown::{code, head, table};

/// The source of the maps' names, whose comments say what each map is for.
const NAMES: &str = include_str!("../../../teaparty-common/src/maps/mod.rs");

pub(crate) fn page(object: &[u8]) -> Result<String> {
    let object = aya_obj::Object::parse(object).context("the object can't be read")?;
    let layouts = Layouts(parse(&object.btf.context("the object has no BTF")?.to_bytes())?);
    let about = format!(
        "While a reflector runs, its maps are pinned under `/sys/fs/bpf/teaparty/INTERFACE/`, and `bpftool map dump pinned FILE` \
         prints them with these names. Layouts belong to `ABI_VERSION` {ABI_VERSION}: pins of another version are never adopted. \
         Numbers are in host order unless a field says otherwise. Keys are in no map."
    );
    let mut text = head("Map layouts", "the BTF of the XDP program's object", &about);
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for (name, of) in layouts.maps()? {
        let part = |part: &str| layouts.pointee(of, part);
        let (key, value) = (part("key"), part("value"));
        let entries = layouts.pointee(of, "max_entries").and_then(|of| layouts.count(of));
        shown.extend([key, value].into_iter().flatten());
        let named = |of: Option<usize>| of.map_or(String::new(), |of| layouts.named(of));
        rows.push([
            code(&name),
            named(key),
            named(value),
            entries.map_or(String::new(), |n| n.to_string()),
            purpose(&name),
        ]);
    }
    rows.sort();
    text += "\n## Maps\n";
    text += &table(["map", "key", "value", "places in the object", "what it holds"], rows);
    text += "\nThe controller gives maps other sizes at the start where options ask for them.\n\n## Types\n";
    let mut seen = BTreeSet::new();
    for of in shown {
        layouts.describe(of, &mut seen, &mut text);
    }
    Ok(text)
}

/// Returns what the source says of a map, without links to its types.
fn purpose(map: &str) -> String {
    let line = format!(": &str = \"{map}\";");
    let before = NAMES.lines().take_while(|one| !one.ends_with(&line)).collect::<Vec<_>>();
    let comment = before.iter().rev().map_while(|one| one.trim().strip_prefix("/// "));
    let mut words = comment.collect::<Vec<_>>();
    words.reverse();
    words.join(" ").replace("super::", "").replace("crate::address::", "").replace(['[', ']'], "")
}

/// Returns the name of a generic type without its parameters, which BTF has as `Key_3C_…_3E_`.
fn short(name: &str) -> &str {
    name.split("_3C_").next().unwrap_or(name)
}

/// The types of an object, by their numbers.
struct Layouts(Vec<Type>);

impl Layouts {
    /// Returns the maps that the object declares, each with the number of its type.
    fn maps(&self) -> Result<Vec<(String, usize)>> {
        let section = self.0.iter().find_map(|one| match one {
            Type::Section { name, variables } if name == ".maps" => Some(variables),
            _ => None,
        });
        let variables = section.context("the object declares no maps with types")?;
        let map = |number: &usize| match &self.0[*number] {
            Type::Variable { name, of } => Some((name.to_lowercase(), *of)),
            _ => None,
        };
        Ok(variables.iter().filter_map(map).collect())
    }

    /// Returns the type itself, without its other names and qualifications.
    fn resolved(&self, of: usize) -> usize {
        match self.0[of] {
            Type::Other(inner) => self.resolved(inner),
            _ => of,
        }
    }

    /// Returns the members of a structure; those of the only one inside, where Rust has wrapped it.
    fn members(&self, of: usize) -> &[Member] {
        match &self.0[self.resolved(of)] {
            Type::Struct { members, .. } => members,
            _ => &[],
        }
    }

    /// Returns the type to which the member of this name points.
    fn pointee(&self, of: usize, member: &str) -> Option<usize> {
        let members = self.members(of);
        if let Some(found) = members.iter().find(|one| one.name == member) {
            return match self.0[self.resolved(found.of)] {
                Type::Pointer(to) => Some(self.resolved(to)).filter(|to| *to != 0),
                _ => None,
            };
        }
        members.iter().find_map(|one| self.pointee(one.of, member))
    }

    fn count(&self, of: usize) -> Option<u32> {
        match self.0[of] {
            Type::Array { count, .. } => Some(count),
            _ => None,
        }
    }

    /// Returns a type's name, as a link where it has a section.
    fn named(&self, of: usize) -> String {
        let of = self.resolved(of);
        match &self.0[of] {
            Type::Int { size, is_signed, .. } => code(&format!("{}{}", if *is_signed { "i" } else { "u" }, size * 8)),
            Type::Array { of, count } => format!("{count} × {}", self.named(*of)),
            Type::Struct { name, .. } => format!("[{}](#{})", short(name), short(name).to_lowercase()),
            _ => "?".into(),
        }
    }

    /// Appends the sections of a type and of those in it, each once.
    fn describe(&self, of: usize, seen: &mut BTreeSet<usize>, text: &mut String) {
        let of = self.resolved(of);
        match &self.0[of] {
            Type::Array { of, .. } => self.describe(*of, seen, text),
            Type::Struct { name, members } if seen.insert(of) => {
                *text += &format!("\n### {}\n", short(name));
                let row = |one: &Member| [one.offset.to_string(), code(&one.name), self.named(one.of)];
                *text += &table(["offset", "field", "type"], members.iter().map(row));
                members.iter().for_each(|one| self.describe(one.of, seen, text));
            }
            _ => {}
        }
    }
}
