//! The targets that an answer is about: those that pass its filters, in an order, a page of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use utoipa::IntoParams;

use super::recent_delays::Direction;
use super::registry::TargetRegistry;
use super::target_state::Watched;
use crate::http::problem::ApiError;
use crate::sla::ServiceState;

/// Octets that are searched for at most.
const MAX_SEARCH: usize = 128;
/// The percentile that round trips are sorted by.
const SLOW: f64 = 0.95;

/// Parameters of the answers that have a part for each target.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TargetQuery {
    /// Only those of this name.
    #[param(nullable = false)]
    target: Option<String>,
    /// Only those whose name, or the value of one of whose labels, contains this.
    #[param(nullable = false, max_length = 128)]
    search: Option<String>,
    /// Only those in this state.
    #[param(nullable = false, inline)]
    state: Option<ServiceState>,
    /// The order, that of file and sources where none is given.
    #[param(nullable = false, inline)]
    sort: Option<TargetSort>,
    /// Targets in the answer at most; all where none is given.
    #[param(nullable = false)]
    limit: Option<usize>,
    /// So many targets of the order are left out.
    #[param(nullable = false)]
    offset: Option<usize>,
}

/// An order of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum TargetSort {
    /// That of file and sources.
    File,
    /// By name.
    Name,
    /// The worst state first.
    State,
    /// Most loss of this period first.
    Loss,
    /// The slowest round trips of the last minutes first.
    RoundTrip,
}

/// A page of targets.
pub(crate) struct TargetListing {
    /// Those of the page.
    pub(crate) targets: Vec<Arc<Watched>>,
    /// Targets that pass the filters, on all pages.
    pub(crate) total: usize,
    /// Targets by state that pass all filters but that of the state.
    pub(crate) states: BTreeMap<ServiceState, usize>,
}

impl TargetQuery {
    /// Reads the parameters of a request.
    pub(crate) fn read(query: Result<Query<Self>, QueryRejection>) -> Result<Self, ApiError> {
        let Query(query) = query.map_err(|rejection| {
            ApiError::malformed(rejection.body_text(), "parameters are target, search, state, sort, limit and offset")
        })?;
        if query.search.as_ref().is_some_and(|text| text.len() > MAX_SEARCH) {
            return Err(ApiError::field("search", "is too long", format!("give {MAX_SEARCH} octets at most")));
        }
        Ok(query)
    }

    /// Returns the page of these targets.
    pub(crate) fn list(&self, registry: &TargetRegistry, now_ns: u64) -> TargetListing {
        let all = registry.watched();
        let matching = all.iter().filter(|watched| self.matches(watched));
        let rated = matching.map(|watched| (watched, watched.service_state(now_ns)));
        let mut found: Vec<(&Arc<Watched>, ServiceState)> = rated.collect();
        let mut states = BTreeMap::new();
        found.iter().for_each(|(_, state)| *states.entry(*state).or_default() += 1);
        found.retain(|(_, state)| self.state.is_none_or(|wanted| wanted == *state));
        match self.sort.unwrap_or(TargetSort::File) {
            TargetSort::File => {}
            TargetSort::Name => {
                found.sort_by(|(one, _), (other, _)| one.target.identity().cmp(&other.target.identity()))
            }
            TargetSort::State => found.sort_by_key(|(_, state)| *state),
            // Floats of a loss are neither negative nor NaN: their bits have their order. Unknown ones come last.
            TargetSort::Loss => {
                found.sort_by_cached_key(|(one, _)| Reverse(one.current_loss(now_ns).map(f64::to_bits)))
            }
            TargetSort::RoundTrip => {
                found.sort_by_cached_key(|(one, _)| Reverse(one.recent_quantile(Direction::RoundTrip, SLOW, now_ns)))
            }
        }
        let total = found.len();
        let page = found.into_iter().skip(self.offset.unwrap_or(0)).take(self.limit.unwrap_or(usize::MAX));
        TargetListing { targets: page.map(|(watched, _)| watched.clone()).collect(), total, states }
    }

    fn matches(&self, watched: &Watched) -> bool {
        let (name, labels) = watched.target.identity();
        self.target.as_ref().is_none_or(|wanted| wanted == name)
            && self.search.as_ref().is_none_or(|text| {
                name.contains(text.as_str()) || labels.values().any(|value| value.contains(text.as_str()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::ProbeConfig;
    use crate::reflector::keys::KeyLoader;
    use crate::sender::session::record::SessionCounters;

    fn registry() -> TargetRegistry {
        let file = "[[target]]\naddress = \"192.0.2.2\"\nname = \"b\"\nlabels = { site = \"north\" }\n\
                    [[target]]\naddress = \"192.0.2.1\"\nname = \"a\"\n[[target]]\naddress = \"192.0.2.3\"\nname = \"c\"\n";
        let config = ProbeConfig::of(&file.into(), &KeyLoader::default(), Default::default()).ok().unwrap();
        let registry = TargetRegistry::default();
        let watched = |(id, target)| Arc::new(Watched::new(id, target, 1, &[0.1], Arc::default(), 0));
        registry.set_watched((0..).zip(config.targets).map(watched).collect());
        registry
    }

    fn names(registry: &TargetRegistry, query: &TargetQuery) -> Vec<String> {
        query.list(registry, 0).targets.iter().map(|watched| watched.target.name.clone()).collect()
    }

    #[test]
    fn targets_are_searched_sorted_and_cut_into_pages() {
        let (registry, query) = (registry(), TargetQuery::default());
        assert_eq!(names(&registry, &query), ["b", "a", "c"]);
        let sorted = |sort| TargetQuery { sort: Some(sort), ..query.clone() };
        assert_eq!(names(&registry, &sorted(TargetSort::Name)), ["a", "b", "c"]);
        assert_eq!(names(&registry, &TargetQuery { search: Some("nor".into()), ..query.clone() }), ["b"]);
        assert_eq!(names(&registry, &TargetQuery { target: Some("c".into()), ..query.clone() }), ["c"]);
        let page = TargetQuery { limit: Some(1), offset: Some(1), ..sorted(TargetSort::Name) };
        assert_eq!((names(&registry, &page), page.list(&registry, 0).total), (vec!["b".to_owned()], 3));
        // One has loss, and one has none; of the third nobody knows, so it comes last.
        for (place, lost) in [(2, true), (1, false)] {
            let watched = &registry.watched()[place];
            watched.begin();
            watched.count(SessionCounters::default(), 0);
            let mut state = watched.state();
            if lost { state.sla.lost() } else { state.sla.received(0, None) }
        }
        assert_eq!(names(&registry, &sorted(TargetSort::Loss)), ["c", "a", "b"]);
        assert_eq!(names(&registry, &sorted(TargetSort::State)), ["c", "b", "a"]);
        let bad = TargetQuery { state: Some(ServiceState::Bad), ..query };
        let listing = bad.list(&registry, 0);
        assert_eq!((listing.total, listing.states[&ServiceState::Unmeasured]), (1, 1), "states are those of all");
    }
}
