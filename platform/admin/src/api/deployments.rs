//! Deployments: what there is, and what is to become of it.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use millrace_protocol::plugins::{Description, ManageReply, ManageRequest, Summary};
use serde::Deserialize;

use super::refusal::Refusal;
use super::{Api, body};

type Described = Result<Json<Description>, Refusal>;

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<Summary>>, Refusal> {
    let expected = |reply| match reply {
        ManageReply::Deployments(summaries) => Some(Json(summaries)),
        _ => None,
    };
    api.manage(ManageRequest::List, expected).await
}

pub(super) async fn describe(State(api): State<Api>, Path(name): Path<String>) -> Described {
    api.change(ManageRequest::Describe { name }).await
}

pub(super) async fn deploy(
    State(api): State<Api>,
    Path(name): Path<String>,
    uri: Uri,
    request: Request,
) -> Described {
    let validate_only = validate_only(uri.query().unwrap_or_default())?;
    let definition = Box::new(body::json(request).await?);
    api.change(ManageRequest::Deploy { name, definition, validate_only }).await
}

pub(super) async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let expected = |reply| match reply {
        ManageReply::Deleted => Some(StatusCode::NO_CONTENT),
        _ => None,
    };
    api.manage(ManageRequest::Delete { name }, expected).await
}

pub(super) async fn pause(State(api): State<Api>, Path(name): Path<String>) -> Described {
    api.change(ManageRequest::Pause { name }).await
}

pub(super) async fn resume(State(api): State<Api>, Path(name): Path<String>) -> Described {
    api.change(ManageRequest::Resume { name }).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    version: Option<u32>,
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Described {
    let Rollback { version } = body::json_or_default(request).await?;
    api.change(ManageRequest::Rollback { name, version }).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    topic: Option<String>,
}

pub(super) async fn replay(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Described {
    let Replay { topic } = body::json_or_default(request).await?;
    api.change(ManageRequest::Replay { name, topic }).await
}

impl Api {
    /// A request that is answered with the deployment as it then is.
    async fn change(&self, request: ManageRequest) -> Described {
        let expected = |reply| match reply {
            ManageReply::Deployment(description) => Some(Json(*description)),
            _ => None,
        };
        self.manage(request, expected).await
    }
}

/// A typing mistake must not deploy what was only to be checked, so nothing unknown is overlooked.
fn validate_only(query: &str) -> Result<bool, Refusal> {
    match query {
        "" | "validate_only=false" => Ok(false),
        "validate_only" | "validate_only=true" => Ok(true),
        _ => Err(Refusal::invalid(format!("'?{query}' is not known here: there is '?validate_only=true'"))),
    }
}
