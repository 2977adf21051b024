//! Errors as problem documents (RFC 9457). The only file that knows status codes for failures.
//!
//! Besides the members of the RFC a document has `field`, the member of the request or parameter that is wrong, and
//! `remedy`, what to do about it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::heartbeat::HeartbeatError;
use crate::reflector::handle::SessionError;

/// A request that failed, in the words that the client gets.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    remedy: Option<String>,
}

/// Media type of the documents.
pub const PROBLEM: &str = "application/problem+json";

/// The problem with a request (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails<'a> {
    /// The kind of problem.
    #[schema(example = "urn:teaparty:problem:field")]
    r#type: String,
    /// The kind in words.
    #[schema(example = "A value can't be used")]
    title: &'a str,
    /// The status code.
    #[schema(example = 422)]
    status: u16,
    /// This occurrence of it.
    #[schema(example = "ssid: is no such number")]
    detail: &'a str,
    /// The member or parameter that is wrong.
    #[schema(example = "ssid", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The remedy.
    #[schema(example = "give a whole number from 0 to 65535", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), field: None, remedy: None }
    }

    /// 422: a member of the body, or a parameter, has a value that can't be used.
    pub fn field(field: impl Into<String>, problem: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        let field = field.into();
        let detail = format!("{field}: {problem}");
        Self {
            field: Some(field),
            remedy: Some(remedy.into()),
            ..Self::new(UNPROCESSABLE, "field", "A value can't be used", detail)
        }
    }

    /// 422: a setting that can't be, in the words of the configuration: what is wrong, and after a semicolon what to
    /// do. One that says both in one sentence is both.
    pub fn setting(field: impl Into<String>, problem: &str) -> Self {
        let (what, remedy) = problem.split_once("; ").unwrap_or((problem, problem));
        Self::field(field, what, remedy)
    }

    /// 400: the body or the query is not what it says to be.
    pub fn malformed(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request can't be read", detail).with_remedy(remedy)
    }

    /// 404: no such path; `resources` says which there are.
    pub fn no_such_path(resources: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "There is nothing here", "no resource has this path")
            .with_remedy(resources)
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

    /// 405: the path is there, the method is not.
    pub fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The method has no meaning here", "see the Allow header")
    }

    /// 401: no token, or a wrong one.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token", "A token is needed", "the Authorization header has no valid token")
            .with_remedy("send `Authorization: Bearer TOKEN` with the token of the reflector's --api-token-file")
    }

    /// 403: a web page of elsewhere asks by way of somebody's browser.
    pub fn foreign_page() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin",
            "Not for web pages",
            "a request with an Origin header may not change anything",
        )
        .with_remedy("leave the Origin header out, or start the reflector with --api-token-file")
    }

    /// 403: the client may read, and nothing else.
    pub fn read_only(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "read-only", "Not for this client to change", why).with_remedy(remedy)
    }

    /// 421: the request names a host that is not this one, as one of a web page does whose name was bound to our address.
    pub fn misdirected(host: &str) -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "Not a name of this host",
            format!("the request is for {host}, which is neither an address nor a name of this host"),
        )
        .with_remedy("ask by an address of this host or by localhost, or name the host with --api-host")
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

    /// 500, for faults of the server. The cause is logged, not sent.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "the API cannot answer");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The reflector failed", "its log says why")
    }

    /// Returns the same with another status code: the namesake's endpoints have their own idea of some.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = ProblemDetails {
            r#type: format!("urn:teaparty:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
            remedy: self.remedy.as_deref(),
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
