//! Conditions of requests by entity tags (RFC 9110 §13), so that concurrent changes do not overwrite each other.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::heartbeat::Heartbeat;
use crate::http::problem::ApiError;
use crate::reflector::provisioned::Provisioned;

/// An entity tag: of what is configured of a thing, not of what it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    /// Of a session: of what was provisioned, and one of its own for those that packets made.
    pub(crate) fn of_session(provisioned: Option<&Provisioned>) -> Self {
        match provisioned {
            Some(session) => Self(format!("\"{:x}\"", session.revision)),
            None => Self("\"unprovisioned\"".into()),
        }
    }

    /// Of the targets of heartbeats.
    pub(crate) fn of_heartbeats(heartbeats: impl IntoIterator<Item = Heartbeat>) -> Self {
        let text: Vec<String> = heartbeats.into_iter().map(String::from).collect();
        Self::of_text(text.join(",").as_bytes())
    }

    /// Of a representation that says all there is to it.
    pub(crate) fn of_text(text: &[u8]) -> Self {
        let digest = Sha256::digest(text);
        let digits: String = digest.iter().take(12).map(|octet| format!("{octet:02x}")).collect();
        Self(format!("\"{digits}\""))
    }

    /// As a header field.
    pub(crate) fn header(&self) -> [(HeaderName, HeaderValue); 1] {
        // Visible ASCII by construction.
        [(header::ETAG, HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("\"\"")))]
    }
}

/// The condition of a request on its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    if_match: Option<ListedTags>,
    if_none_match: Option<ListedTags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListedTags {
    Any,
    Tags(Vec<String>),
}

impl ListedTags {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let mut tags = Vec::new();
        let mut is_there = false;
        for value in headers.get_all(name) {
            is_there = true;
            let value = value.to_str().unwrap_or("").trim();
            if value == "*" {
                return Ok(Some(Self::Any));
            }
            for tag in value.split(',').map(str::trim) {
                let opaque = tag.strip_prefix("W/").unwrap_or(tag);
                if opaque.len() < 2 || !opaque.starts_with('"') || !opaque.ends_with('"') {
                    let remedy = "give `*`, or entity tags as they came in ETag, in quotes, with commas between";
                    return Err(ApiError::malformed(format!("{name} has no entity tags in it"), remedy));
                }
                tags.push(tag.to_owned());
            }
        }
        Ok(is_there.then_some(Self::Tags(tags)))
    }

    /// Weak tags never are the same as ours, which are strong.
    fn names(&self, current: Option<&Tag>) -> bool {
        match self {
            Self::Any => current.is_some(),
            Self::Tags(tags) => current.is_some_and(|current| tags.contains(&current.0)),
        }
    }
}

impl Condition {
    /// The condition in the header of a request.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: ListedTags::read(headers, &header::IF_MATCH)?,
            if_none_match: ListedTags::read(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Returns true if it holds for what is there, or for nothing being there.
    pub(crate) fn holds(&self, current: Option<&Tag>) -> bool {
        self.if_match.as_ref().is_none_or(|listed| listed.names(current))
            && self.if_none_match.as_ref().is_none_or(|listed| !listed.names(current))
    }

    /// Returns true if it holds for these targets of heartbeats.
    pub(crate) fn holds_for(&self, heartbeats: &[Heartbeat]) -> bool {
        self.holds(Some(&Tag::of_heartbeats(heartbeats.iter().copied())))
    }

    /// The answer to a GET: the resource, or 304 if it is unchanged, or 412 if the condition fails.
    pub(crate) fn show<T: Serialize>(&self, tag: &Tag, view: impl FnOnce() -> T) -> Result<Response, ApiError> {
        if self.holds(Some(tag)) {
            return Ok((tag.header(), Json(view())).into_response());
        }
        if self.if_match.as_ref().is_some_and(|listed| !listed.names(Some(tag))) {
            return Err(ApiError::outdated());
        }
        Ok((StatusCode::NOT_MODIFIED, tag.header()).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: HeaderName, value: &'static str) -> Result<Condition, ApiError> {
        Condition::read(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
    }

    #[test]
    fn tags_match_as_a_whole_and_a_star_matches_whatever_is_there() {
        let (a, b) = (Tag("\"a\"".into()), Tag("\"b\"".into()));
        assert!(Condition::read(&HeaderMap::new()).unwrap().holds(None));
        let is_a = condition(header::IF_MATCH, "\"x\", \"a\"").unwrap();
        assert_eq!([Some(&a), Some(&b), None].map(|tag| is_a.holds(tag)), [true, false, false]);
        let there = condition(header::IF_MATCH, "*").unwrap();
        assert_eq!([Some(&a), None].map(|tag| there.holds(tag)), [true, false]);
        let new = condition(header::IF_NONE_MATCH, "*").unwrap();
        assert_eq!([Some(&a), None].map(|tag| new.holds(tag)), [false, true]);
        assert!(!condition(header::IF_MATCH, "W/\"a\"").unwrap().holds(Some(&a)));
        for wrong in ["", "a", "\"", "\"a\", b"] {
            assert!(condition(header::IF_MATCH, wrong).is_err(), "{wrong}");
        }
    }
}
