//! Prometheus's rules where Kubernetes wants them: kustomize and helm read no file outside of their own folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::paths;

/// The files of rules in `dist/prometheus`, without their ending; also the names of the resources.
const RULES: [&str; 2] = ["teaparty", "teaparty-probe"];
/// The resources for kustomize.
const RESOURCES: &str = "deploy/kubernetes/overlays/monitoring/rules.yaml";
/// The folder of the chart's copies.
const COPIES: &str = "deploy/helm/teaparty/files";

/// Returns the files with rules below `deploy`, by path.
pub(super) fn files() -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    let mut resources = Vec::new();
    for name in RULES {
        let source = format!("dist/prometheus/{name}.rules.yml");
        let rules =
            std::fs::read_to_string(paths::root().join(&source)).with_context(|| format!("cannot read {source}"))?;
        resources.push(resource(name, &rules));
        files.insert(Path::new(COPIES).join(format!("{name}.rules.yml")), rules);
    }
    let head = "# Made by `cargo xtask codegen` from the rules in dist/prometheus. Changes belong there.\n";
    files.insert(RESOURCES.into(), format!("{head}{}", resources.join("---\n")));
    Ok(files)
}

/// Returns a resource of Prometheus Operator with these rules.
fn resource(name: &str, rules: &str) -> String {
    let indented = rules.lines().filter(|line| !line.starts_with('#')).map(|line| format!("  {line}\n"));
    let head =
        format!("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {name}\nspec:\n");
    head + &indented.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_below_the_resource_without_their_comment() {
        let text = resource("x", "# Alerts.\ngroups:\n  - name: x\n");
        assert!(text.ends_with("  name: x\nspec:\n  groups:\n    - name: x\n"), "{text}");
    }
}
