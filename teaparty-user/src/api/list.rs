//! `/api/v1/sessions`: the list, by pages or as one stream of lines.
//!
//! Sessions are looked at once for all pages: those after the first come from what the first one saw, if that was not
//! long ago and the API has changed nothing since. Where a page ends is said by the id of its last session, so that
//! sessions that come and go between pages move no other session over the edge.

use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use utoipa::IntoParams;

use super::AppState;
use super::dto::{Order, PathId, SessionView, groups, order, sort};
use crate::http::problem::ApiError;
use crate::reflector::handle::{ChangeEvent, ReflectorHandle, SessionStatus};
use crate::sync::locked;

/// Sessions in one answer where the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Sessions in one answer at most.
const MAX_LIMIT: usize = 10_000;
/// Octets that are searched for at most.
const MAX_SEARCH: usize = 128;
/// Time for which a listing serves further pages.
const FRESH: Duration = Duration::from_secs(10);
/// Media type of a line for each session.
const LINES: &str = "application/x-ndjson";
/// Sessions that are written to a stream at a time.
const AT_A_TIME: usize = 256;

/// Parameters of the list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Sessions in the answer at most; 100 where none is given.
    #[param(minimum = 1, maximum = 10000, nullable = false)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(nullable = false)]
    after: Option<String>,
    /// Only those of this sender.
    #[param(value_type = Option<String>, nullable = false)]
    source: Option<IpAddr>,
    /// Only those of this port of the sender.
    #[param(nullable = false)]
    source_port: Option<u16>,
    /// Only those of this address of the reflector.
    #[param(value_type = Option<String>, nullable = false)]
    destination: Option<IpAddr>,
    /// Only those of this SSID.
    #[param(nullable = false)]
    ssid: Option<u16>,
    /// Only those that come by this interface.
    #[param(nullable = false)]
    interface: Option<String>,
    /// Only those that are configured, or not.
    #[param(nullable = false)]
    provisioned: Option<bool>,
    /// Only those that are authenticated, or not.
    #[param(nullable = false)]
    authenticated: Option<bool>,
    /// Only those whose id contains this: a part of an address, a port, an SSID.
    #[param(nullable = false, max_length = 128)]
    search: Option<String>,
    /// Those that have received most packets come first; there is one page then, of those behind `after`.
    #[param(nullable = false)]
    busiest: Option<bool>,
    /// The order, `id` where none is given; in another one, `offset` leads to further pages, and `next` is null.
    #[param(nullable = false, inline)]
    sort: Option<SessionSort>,
    /// The last ones of the order come first.
    #[param(nullable = false)]
    descending: Option<bool>,
    /// So many sessions of the order are left out.
    #[param(nullable = false)]
    offset: Option<usize>,
}

/// An order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum SessionSort {
    /// By their ids.
    Id,
    /// By packets received.
    Received,
    /// By replies sent.
    Replies,
    /// By the last packet.
    LastReceived,
}

impl SessionSort {
    /// Returns what sessions are compared by; 0 for all where that is their id.
    fn key(self, group: &[SessionStatus]) -> u64 {
        match self {
            Self::Id => 0,
            Self::Received => group.iter().map(|one| one.received).sum(),
            Self::Replies => group.iter().map(|one| one.replies).sum(),
            Self::LastReceived => group.iter().map(|one| one.last_received_ns).max().unwrap_or(0),
        }
    }
}

/// One page of the list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Page)]
struct SessionPage {
    sessions: Vec<SessionView>,
    /// Sessions that pass the filters, on all pages.
    total: usize,
    /// The value of `after` for the next page; null on the last.
    next: Option<String>,
}

/// Lists sessions: those that packets made, and those that were configured, a page at a time.
///
/// With `Accept: application/x-ndjson` all of them, or `limit` of them, come as one stream with a JSON object on each line.
/// Pages after the first, and streams, may show what was so ten seconds ago.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", operation_id = "list_sessions",
    params(ListQuery),
    responses((status = 200, description = "A page of sessions in the order of their ids", body = SessionPage))
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| {
        ApiError::malformed(
            rejection.body_text(),
            "parameters are limit, after, source, source_port, destination, ssid, interface, provisioned, authenticated, search, \
             busiest, sort, descending and offset",
        )
    })?;
    if query.limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
        return Err(ApiError::field("limit", "is out of range", format!("give a number from 1 to {MAX_LIMIT}")));
    }
    if query.search.as_ref().is_some_and(|text| text.len() > MAX_SEARCH) {
        return Err(ApiError::field("search", "is too long", format!("give {MAX_SEARCH} octets at most")));
    }
    let after = query.after.as_deref().map(|after| after.parse::<PathId>().map(|id| order(&id.0)));
    let after = after.transpose().map_err(|()| {
        ApiError::field("after", "is the id of no session", "give `next` of the page before, as it is")
    })?;
    if wants_lines(&headers) {
        return stream(app, query, after).await;
    }
    let snapshots = app.snapshots.clone();
    let page = app.query(move |reflector| {
        let is_further = after.is_some() || query.offset.is_some_and(|offset| offset > 0);
        let all = if is_further { snapshots.recent(reflector) } else { snapshots.fresh(reflector) };
        page(reflector, &all, &query, after)
    });
    Ok(Json(page.await?).into_response())
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(LINES)))
}

fn page(reflector: &ReflectorHandle, all: &[SessionStatus], query: &ListQuery, after: Option<Order>) -> SessionPage {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let found = found(all, query);
    let total = found.len();
    let behind = found.into_iter().filter(|at| is_behind(&all[at.start], after));
    let mut behind = behind.skip(query.offset.unwrap_or(0));
    let sessions: Vec<_> = behind.by_ref().take(limit).filter_map(|at| view(reflector, &all[at])).collect();
    let has_more = behind.next().is_some() && query.is_by_id();
    let next = sessions.last().filter(|_| has_more).map(|last| last.id.clone());
    SessionPage { sessions, total, next }
}

/// Returns the indices in `all` of the sessions that pass the filters, in the order of the listing.
fn found(all: &[SessionStatus], query: &ListQuery) -> Vec<Range<usize>> {
    let mut end = 0;
    let groups = groups(all).map(|group| {
        end += group.len();
        end - group.len()..end
    });
    let mut found: Vec<Range<usize>> = groups.filter(|at| query.matches(&all[at.clone()])).collect();
    let (sort, is_descending) = query.order();
    match (sort, is_descending) {
        (SessionSort::Id, false) => {}
        (SessionSort::Id, true) => found.reverse(),
        (sort, false) => found.sort_by_cached_key(|at| sort.key(&all[at.clone()])),
        (sort, true) => found.sort_by_cached_key(|at| std::cmp::Reverse(sort.key(&all[at.clone()]))),
    }
    found
}

fn is_behind(session: &SessionStatus, after: Option<Order>) -> bool {
    after.is_none_or(|after| order(&session.id) > after)
}

fn view(reflector: &ReflectorHandle, group: &[SessionStatus]) -> Option<SessionView> {
    let provisioned = reflector.provisioned(group.first()?.id).ok();
    SessionView::new(group, provisioned.as_ref())
}

/// All sessions as lines. What is under way at a time is bounded as streams of events are.
async fn stream(app: AppState, query: ListQuery, after: Option<Order>) -> Result<Response, ApiError> {
    let place = app.streams.clone().try_acquire_owned().map_err(|_| ApiError::too_many_streams())?;
    let snapshots = app.snapshots.clone();
    let lines = app.query(move |reflector| {
        let all = snapshots.recent(reflector);
        let found = found(&all, &query).into_iter().filter(|at| is_behind(&all[at.start], after));
        let found = found.skip(query.offset.unwrap_or(0));
        let left: Vec<_> = found.take(query.limit.unwrap_or(usize::MAX)).collect();
        SessionLines { reflector: reflector.clone(), left: left.into_iter(), all, _place: place }
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines.await?.chunks())).into_response())
}

/// Sessions that are still to be sent.
struct SessionLines {
    reflector: ReflectorHandle,
    all: Arc<Vec<SessionStatus>>,
    left: std::vec::IntoIter<Range<usize>>,
    _place: OwnedSemaphorePermit,
}

impl SessionLines {
    /// As the client takes them: nothing is written ahead of it.
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(self, |mut lines| async {
            let mut text = Vec::new();
            for at in lines.left.by_ref().take(AT_A_TIME) {
                let Some(view) = view(&lines.reflector, &lines.all[at]) else { continue };
                // A type of our own, whose keys are strings: it becomes JSON.
                if serde_json::to_writer(&mut text, &view).is_ok() {
                    text.push(b'\n');
                }
            }
            (!text.is_empty()).then(|| (Ok(text.into()), lines))
        })
    }
}

/// All sessions in order as they were seen last, for whoever asks again soon.
#[derive(Clone, Default)]
pub(crate) struct SessionListSnapshots(Arc<Mutex<Option<SessionListSnapshot>>>);

struct SessionListSnapshot {
    all: Arc<Vec<SessionStatus>>,
    taken: Instant,
    /// Empty until the API changes something.
    changes: Receiver<ChangeEvent>,
}

impl SessionListSnapshots {
    /// All sessions as they are now. To be called on a thread that may wait, within a tokio runtime.
    fn fresh(&self, reflector: &ReflectorHandle) -> Arc<Vec<SessionStatus>> {
        let changes = reflector.events();
        let mut all = reflector.sessions();
        sort(&mut all);
        let all = Arc::new(all);
        // Few are as quickly looked at again.
        if all.len() > DEFAULT_LIMIT {
            *locked(&self.0) = Some(SessionListSnapshot { all: all.clone(), taken: Instant::now(), changes });
            let (snapshots, own) = (self.0.clone(), Arc::downgrade(&all));
            tokio::spawn(async move {
                tokio::time::sleep(FRESH).await;
                let mut kept = locked(&snapshots);
                if kept.as_ref().is_some_and(|kept| Arc::downgrade(&kept.all).ptr_eq(&own)) {
                    *kept = None;
                }
            });
        }
        all
    }

    /// All sessions as they were a moment ago, if they were looked at then and the API has changed nothing since.
    fn recent(&self, reflector: &ReflectorHandle) -> Arc<Vec<SessionStatus>> {
        let is_usable = |kept: &&SessionListSnapshot| kept.taken.elapsed() < FRESH && kept.changes.is_empty();
        let kept = locked(&self.0).as_ref().filter(is_usable).map(|kept| kept.all.clone());
        kept.unwrap_or_else(|| self.fresh(reflector))
    }
}

impl ListQuery {
    /// Returns the order, and true if its last ones come first.
    fn order(&self) -> (SessionSort, bool) {
        match self.busiest {
            Some(true) => (SessionSort::Received, true),
            _ => (self.sort.unwrap_or(SessionSort::Id), self.descending == Some(true)),
        }
    }

    /// Returns true if pages follow each other by `after`.
    fn is_by_id(&self) -> bool {
        self.order() == (SessionSort::Id, false)
    }

    fn matches(&self, group: &[SessionStatus]) -> bool {
        let id = &group[0].id;
        self.source.is_none_or(|source| source == id.source)
            && self.source_port.is_none_or(|port| port == id.source_port)
            && self.destination.is_none_or(|destination| destination == id.destination)
            && self.ssid.is_none_or(|ssid| ssid == id.ssid)
            && self.provisioned.is_none_or(|wanted| wanted == group.iter().any(|one| one.is_provisioned))
            && self.authenticated.is_none_or(|wanted| wanted == group.iter().any(|one| one.is_authenticated))
            && self.search.as_ref().is_none_or(|text| PathId(*id).to_string().contains(text.as_str()))
            && self.interface.as_ref().is_none_or(|name| group.iter().any(|one| one.interface.as_ref() == Some(name)))
    }
}
