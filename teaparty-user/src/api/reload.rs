//! `POST /api/v1/reload`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::AppState;
use crate::files::limit::LimitError;
use crate::http::problem::ApiError;
use crate::reflector::handle::ReconfigureError;

/// Most time for reading the files with configuration and keys; parsing them may take longer.
pub(crate) const RELOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// A setting: of the reflector of this name, or of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Changed {
    /// The reflector; `None` for a setting of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reflector: Option<String>,
    /// The key.
    pub key: String,
}

/// The result of a reload.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
#[schema(as = Report)]
pub struct ReloadReport {
    /// The settings that hold from now on.
    pub applied: Vec<Changed>,
    /// The settings that need a restart.
    pub restart: Vec<Changed>,
}

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration can't be used; one problem on each line.
    #[error("{0}")]
    Wrong(String),
    /// There is nothing to read.
    #[error("the configuration was read from standard input, which can't be read again; start with --config FILE")]
    Gone,
    /// The files take too long.
    #[error(
        "configuration and keys were not read within {} s; a file system does not answer, or a descriptor gives nothing",
        RELOAD_TIMEOUT.as_secs()
    )]
    Slow,
    /// There is no thread to read them.
    #[error("there is no thread to read the configuration: {0}")]
    NoThread(std::io::Error),
    /// The kernel.
    #[error(transparent)]
    Refused(#[from] ReconfigureError),
}

impl From<LimitError> for ReloadError {
    fn from(error: LimitError) -> Self {
        match error {
            LimitError::Slow => Self::Slow,
            LimitError::NoThread(error) => Self::NoThread(error),
        }
    }
}

/// Reads the configuration again, whenever asked to.
pub trait Reload: Send + Sync {
    /// Reads, checks, and changes what can change at once.
    ///
    /// Called on a thread that may wait, within a tokio runtime. With an error nothing has changed.
    fn reload(&self) -> Result<ReloadReport, ReloadError>;
}

/// Reads the configuration file and the keys again, as SIGHUP does.
///
/// The answer says what holds now and what takes a restart; with an error nothing has changed.
#[utoipa::path(
    post, path = "/reload", tag = "settings", operation_id = "reload",
    responses(
        (status = 200, description = "What was applied, and what takes a restart", body = ReloadReport),
        (status = 409, description = "Nothing was configured by a file"),
        (status = 422, description = "The file can't be used")
    )
)]
pub(crate) async fn reload(State(app): State<AppState>) -> Result<Json<ReloadReport>, ApiError> {
    let Some(reloader) = app.reloader.clone() else {
        return Err(ApiError::conflict("nothing here was configured by a file", "start with --config FILE"));
    };
    let done = app.query(move |_| reloader.reload()).await?;
    done.map(Json).map_err(|error| match error {
        ReloadError::Wrong(problems) => {
            ApiError::malformed(problems, "correct the file; teaparty config check FILE says the same")
                .with_status(StatusCode::UNPROCESSABLE_ENTITY)
        }
        ReloadError::Gone => ApiError::conflict(error.to_string(), "start with --config FILE"),
        ReloadError::Slow | ReloadError::NoThread(_) => {
            ApiError::conflict(error.to_string(), "nothing has changed; ask again when the files can be read")
        }
        ReloadError::Refused(error) => ApiError::kernel(error),
    })
}
