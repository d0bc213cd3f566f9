//! Why a request is not answered as asked: a status, and a message for the person who sent it.

use std::time::Duration;

use axum::Json;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use millrace_protocol::plugins::{ErrorKind, PluginError};
use serde_json::json;

/// Becomes `{"error": message}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn not_allowed(method: &Method) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} means nothing here"))
    }

    pub(super) fn too_slow(stall: Duration, bytes_per_second: u64) -> Self {
        let message = format!(
            "nothing of the body came for {stall:?}, or it came slower than {bytes_per_second} bytes a second"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(super) fn media_type(found: &str, allowed: &[&str]) -> Self {
        let message = format!(
            "the body's content-type is {found}; send the header `content-type: {}`",
            allowed.join("` or `content-type: ")
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    pub(super) fn too_many(what: &str, limit: usize) -> Self {
        let message = format!("{limit} {what} are under way, which is the limit; try again in a moment");
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }

    pub(super) fn not_served() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "plugins are not served by this broker")
    }

    /// The broker's own mistake.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl From<PluginError> for Refusal {
    fn from(error: PluginError) -> Self {
        let status = match error.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Failed => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
