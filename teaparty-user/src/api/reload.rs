//! `POST /api/v1/reload`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::AppState;
use super::error::ApiError;
use crate::daemon::reload::{ReloadError, Report};

/// Reads the configuration file and the keys again, as SIGHUP does.
///
/// The answer says what holds now and what takes a restart; with an error nothing has changed.
#[utoipa::path(
    post, path = "/reload", tag = "settings", operation_id = "reload",
    responses(
        (status = 200, description = "What was applied, and what takes a restart", body = Report),
        (status = 409, description = "Nothing was configured by a file"),
        (status = 422, description = "The file can't be used")
    )
)]
pub async fn reload(State(app): State<AppState>) -> Result<Json<Report>, ApiError> {
    let Some(reloader) = app.reloader.clone() else {
        return Err(ApiError::conflict("nothing here was configured by a file", "start with --config FILE"));
    };
    let done = app.look(move |_| reloader.reload()).await?;
    done.map(Json).map_err(|error| match error {
        ReloadError::Wrong(problems) => {
            ApiError::malformed(problems.to_string(), "mend the file; teaparty config check FILE says the same")
                .with_status(StatusCode::UNPROCESSABLE_ENTITY)
        }
        ReloadError::Gone => ApiError::conflict(error.to_string(), "start with --config FILE"),
        ReloadError::Slow | ReloadError::NoThread(_) => {
            ApiError::conflict(error.to_string(), "nothing has changed; ask again when the files can be read")
        }
        ReloadError::Refused(error) => ApiError::kernel(error),
    })
}
