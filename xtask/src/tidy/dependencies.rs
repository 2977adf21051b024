//! Rules for dependencies: their licences, crates that may not come in, where crates come from, and the oldest Rust.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use xtask::exec;

/// The list of rules, at the root of the repository.
pub(super) const LIST: &str = "deny.toml";

/// Dependencies of other platforms are neither fetched nor checked.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The rules: a part of those of cargo-deny, in its format.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    #[expect(dead_code, reason = "it may say only what is checked anyway")]
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// Licences that one crate may have besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "each may say only what is checked anyway")]
struct Sources {
    unknown_registry: Denied,
    unknown_git: Denied,
}

/// The only thing that may be said of an unknown source.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Denied {
    Deny,
}

/// What cargo says about the workspace and all that it depends on.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// The registry or repository that it comes from; `None` for a folder.
    source: Option<String>,
    /// The oldest Rust that it promises to compile with.
    rust_version: Option<String>,
    manifest_path: PathBuf,
}

/// Asks cargo for all dependencies, as [`problems`] wants them.
///
/// Fails if `Cargo.lock` is not up to date.
pub(super) fn metadata() -> Result<String> {
    let mut command = exec::cargo();
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", PLATFORM]);
    exec::capture(&mut command).context("cannot list the dependencies")
}

/// Returns what is wrong with the dependencies in `metadata`, given the rules in `list`.
pub(super) fn problems(list: &str, metadata: &str) -> Vec<String> {
    let rules: Rules = match toml::from_str(list) {
        Ok(rules) => rules,
        Err(error) => return vec![format!("{LIST}: {error}")],
    };
    let metadata: Metadata = match serde_json::from_str(metadata) {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("`cargo metadata` is not as expected: {error}")],
    };
    let (ours, others): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| package.manifest_path.starts_with(&metadata.workspace_root));
    // The oldest that a crate of ours promises, so that all its dependencies have to keep that promise.
    let promised = ours.iter().filter_map(|package| release(package.rust_version.as_deref()?)).min();
    let registry = others.iter().find_map(|package| package.source.as_deref().filter(|source| is_registry(source)));
    let mut problems = Vec::new();
    for package in &others {
        let all = [
            license(package, &rules.licenses),
            ban(package, &rules.bans),
            source(package, registry),
            rust(package, promised),
        ];
        let of_package = |problem| format!("{LIST}: {} {}: {problem}", package.name, package.version);
        problems.extend(all.into_iter().flatten().map(of_package));
    }
    let is_idle =
        |exception: &&Exception| !others.iter().any(|package| needs(package, exception, &rules.licenses.allow));
    let idle = rules.licenses.exceptions.iter().filter(is_idle);
    problems.extend(idle.map(|exception| format!("{LIST}: the exception for {} is not needed", exception.name)));
    problems
}

fn license(package: &Package, rules: &Licenses) -> Option<String> {
    let Some(license) = &package.license else { return Some("names no licence".to_owned()) };
    let exceptions = rules.exceptions.iter().filter(|exception| exception.name == package.name);
    let more: Vec<&BTreeSet<String>> = exceptions.map(|exception| &exception.allow).collect();
    let is_allowed = |id: &str| rules.allow.contains(id) || more.iter().any(|allow| allow.contains(id));
    match is_satisfied(license, &is_allowed) {
        Some(true) => None,
        Some(false) => Some(format!("its licence {license:?} is not allowed")),
        None => Some(format!("its licence {license:?} is no SPDX expression")),
    }
}

/// Returns true if this is the package of an exception that it cannot do without.
fn needs(package: &Package, exception: &Exception, allow: &BTreeSet<String>) -> bool {
    let is_satisfied = |license: &String| is_satisfied(license, &|id| allow.contains(id)) == Some(true);
    package.name == exception.name && !package.license.as_ref().is_some_and(is_satisfied)
}

fn ban(package: &Package, rules: &Bans) -> Option<String> {
    let ban = rules.deny.iter().find(|ban| ban.name == package.name)?;
    Some(format!("may not be depended on: {}", ban.reason))
}

/// All crates come from the registry that the first one comes from.
fn source(package: &Package, registry: Option<&str>) -> Option<String> {
    let source = package.source.as_deref().unwrap_or("a folder outside the workspace");
    (Some(source) != registry).then(|| format!("comes from {source}"))
}

fn is_registry(source: &str) -> bool {
    source.starts_with("registry+") || source.starts_with("sparse+")
}

fn rust(package: &Package, promised: Option<[u32; 3]>) -> Option<String> {
    let needed = package.rust_version.as_deref()?;
    let is_kept = release(needed)? <= promised?;
    (!is_kept).then(|| format!("needs Rust {needed}, newer than the workspace's `rust-version`"))
}

/// Returns the numbers of a release of Rust: `1.88` or `1.88.0`.
fn release(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

/// Returns true if the SPDX expression can be satisfied by licences that `is_allowed`; `None` if it is no expression.
fn is_satisfied(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    // `/` is how crates spelled OR before SPDX.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let result = either(&mut words, is_allowed)?;
    words.is_empty().then_some(result)
}

/// Reads terms joined by OR off the end of `words`, which are in reverse order.
fn either(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = both(words, is_allowed)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        result |= both(words, is_allowed)?;
    }
    Some(result)
}

/// The same for terms joined by AND, which binds closer.
fn both(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = term(words, is_allowed)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        result &= term(words, is_allowed)?;
    }
    Some(result)
}

/// Reads a group in parentheses, or a licence with its exception.
fn term(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    match words.pop()? {
        "(" => {
            let result = either(words, is_allowed)?;
            words.pop_if(|word| *word == ")").map(|_| result)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        id if words.pop_if(|word| *word == "WITH").is_some() => {
            Some(is_allowed(&format!("{id} WITH {}", words.pop()?)))
        }
        id => Some(is_allowed(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "ISC"]
        exceptions = [{ crate = "flame", allow = ["CDDL-1.0"] }]
        [bans]
        deny = [{ crate = "openssl-sys", reason = "TLS is rustls" }]
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
    "#;

    /// A dependency, as cargo says it.
    fn package(name: &str, license: &str, source: &str, rust_version: &str) -> String {
        format!(
            r#"{{"name": "{name}", "version": "1.0.0", "license": {license}, "source": {source},
                "rust_version": {rust_version}, "manifest_path": "/registry/{name}/Cargo.toml"}}"#
        )
    }

    fn found(rules: &str, others: &[String]) -> Vec<String> {
        let ours = r#"{"name": "ours", "version": "0.1.0", "license": "MIT OR GPL-2.0-only", "source": null,
            "rust_version": "1.88", "manifest_path": "/work/ours/Cargo.toml"}"#;
        let usual = package("flame", r#""CDDL-1.0""#, REGISTRY, "null");
        let packages = [ours.to_owned(), usual].into_iter().chain(others.iter().cloned()).collect::<Vec<_>>().join(",");
        problems(rules, &format!(r#"{{"packages": [{packages}], "workspace_root": "/work", "version": 1}}"#))
    }

    const REGISTRY: &str = r#""registry+https://registry.example/index""#;

    #[test]
    fn what_is_allowed_is_not_reported() {
        let others = [
            package("a", r#""MIT/Apache-2.0""#, REGISTRY, r#""1.88.0""#),
            package("b", r#""ISC AND (MIT OR Zlib)""#, REGISTRY, r#""1.56""#),
        ];
        assert_eq!(found(RULES, &others), [""; 0]);
    }

    #[test]
    fn each_rule_is_kept() {
        let mit = r#""MIT""#;
        for (package, expected) in [
            (
                package("a", r#""GPL-3.0-only""#, REGISTRY, "null"),
                "a 1.0.0: its licence \"GPL-3.0-only\" is not allowed",
            ),
            (package("a", r#""CDDL-1.0""#, REGISTRY, "null"), "a 1.0.0: its licence \"CDDL-1.0\" is not allowed"),
            (package("a", r#""MIT OR""#, REGISTRY, "null"), "a 1.0.0: its licence \"MIT OR\" is no SPDX expression"),
            (package("a", "null", REGISTRY, "null"), "a 1.0.0: names no licence"),
            (package("openssl-sys", mit, REGISTRY, "null"), "openssl-sys 1.0.0: may not be depended on: TLS is rustls"),
            (
                package("a", mit, r#""git+https://git.example/a#1""#, "null"),
                "a 1.0.0: comes from git+https://git.example/a#1",
            ),
            (
                package("a", mit, r#""registry+https://b.example""#, "null"),
                "a 1.0.0: comes from registry+https://b.example",
            ),
            (package("a", mit, "null", "null"), "a 1.0.0: comes from a folder outside the workspace"),
            (
                package("a", mit, REGISTRY, r#""1.90""#),
                "a 1.0.0: needs Rust 1.90, newer than the workspace's `rust-version`",
            ),
        ] {
            assert_eq!(found(RULES, &[package]), [format!("deny.toml: {expected}")]);
        }
    }

    #[test]
    fn exceptions_have_to_be_needed_and_rules_to_be_known() {
        let idle = RULES.replace("crate = \"flame\", allow = [\"CDDL-1.0\"]", "crate = \"gone\", allow = [\"ISC\"]");
        let problems = found(&idle, &[]);
        assert_eq!(problems.last().unwrap(), "deny.toml: the exception for gone is not needed");
        assert!(found(&RULES.replace("unknown-git = \"deny\"", "unknown-git = \"warn\""), &[])[0].contains("warn"));
        assert!(found(&RULES.replace("[bans]", "[bans]\nwildcards = \"deny\""), &[])[0].contains("wildcards"));
    }

    #[test]
    fn expressions_are_read_as_spdx_has_them() {
        let allowed = |expression: &str| is_satisfied(expression, &|id| ["A", "B", "C WITH X"].contains(&id));
        for expression in
            ["A", "A OR D", "D OR A", "A AND B", "D AND D OR A", "(D OR A) AND B", "C WITH X", "D/A", "((A))"]
        {
            assert_eq!(allowed(expression), Some(true), "{expression}");
        }
        for expression in ["D", "A AND D", "A AND (D OR D)", "C", "C WITH Y", "D/D"] {
            assert_eq!(allowed(expression), Some(false), "{expression}");
        }
        for expression in ["", "OR", "A B", "(A", "A)", "A AND", "A WITH"] {
            assert_eq!(allowed(expression), None, "{expression}");
        }
    }
}
