//! The body of a request: a JSON object, taken apart member by member so that every error can name one.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::http::problem::ApiError;

/// Most octets of a body.
pub(crate) const MAX_BODY: usize = 256 << 10;
/// Most time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The members of a JSON object that nobody has asked for yet.
pub(crate) struct JsonFields(Map<String, Value>);

/// [`JsonFields`] of a body of any Content-Type: `curl -d` says that JSON is a form.
pub(crate) struct AnyType(pub JsonFields);

impl<S: Send + Sync> FromRequest<S> for JsonFields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if kind != "application/json" {
            return Err(ApiError::not_json());
        }
        AnyType::from_request(request, state).await.map(|any| any.0)
    }
}

impl<S: Send + Sync> FromRequest<S> for AnyType {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let stated =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if stated.is_some_and(|length: u64| length > MAX_BODY as u64) {
            return Err(ApiError::too_large(MAX_BODY));
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
        let body = body.await.map_err(|_| ApiError::slow_body())?.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(MAX_BODY),
            _ => ApiError::malformed("the body broke off", "send as many octets as Content-Length says"),
        })?;
        // The text of serde's error quotes nothing of the body, which may hold a key.
        match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Ok(Self(JsonFields(members))),
            Ok(_) => Err(ApiError::malformed("the body is not a JSON object", "send members in braces")),
            Err(error) => Err(ApiError::malformed(
                format!("the body is not JSON: line {}, column {}", error.line(), error.column()),
                "send one JSON object",
            )),
        }
    }
}

impl JsonFields {
    /// An address.
    pub(crate) fn address(&mut self, name: &str) -> Result<Option<IpAddr>, ApiError> {
        let remedy = "give an IPv4 or IPv6 address as a string, such as \"192.0.2.1\"";
        let Some(text) = self.text(name, remedy)? else { return Ok(None) };
        let parsed = text.parse::<IpAddr>().map_err(|_| ApiError::field(name, "is no IP address", remedy))?;
        // An IPv4-mapped address is the IPv4 address: packets come with that one.
        Ok(Some(parsed.to_canonical()))
    }

    /// A number from 0 to 65535. Null is none, here and below.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u16>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match whole(&value).as_u64().and_then(|number| u16::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(ApiError::field(name, "is no such number", "give a whole number from 0 to 65535")),
            },
        }
    }

    /// A whole number in a range.
    pub(crate) fn number_within(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match whole(&value).as_u64().filter(|number| range.contains(number)) {
                Some(number) => Ok(Some(number)),
                None => {
                    let remedy = format!("give a whole number from {} to {}", range.start(), range.end());
                    Err(ApiError::field(name, "is no such number", remedy))
                }
            },
        }
    }

    /// Some of `all`, by their labels; none where it is missing.
    pub(crate) fn labels<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        label: impl Fn(T) -> &'static str,
    ) -> Result<Vec<T>, ApiError> {
        let labels = || all.iter().map(|one| label(*one)).collect::<Vec<_>>().join(", ");
        let wrong = || ApiError::field(name, "is no list of such words", format!("give a list of {}", labels()));
        let given = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(given)) => given,
            Some(_) => return Err(wrong()),
        };
        let found = |word: &Value| all.iter().find(|one| word.as_str() == Some(label(**one))).copied();
        given.iter().map(found).collect::<Option<Vec<T>>>().ok_or_else(wrong)
    }

    /// `true` or `false`; false where it is missing.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(ApiError::field(name, "is neither true nor false", "give true or false, without quotes")),
        }
    }

    /// A string; cleared when it goes, as it may be a key.
    pub(crate) fn text(&mut self, name: &str, remedy: &str) -> Result<Option<Zeroizing<String>>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Zeroizing::new(text))),
            Some(_) => Err(ApiError::field(name, "is no string", remedy)),
        }
    }

    /// A pattern in hex, with or without `0x`.
    pub(crate) fn pattern(&mut self, name: &str) -> Result<Option<Arc<[u8]>>, ApiError> {
        let remedy = "give pairs of hexadecimal digits, such as \"ff00\"";
        let Some(text) = self.text(name, remedy)? else { return Ok(None) };
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text).as_bytes();
        let octet = |pair: &[u8]| match pair {
            [high, low] => Some((char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?) as u8),
            _ => None,
        };
        match digits.chunks(2).map(octet).collect::<Option<Vec<u8>>>() {
            Some(octets) if !octets.is_empty() => Ok(Some(octets.into())),
            _ => Err(ApiError::field(name, "is not pairs of hexadecimal digits", remedy)),
        }
    }

    /// Returns true if a member is there and null; it has been asked for then.
    pub(crate) fn take_null(&mut self, name: &str) -> bool {
        let is_null = self.0.get(name).is_some_and(Value::is_null);
        if is_null {
            self.0.remove(name);
        }
        is_null
    }

    /// All members, to be asked for in another way.
    pub(crate) fn into_members(self) -> Map<String, Value> {
        self.0
    }

    /// Refuses members that were not read, which would be ignored otherwise.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::field(name, "is not known here", "leave it out, or mind its spelling")),
        }
    }

    /// The members that are still there, for a confirmation.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// A number without the fraction that it is written with though it has none: in JSON, 5 and 5.0 are the same.
pub(crate) fn whole(value: &Value) -> Value {
    match value.as_f64() {
        Some(number) if !value.is_u64() && number.fract() == 0.0 && (0.0..=9e15).contains(&number) => {
            Value::from(number as u64)
        }
        _ => value.clone(),
    }
}

/// The error for a member that must be there.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::field(name, "is missing", format!("add the member `{name}`"))
}
