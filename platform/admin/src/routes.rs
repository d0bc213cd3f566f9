//! What is served under which path.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;
use serde_json::json;

use crate::{AdminOptions, Readiness, api};

pub(crate) fn router(options: AdminOptions) -> Router {
    let api = api::router(options.plugins.clone(), options.names.clone());
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(options)
        .nest("/v1", api)
        .fallback(not_found)
}

/// The process runs and answers; nothing else is asked.
async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn readiness(State(options): State<AdminOptions>) -> Response {
    match (options.readiness)() {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::NotReady(reason) => {
            let body = Json(json!({ "status": "not ready", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(options): State<AdminOptions>) -> Response {
    match TextEncoder::new().encode_to_string(&options.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "encode metrics");
            let body = Json(json!({ "error": format!("encode metrics: {error}") }));
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}

async fn not_found(uri: Uri) -> Response {
    let error =
        format!("nothing is served under {}: try /healthz, /readyz, /metrics or /v1/plugins", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response()
}
