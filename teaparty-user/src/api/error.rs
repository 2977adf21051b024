//! The API's own failures as problems: of a body, of sessions, of heartbeats, and of the kernel.

use axum::http::StatusCode;

use crate::heartbeat::HeartbeatError;
use crate::http::problem::ApiError;
use crate::reflector::handle::SessionError;

impl ApiError {
    /// 422: a setting that can't be, in the words of the configuration: what is wrong, and after a semicolon what to
    /// do. One that says both in one sentence is both.
    pub fn setting(field: impl Into<String>, problem: &str) -> Self {
        let (what, remedy) = problem.split_once("; ").unwrap_or((problem, problem));
        Self::field(field, what, remedy)
    }

    /// 404: no such thing.
    pub fn unknown(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", "There is no such thing", detail).with_remedy(remedy)
    }

    /// 409: it exists.
    pub fn exists(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "exists", "It exists already", detail).with_remedy(remedy)
    }

    /// 409: what is asked for does not go together with what is there.
    pub fn conflict(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It can't be done as things are", detail).with_remedy(remedy)
    }

    /// 412: a condition of the request does not hold.
    pub fn outdated() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "outdated",
            "It is not as the request expects",
            "the entity tag in If-Match is not the current one, or If-None-Match names one that is there",
        )
        .with_remedy("GET it again, and decide by its ETag")
    }

    /// 408: the body did not come in time.
    pub fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow", "The request took too long", "the body did not come in time")
    }

    /// 413: the body is too large.
    pub fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("more than {most} octets"),
        )
    }

    /// 415: the body is not JSON.
    pub fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The body is not JSON",
            "its Content-Type says otherwise",
        )
        .with_remedy("send `Content-Type: application/json`")
    }

    /// 503: all the streams of events that there may be are taken.
    pub fn too_many_streams() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too busy",
            "there are as many streams of events as there may be",
        )
        .with_remedy("come again later, or share a stream")
    }

    /// 503: the kernel refuses a change. The cause is logged.
    pub fn kernel(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "nothing was changed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "kernel", "The kernel refused", "it did not take the change")
            .with_remedy("the reflector's log says why; if a map is full, delete something first")
    }

    /// 503: what was asked for takes too long now.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too busy", "the answer did not get ready in time")
            .with_remedy("ask again later, for fewer sessions at a time")
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Exists => {
                Self::exists(error.to_string(), "delete it first, or take other addresses, ports or ssid")
            }
            SessionError::Unknown => Self::unknown(error.to_string(), "GET /api/v1/sessions lists those there are"),
            SessionError::Wildcard => Self::conflict(error.to_string(), "ask for the sessions that were made from it"),
            SessionError::Outdated => Self::outdated(),
            SessionError::Full(_) => Self::exists(
                error.to_string(),
                "delete one, provision a wildcard, or restart the reflector with more sessions in its configuration file",
            ),
            SessionError::Families => Self::field("destination", &error, "give both as IPv4 or both as IPv6 addresses"),
            SessionError::Kernel(cause) => Self::kernel(cause),
        }
    }
}

impl From<HeartbeatError> for ApiError {
    fn from(error: HeartbeatError) -> Self {
        match error {
            HeartbeatError::Exists => Self::exists(error.to_string(), "delete it first to change its interval"),
            HeartbeatError::Full => Self::exists(error.to_string(), "delete one first"),
            HeartbeatError::Outdated => Self::outdated(),
        }
    }
}
