//! Metrics: name, type, labels and help, read from the text that Prometheus would get.

use std::collections::BTreeSet;

use crate::markdown::{code, head, plain, table};

const ABOUT: &str = "\
A reflector's metrics are at `/metrics` of its API (port 8000), a probe's at `/metrics` of its own (port 9862). Times are \
in seconds. With several reflectors in one process, each series of a reflector has the label `reflector` too. Series of a \
probe's targets also have the labels that the target has in the probe's file. Histograms have the label `le` besides.";

/// One family of metrics.
struct Family {
    name: String,
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

pub(crate) fn page() -> anyhow::Result<String> {
    let reflector = teaparty_user::metrics::sample::text()?;
    let probe = String::from_utf8(teaparty_user::probe::metrics::sample::text()?)?;
    let mut text = head("Metrics", "the metrics of a made-up reflector and probe", ABOUT);
    for (title, metrics) in [("Of a reflector", reflector), ("Of a probe", probe)] {
        text += &format!("\n## {title}\n");
        text += &table(["metric", "type", "labels", "meaning"], families(&metrics)?.into_iter().map(row));
    }
    Ok(text)
}

fn row(family: Family) -> [String; 4] {
    let labels: Vec<String> = family.labels.iter().map(|label| code(label)).collect();
    [code(&family.name), family.kind, labels.join(", "), plain(&family.help)]
}

/// Returns the families of a text in Prometheus's format. Fails if one has no series: nobody could see its labels.
fn families(text: &str) -> anyhow::Result<Vec<Family>> {
    let mut families: Vec<Family> = Vec::new();
    let mut is_seen = true;
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            anyhow::ensure!(is_seen, "no series of {}", families.last().map_or("", |family| &family.name));
            let (name, help) = (name.to_owned(), help.to_owned());
            families.push(Family { name, help, kind: String::new(), labels: BTreeSet::new() });
            is_seen = false;
        } else if let (Some(kind), Some(family)) = (line.strip_prefix("# TYPE "), families.last_mut()) {
            family.kind = kind.rsplit(' ').next().unwrap_or_default().to_owned();
        } else if let (false, Some(family)) = (line.starts_with('#') || line.is_empty(), families.last_mut()) {
            is_seen = true;
            let labels =
                line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let names = labels.split("=\"").filter_map(|part| part.rsplit(['"', ',']).next());
            let names = names.filter(|name| !name.is_empty() && *name != "le").map(str::to_owned);
            family.labels.extend(names);
        }
    }
    anyhow::ensure!(is_seen, "no series of the last family");
    Ok(families)
}
