//! The REST API: the real one under `/api/v1`, the namesake's endpoints, probes and metrics.
//!
//! Reading order: [`dto`] (answers), [`error`] (failures), [`json_body`] (input),
//! [`list`], [`sessions`], [`keys`], [`settings`], [`configuration`], [`reflector`] (with [`health`]), [`reload`], [`events`] (with
//! [`session_watch`]), [`captures`] and [`legacy`] (the endpoints), [`preconditions`] (ETags), [`openapi`], [`parameters`] and
//! [`openapi_bodies`] (what
//! describes them). Connections, TLS and access are those of [`crate::http`].
//!
//! Keys come in and never go out: no type here that is serialised has a place for one.

pub(crate) mod captures;
pub(crate) mod configuration;
pub mod dto;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod json_body;
pub(crate) mod keys;
pub(crate) mod legacy;
pub(crate) mod list;
pub(crate) mod openapi;
pub(crate) mod openapi_bodies;
pub(crate) mod parameters;
pub(crate) mod preconditions;
pub(crate) mod reflector;
pub(crate) mod reload;
pub(crate) mod session_watch;
pub(crate) mod sessions;
pub(crate) mod settings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::list::SessionListSnapshots;
use self::reload::Reload;
use self::session_watch::Watch;
use crate::heartbeat::Heartbeats;
use crate::http::auth::guard::{self, Guard, Writes};
use crate::http::auth::host::Hosts;
use crate::http::auth::token::Token;
use crate::http::dashboard;
use crate::http::problem::ApiError;
use crate::metrics;
use crate::reflector::handle::ReflectorHandle;

/// Prefix of the API's paths.
const ROOT: &str = "/api/v1";
/// The resources, for a client that asks for something else.
const RESOURCES: &str =
    "the real API is under /api/v1: sessions, reflector, heartbeats, captures; besides /livez, /readyz, /metrics";
/// Most time for a query of the reflector, waiting for others included.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Looks at the reflector at a time: each may walk all sessions.
const MAX_QUERIES: usize = 2;
/// Streams of events at a time.
const STREAMS: usize = 16;

/// The state that the handlers share.
#[derive(Clone)]
pub struct AppState {
    /// The reflector that a path is about: the first, unless the path names one.
    pub reflector: ReflectorHandle,
    /// All reflectors of the process.
    pub reflectors: Arc<[ReflectorHandle]>,
    /// The path that the reflector's own paths begin with.
    pub root: Arc<str>,
    /// Its heartbeats.
    pub heartbeats: Heartbeats,
    /// The rules of access.
    pub guard: Guard,
    /// Most sessions of each reflector that have series of their own in the metrics.
    pub session_series: usize,
    /// Reads the configuration again, where that can be.
    pub reloader: Option<Arc<dyn Reload>>,
    looks: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    watch: Watch,
    snapshots: SessionListSnapshots,
    /// The documents of [`openapi`]; empty before there is a router.
    documents: Arc<Documents>,
}

/// Descriptions of the API, except what depends on the reflectors.
#[derive(Default)]
struct Documents {
    own: Value,
    namesake: Value,
}

impl Documents {
    /// Completes the description of [`routes()`], and adds the one of the earlier implementation's endpoints.
    fn new(mut api: OpenApi) -> Self {
        // Those of the earlier implementation that fail in no way of their own are described with the others.
        api.merge(namesake_lists().split_for_parts().1);
        let own_api = v1_routes().split_for_parts().1;
        Self { own: openapi::complete(&api, &own_api), namesake: openapi::namesake(&namesake().1) }
    }
}

impl AppState {
    /// The state of an API for this reflector.
    pub fn new(reflector: ReflectorHandle, heartbeats: Heartbeats, token: Option<Token>) -> Self {
        let [looks, streams] = [MAX_QUERIES, STREAMS].map(|count| Arc::new(Semaphore::new(count)));
        let reflectors = [reflector.clone()].into();
        Self {
            reflector,
            reflectors,
            root: ROOT.into(),
            heartbeats,
            guard: Guard::new(token, Writes::default(), Hosts::default()),
            session_series: 0,
            reloader: None,
            looks,
            streams,
            watch: Watch::default(),
            snapshots: SessionListSnapshots::default(),
            documents: Arc::default(),
        }
    }

    /// Returns the same with another guard.
    pub fn with_guard(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Returns the same with series for up to this many sessions of each reflector.
    pub fn with_session_series(self, session_series: usize) -> Self {
        Self { session_series, ..self }
    }

    /// Returns the same for several reflectors, the first of which is the one so far.
    pub fn with_reflectors(self, reflectors: &[ReflectorHandle]) -> Self {
        Self { reflectors: reflectors.into(), ..self }
    }

    /// The reflectors that have paths of their own. An interface may be called by what a path can't say; then a `name` helps.
    fn named(&self) -> impl Iterator<Item = &ReflectorHandle> {
        self.reflectors.iter().filter(|reflector| !reflector.name().contains(['/', '{', '}', '*', '?', '#', '%']))
    }

    /// Returns the same for the paths of one of the reflectors.
    fn narrowed(&self, reflector: &ReflectorHandle) -> Self {
        let root = format!("{ROOT}/reflectors/{}", reflector.name()).into();
        Self {
            reflector: reflector.clone(),
            root,
            watch: Watch::default(),
            snapshots: SessionListSnapshots::default(),
            ..self.clone()
        }
    }

    /// Returns the same with the ability to read the configuration again.
    pub fn with_reloader(self, reloader: Arc<dyn Reload>) -> Self {
        Self { reloader: Some(reloader), ..self }
    }

    /// Does something with the reflector on a thread that may wait for maps and locks.
    ///
    /// The error is for when it takes too long, or for a bug.
    pub async fn query<T: Send + 'static>(
        &self,
        with: impl FnOnce(&ReflectorHandle) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reflector, looks) = (self.reflector.clone(), self.looks.clone());
        let look = async move {
            let place = looks.acquire_owned().await.map_err(ApiError::internal)?;
            // The place is given back when the work is done, even if nobody waits for it any more.
            let work = move || {
                let _place = place;
                with(&reflector)
            };
            tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
        };
        tokio::time::timeout(QUERY_TIMEOUT, look).await.map_err(|_| ApiError::busy())?
    }
}

/// The whole API.
///
/// The routes are each reflector's under `/api/v1/reflectors/NAME`, and the first one's under `/api/v1` too.
pub fn router(state: AppState) -> Router {
    let each: Vec<AppState> = state.named().map(|reflector| state.narrowed(reflector)).collect();
    let own = || v1_routes().split_for_parts().0;
    let each = each
        .into_iter()
        .fold(Router::new(), |all, narrowed| all.nest(&narrowed.root.clone(), own().with_state(narrowed)));
    let (router, api) = routes().split_for_parts();
    let state = AppState { documents: Arc::new(Documents::new(api)), ..state };
    router
        .merge(each)
        .merge(namesake().0)
        .merge(dashboard::REFLECTOR.routes())
        .fallback(async || ApiError::no_such_path(RESOURCES))
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(DefaultBodyLimit::max(json_body::MAX_BODY))
        .layer(middleware::from_fn_with_state(state.guard.clone(), guard::admit))
        .with_state(state)
}

/// Returns the OpenAPI document of a reflector, except what depends on its configuration.
pub fn document() -> Value {
    Documents::new(routes().split_for_parts().1).own
}

/// Returns the routes of the first reflector, and those that are nobody's own.
fn routes() -> OpenApiRouter<AppState> {
    let v1 = v1_routes()
        .routes(routes!(reflector::all))
        .routes(routes!(reload::reload))
        .routes(routes!(reflector::heartbeats, reflector::add_heartbeat))
        .routes(routes!(reflector::remove_heartbeat))
        .routes(routes!(openapi::get));
    OpenApiRouter::with_openapi(openapi::head())
        .nest(ROOT, v1)
        .routes(routes!(reflector::live))
        .routes(routes!(reflector::ready))
        .routes(routes!(metrics_text))
}

/// The earlier implementation's endpoints, and their description, which is a document of its own.
fn namesake() -> (Router<AppState>, OpenApi) {
    OpenApiRouter::with_openapi(openapi::namesake_head())
        .merge(namesake_lists())
        .routes(routes!(legacy::create))
        .routes(routes!(openapi::get_namesake))
        .split_for_parts()
}

fn namesake_lists() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(legacy::heartbeats)).routes(routes!(legacy::sessions))
}

/// Returns the routes of one reflector.
fn v1_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list, sessions::create))
        .routes(routes!(sessions::get, sessions::put, sessions::delete))
        .routes(routes!(sessions::reset))
        .routes(routes!(keys::get, keys::put, keys::remove))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::retire))
        .routes(routes!(settings::policy, settings::put_policy, settings::patch_policy))
        .routes(routes!(settings::limits, settings::put_limits, settings::patch_limits))
        .routes(routes!(configuration::get))
        .routes(routes!(captures::create))
        .routes(routes!(captures::delete))
        .routes(routes!(events::stream))
        .routes(routes!(reflector::get))
}

/// Shows all metrics, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "probes", operation_id = "metrics",
    responses((status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain"))
)]
async fn metrics_text(State(app): State<AppState>) -> Result<Response, ApiError> {
    let heartbeats = app.heartbeats.list();
    let reflectors = app.reflectors.clone();
    let series = app.session_series;
    let text = app.query(move |_| metrics::text(&reflectors, heartbeats, series)).await?.map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
