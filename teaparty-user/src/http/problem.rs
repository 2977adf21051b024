//! Failures as problem documents (RFC 9457).
//!
//! Besides the members of the RFC a document has `field`, the member of the request or parameter that is wrong, and
//! `remedy`, what to do about it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
pub(crate) const PROBLEM: &str = "application/problem+json";

/// The problem with a request (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails<'a> {
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
    /// A failure with this status and kind of problem.
    pub fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), field: None, remedy: None }
    }

    /// 422: a member of the body, or a parameter, has a value that can't be used.
    pub fn field(field: impl Into<String>, problem: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        let field = field.into();
        let detail = format!("{field}: {problem}");
        Self {
            field: Some(field),
            remedy: Some(remedy.into()),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "field", "A value can't be used", detail)
        }
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

    /// 500, for faults of the server. The cause is logged, not sent.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "the API cannot answer");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The reflector failed", "its log says why")
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the same with another status code: the namesake's endpoints have their own idea of some.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Returns the same with what to do about it.
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
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
