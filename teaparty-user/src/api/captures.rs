//! `/api/v1/captures`: packets as they arrive and as their replies leave, as pcapng.
//!
//! A capture lasts as long as its client reads. It is a POST, as who may capture is who may write.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use teaparty_common::reflect::{Disposition, REASONS, Reason};

use super::AppState;
use super::dto::PathId;
use super::json_body::JsonFields;
use super::openapi_bodies::CaptureBody;
use crate::http::connections::Connection;
use crate::http::problem::ApiError;
use crate::reflector::capture::pcapng::MEDIA_TYPE;
use crate::reflector::capture::request::{CaptureDirection, CaptureRequest, MAX_RATE, SNAPLEN};
use crate::reflector::handle::CaptureError;

/// Captures packets for as long as the client reads: pcapng with nanoseconds, one interface block for each interface.
///
/// Each packet has its direction in its flags, and verdict, reason, T2 and T3 in its comment and in a custom option. The block
/// of statistics at the end says how many packets were not captured.
#[utoipa::path(
    post, path = "/captures", tag = "captures", operation_id = "create_capture",
    request_body = CaptureBody,
    responses(
        (
            status = 200,
            description = "Blocks of pcapng until the capture ends",
            content_type = "application/x-pcapng",
            body = String,
            headers(("Location" = String, description = "The capture, to be deleted"))
        ),
        (status = 409, description = "There are as many captures as there may be, or the kernel does not take the program")
    )
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    connection: Option<Extension<Arc<Connection>>>,
    fields: JsonFields,
) -> Result<Response, ApiError> {
    let request = request(fields)?;
    let reflector = app.reflector.clone();
    // The kernel may take seconds to verify the program.
    let begun = tokio::task::spawn_blocking(move || reflector.capture(request)).await.map_err(ApiError::internal)?;
    let stream = begun.map_err(ApiError::from)?;
    if let Some(Extension(connection)) = connection {
        connection.keep();
    }
    let location = format!("{}/captures/{}", app.root, stream.number());
    let parts = unfold(stream, |mut stream| async {
        let part = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(part)), stream))
    });
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE.to_owned()), (header::LOCATION, location)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// Ends a capture, whose client gets the statistics then.
#[utoipa::path(
    delete, path = "/captures/{number}", tag = "captures", operation_id = "delete_capture",
    params(("number" = u8, Path, description = "The capture", example = 0)),
    responses((status = 204, description = "It ends"))
)]
pub(crate) async fn delete(State(app): State<AppState>, Path(number): Path<String>) -> Result<StatusCode, ApiError> {
    let is_there = number.parse().is_ok_and(|number| app.reflector.end_capture(number));
    let unknown = || ApiError::unknown("there is no such capture", "the Location of its answer names a capture");
    is_there.then_some(StatusCode::NO_CONTENT).ok_or_else(unknown)
}

/// Reads what is asked for.
fn request(mut fields: JsonFields) -> Result<CaptureRequest, ApiError> {
    let mut request = CaptureRequest::default();
    let name = "give the name of an interface, such as \"eth0\"";
    request.interface = fields.text("interface", name)?.map(|text| text.to_string());
    let direction = "give \"in\", \"out\" or \"both\"";
    if let Some(text) = fields.text("direction", direction)? {
        request.direction = match text.as_str() {
            "in" => CaptureDirection::In,
            "out" => CaptureDirection::Out,
            "both" => CaptureDirection::Both,
            _ => return Err(ApiError::field("direction", "is no direction", direction)),
        };
    }
    let verdicts = [Disposition::Reflect, Disposition::Punt, Disposition::Drop, Disposition::Pass];
    request.verdicts = fields.labels("verdicts", &verdicts, Disposition::label)?;
    request.reasons = fields.labels("reasons", REASONS, Reason::label)?;
    request.host = fields.address("host")?;
    let id = "give SOURCE,PORT,DESTINATION,PORT,SSID, as the list of sessions has it";
    if let Some(text) = fields.text("session", id)? {
        let PathId(session) = text.parse().map_err(|()| ApiError::field("session", "is no session", id))?;
        request.session = Some(session);
    }
    request.is_authenticated = fields.flag("authenticated")?;
    let (fewest, most) = SNAPLEN;
    if let Some(snaplen) = fields.number_within("snaplen", fewest.into()..=most.into())? {
        request.snaplen = snaplen as u32;
    }
    request.count = fields.number_within("count", 1..=u64::from(u32::MAX))?;
    request.duration = fields.number_within("duration_seconds", 1..=86_400 * 7)?.map(Duration::from_secs);
    if let Some(rate) = fields.number_within("rate", 1..=MAX_RATE.into())? {
        request.rate = rate as u32;
    }
    fields.finish()?;
    Ok(request)
}

impl From<CaptureError> for ApiError {
    fn from(error: CaptureError) -> Self {
        let conflict = |error: CaptureError, remedy: &str| {
            Self::new(StatusCode::CONFLICT, "capture", "No capture", error.to_string()).with_remedy(remedy)
        };
        match error {
            CaptureError::Interface(_) => {
                Self::field("interface", error.to_string(), "GET /api/v1/reflector lists its interfaces")
            }
            CaptureError::Full => conflict(error, "end another capture first"),
            CaptureError::Load { .. } => {
                tracing::warn!(%error, "no capture");
                conflict(error, "the reflector's log says why")
            }
        }
    }
}
