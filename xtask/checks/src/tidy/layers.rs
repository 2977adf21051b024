//! The layers of the crates: which modules may import which, and that none import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

/// The list of layers, at the root of the repository.
pub(super) const LIST: &str = "layers.toml";

/// The layers of one crate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    /// Modules at the top of the crate, from the lowest floor up. A module imports only from floors below its own.
    floors: Vec<Vec<String>>,
    /// Folders whose files still import each other in circles. A folder without one may not stand here.
    #[serde(default)]
    knots: BTreeSet<String>,
}

/// A line of the drawing of the layers, as ARCHITECTURE.md must have it.
pub(super) struct Drawn(pub(super) String);

/// Returns the drawing of the layers in `list`, from the lowest floor of each crate up; nothing of a list that is wrong.
pub(super) fn drawing(list: &str) -> Vec<Drawn> {
    let crates: BTreeMap<String, Layers> = toml::from_str(list).unwrap_or_default();
    let floors = crates.iter().flat_map(|(name, layers)| {
        layers.floors.iter().enumerate().map(move |(at, floor)| (if at == 0 { name.as_str() } else { "" }, floor))
    });
    floors.map(|(name, floor)| Drawn(format!("{name:<17} {}", floor.join(", ")).trim().to_owned())).collect()
}

/// A module's place: names from the crate's root down.
type ModulePath = Vec<String>;

/// Returns what is wrong with the crates of `list`, given all source files (path from the repository's root, text).
pub(super) fn problems<'a>(list: &str, files: impl Iterator<Item = (&'a Path, &'a str)>) -> Vec<String> {
    let crates: BTreeMap<String, Layers> = match toml::from_str(list) {
        Ok(crates) => crates,
        Err(error) => return vec![format!("{LIST}: {error}")],
    };
    let mut imports: BTreeMap<&str, Vec<(ModulePath, BTreeSet<ModulePath>)>> = BTreeMap::new();
    for (file, text) in files {
        let Some((name, module)) = place(file) else { continue };
        if let Some((name, _)) = crates.get_key_value(name) {
            let found = references(text, &module);
            imports.entry(name).or_default().push((module, found));
        }
    }
    let mut problems = Vec::new();
    for (name, layers) in &crates {
        let imports = imports.remove(name.as_str()).unwrap_or_default();
        problems.extend(upward(layers, &imports).into_iter().map(|problem| format!("{LIST}: {name}: {problem}")));
        problems.extend(circles(layers, &imports).into_iter().map(|problem| format!("{LIST}: {name}: {problem}")));
    }
    problems
}

/// Returns the crate and the module of a source file; `None` for tests, binaries beside the crate, and other files.
fn place(file: &Path) -> Option<(&str, ModulePath)> {
    let (name, inside) = file.to_str()?.split_once("/src/")?;
    let mut module: ModulePath = inside.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if module.first().is_some_and(|first| first == "bin") || module.iter().any(|part| part == "tests") {
        return None;
    }
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    Some((name, module))
}

/// Returns every path that begins with `crate`, `self` or `super` in the source of `module`, as one from the crate's root.
fn references(text: &str, module: &[String]) -> BTreeSet<ModulePath> {
    // Tests are at the end, and may import what they like.
    let text = text.find("#[cfg(test)]\nmod ").map_or(text, |end| &text[..end]);
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_whole =
                !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':');
            if is_whole {
                let base = if start == "crate::" { Vec::new() } else { module.to_vec() };
                let rest = code[at..].strip_prefix("crate::").unwrap_or(&code[at..]);
                expand(rest, base, &mut found);
            }
        }
    }
    found
}

/// Adds the paths that `text` begins with to `found`, a group in braces with each of its members; returns what follows.
fn expand<'a>(mut text: &'a str, mut base: ModulePath, found: &mut BTreeSet<ModulePath>) -> &'a str {
    loop {
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = expand(group.trim_start(), base.clone(), found).trim_start();
                match group.strip_prefix(',') {
                    Some(more) => group = more,
                    None => return group.strip_prefix('}').unwrap_or(group),
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        match word {
            "" | "self" => {}
            "super" => drop(base.pop()),
            word => base.push(word.to_owned()),
        }
        match rest.strip_prefix("::") {
            Some(more) => text = more,
            None => {
                // `use a as b`.
                let rest = rest
                    .strip_prefix(" as ")
                    .map_or(rest, |alias| alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
                found.insert(base);
                return rest;
            }
        }
    }
}

/// Returns imports that run up, and modules that are on no floor or do not exist.
fn upward(layers: &Layers, imports: &[(ModulePath, BTreeSet<ModulePath>)]) -> Vec<String> {
    let floor = |name: &str| layers.floors.iter().position(|floor| floor.iter().any(|one| one == name));
    let mut problems = BTreeSet::new();
    for (module, found) in imports {
        let Some(own) = module.first() else { continue };
        let Some(at) = floor(own) else {
            problems.insert(format!("module `{own}` is on no floor"));
            continue;
        };
        for other in found.iter().filter_map(|path| path.first()).filter(|other| *other != own) {
            if floor(other).is_some_and(|floor| floor >= at) {
                problems.insert(format!("`{}` imports `{other}`, which is not below it", module.join("::")));
            }
        }
    }
    for name in layers.floors.iter().flatten() {
        if !imports.iter().any(|(module, _)| module.first() == Some(name)) {
            problems.insert(format!("there is no module `{name}`"));
        }
    }
    problems.into_iter().collect()
}

/// Returns folders whose files import each other in a circle and are no known knots, and knots that are untied.
fn circles(layers: &Layers, imports: &[(ModulePath, BTreeSet<ModulePath>)]) -> Vec<String> {
    let mut knots = layers.knots.clone();
    let mut problems = Vec::new();
    let folders: BTreeSet<&[String]> =
        imports.iter().flat_map(|(module, _)| (0..module.len()).map(|depth| &module[..depth])).collect();
    for folder in folders {
        let name = folder.join("/");
        match circle(folder, imports) {
            Some(circle) if !knots.remove(&name) => {
                problems.push(format!("files of `{name}` import each other in a circle: {}", circle.join(", ")));
            }
            _ => {}
        }
    }
    problems.extend(knots.into_iter().map(|knot| format!("`{knot}` is no knot any more: take it off the list")));
    problems
}

/// Returns members of `folder` each of which imports another of them, if there are any.
fn circle(folder: &[String], imports: &[(ModulePath, BTreeSet<ModulePath>)]) -> Option<Vec<String>> {
    let member = |path: &[String]| path.strip_prefix(folder).and_then(|rest| rest.first()).cloned();
    let members: BTreeSet<String> = imports.iter().filter_map(|(module, _)| member(module)).collect();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, found) in imports {
        let Some(own) = member(module) else { continue };
        let others =
            found.iter().filter_map(|path| member(path)).filter(|other| *other != own && members.contains(other));
        arrows.entry(own.clone()).or_default().extend(others);
    }
    // Members that import nothing that is left go, then those that nothing left imports; circles stay.
    loop {
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        let imported: BTreeSet<String> = arrows.values().flatten().cloned().collect();
        arrows.retain(|own, others| {
            others.retain(|other| left.contains(other));
            !others.is_empty() && imported.contains(own)
        });
        if arrows.len() == left.len() {
            return Some(left.into_iter().collect()).filter(|left: &Vec<_>| !left.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str, files: &[(&str, &str)]) -> Vec<String> {
        problems(list, files.iter().map(|(file, text)| (Path::new(*file), *text)))
    }

    const LIST: &str = "[a]\nfloors = [[\"low\"], [\"mid\", \"side\"], [\"top\"]]\n";

    #[test]
    fn imports_that_run_down_are_fine() {
        let files = [
            ("a/src/lib.rs", "pub mod top;"),
            ("a/src/low.rs", "use std::mem;\n#[cfg(test)]\nmod tests { use crate::top; }"),
            ("a/src/mid/mod.rs", "use crate::{low::{A, B as C}};\nuse self::inner::X;"),
            ("a/src/mid/inner.rs", "// crate::top is only named here\nuse super::super::low;"),
            ("a/src/side.rs", ""),
            ("a/src/top.rs", "fn f() { crate::mid::g() }"),
            ("a/src/bin/x.rs", "use crate::top;"),
            ("b/src/low.rs", "use crate::top;"),
        ];
        assert_eq!(found(LIST, &files), [""; 0]);
    }

    #[test]
    fn imports_that_run_up_or_across_are_found() {
        let files = [
            ("a/src/low.rs", "use crate::{mid::x, low::y};"),
            ("a/src/mid.rs", "use crate::side::{self, z};"),
            ("a/src/side.rs", ""),
            ("a/src/other.rs", ""),
        ];
        let expected = [
            "layers.toml: a: `low` imports `mid`, which is not below it",
            "layers.toml: a: `mid` imports `side`, which is not below it",
            "layers.toml: a: module `other` is on no floor",
            "layers.toml: a: there is no module `top`",
        ];
        assert_eq!(found(LIST, &files), expected);
    }

    #[test]
    fn circles_inside_a_folder_are_found_and_known_knots_have_to_be_real() {
        let files = [
            ("a/src/low.rs", ""),
            ("a/src/mid/mod.rs", ""),
            ("a/src/mid/one.rs", "use super::two::X;"),
            ("a/src/mid/two.rs", "use crate::mid::{one, three};"),
            ("a/src/mid/three.rs", "use super::Something;"),
            ("a/src/side.rs", ""),
            ("a/src/top.rs", ""),
        ];
        assert_eq!(found(LIST, &files), ["layers.toml: a: files of `mid` import each other in a circle: one, two"]);
        assert_eq!(found(&format!("{LIST}knots = [\"mid\"]\n"), &files), [""; 0]);
        let untied = found(&format!("{LIST}knots = [\"mid\", \"top\"]\n"), &files);
        assert_eq!(untied, ["layers.toml: a: `top` is no knot any more: take it off the list"]);
        assert!(found("[a]\nfloor = []", &files)[0].contains("floor"));
    }
}
