//! What lies between sites: targets by their labels `from` and `to`, or `site`, as a matrix.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::recent_delays::Direction;
use super::registry::TargetRegistry;
use super::target_state::Watched;
use crate::sla::ServiceState;

/// Sites in each direction at most: more are no matrix that anybody reads.
const MOST: usize = 64;

/// Targets between sites.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SiteMatrix {
    /// Sites that are measured from, in order; null is for this probe, of targets that have only `site`.
    from: Vec<Option<String>>,
    /// Sites that are measured to, in order.
    to: Vec<String>,
    /// The pairs that have targets.
    pairs: Vec<SitePair>,
    /// Targets of further sites.
    left_out: usize,
}

/// The targets between two sites.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SitePair {
    /// The label `from`; null for this probe.
    from: Option<String>,
    /// The label `to` or `site`.
    to: String,
    /// Targets.
    targets: usize,
    /// The worst of their states.
    state: ServiceState,
    /// Lost of all packets of this period; null where none was settled.
    loss: Option<f64>,
    /// The slowest 95th percentile of the round trips of the last minutes, in nanoseconds; null without any.
    round_trip_p95_ns: Option<i64>,
}

type SiteNames = (Option<String>, String);

/// The pair of sites that a target is between; `None` without such labels.
fn pair(watched: &Watched) -> Option<SiteNames> {
    let label = |name: &str| watched.target.labels.get(name).cloned();
    let to = label("to").or_else(|| label("site"))?;
    Some((label("from"), to))
}

/// Returns the matrix of all targets.
pub(crate) fn matrix(registry: &TargetRegistry, now_ns: u64) -> SiteMatrix {
    let all = registry.watched();
    let mut targets: BTreeMap<SiteNames, Vec<&Watched>> = BTreeMap::new();
    for watched in all.iter() {
        if let Some(pair) = pair(watched) {
            targets.entry(pair).or_default().push(watched);
        }
    }
    let from: BTreeSet<_> = targets.keys().map(|(from, _)| from.clone()).collect();
    let to: BTreeSet<_> = targets.keys().map(|(_, to)| to.clone()).collect();
    let from: Vec<_> = from.into_iter().take(MOST).collect();
    let to: Vec<_> = to.into_iter().take(MOST).collect();
    let is_shown = |pair: &SiteNames| from.contains(&pair.0) && to.contains(&pair.1);
    let left_out = targets.iter().filter(|(pair, _)| !is_shown(pair)).map(|(_, targets)| targets.len()).sum();
    targets.retain(|pair, _| is_shown(pair));
    let pairs = targets.into_iter().map(|(pair, targets)| SitePair::new(pair, &targets, now_ns)).collect();
    SiteMatrix { from, to, pairs, left_out }
}

impl SitePair {
    fn new((from, to): SiteNames, targets: &[&Watched], now_ns: u64) -> Self {
        let (mut lost, mut settled) = (0, 0);
        for watched in targets {
            let state = watched.state();
            let report = state.sla.current(&state.agreement, now_ns);
            lost += report.lost;
            settled += report.lost + report.received;
        }
        let slow = targets.iter().filter_map(|one| one.recent_quantile(Direction::RoundTrip, 0.95, now_ns));
        Self {
            from,
            to,
            targets: targets.len(),
            state: targets.iter().map(|one| one.service_state(now_ns)).min().unwrap_or(ServiceState::Unmeasured),
            loss: (settled > 0).then(|| lost as f64 / settled as f64),
            round_trip_p95_ns: slow.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::probe::config::ProbeConfig;
    use crate::reflector::keys::KeyLoader;

    #[test]
    fn targets_are_between_the_sites_of_their_labels_and_very_many_sites_are_left_out() {
        let mut file = String::from(
            "[[target]]\naddress = \"192.0.2.1\"\nlabels = { from = \"a\", to = \"b\" }\n\
             [[target]]\naddress = \"192.0.2.2\"\nlabels = { from = \"a\", to = \"b\" }\n\
             [[target]]\naddress = \"192.0.2.3\"\nlabels = { site = \"b\" }\n\
             [[target]]\naddress = \"192.0.2.4\"\n",
        );
        for n in 0..MOST {
            file += &format!("[[target]]\naddress = \"198.51.100.{n}\"\nlabels = {{ site = \"c{n:02}\" }}\n");
        }
        let config = ProbeConfig::of(&file.as_str().into(), &KeyLoader::default(), Default::default()).ok().unwrap();
        let registry = TargetRegistry::default();
        let watched = |(id, target)| Arc::new(Watched::new(id, target, 1, &[0.1], Arc::default(), 0));
        registry.set_watched((0..).zip(config.targets).map(watched).collect());
        let matrix = matrix(&registry, 0);
        assert_eq!(matrix.from, [None, Some("a".to_owned())]);
        assert_eq!((matrix.to.len(), matrix.left_out), (MOST, 1));
        let pair = matrix.pairs.iter().find(|pair| pair.from.as_deref() == Some("a")).unwrap();
        assert_eq!((pair.to.as_str(), pair.targets, pair.state), ("b", 2, ServiceState::Unmeasured));
        assert_eq!((pair.loss, pair.round_trip_p95_ns), (None, None), "unknown, and no zero");
    }
}
