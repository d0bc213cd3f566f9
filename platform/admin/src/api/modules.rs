//! Modules: stored whole or not at all.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use millrace_protocol::plugins::{
    ManageReply, ManageRequest, ModuleChunk, ModuleDigest, ModuleInfo, PluginService, UploadReply,
};

use super::refusal::Refusal;
use super::{Api, UPLOADS_MAX, body};

const MEDIA_TYPES: [&str; 2] = ["application/wasm", "application/octet-stream"];
/// As large as modules may be.
const MODULE_BYTES_MAX: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;

pub(super) async fn upload(
    State(api): State<Api>,
    request: Request,
) -> Result<(StatusCode, Json<ModuleInfo>), Refusal> {
    let service = api.service()?;
    let Ok(_permit) = Arc::clone(&api.uploads).try_acquire_owned() else {
        return Err(Refusal::too_many("uploads of modules", UPLOADS_MAX));
    };
    let module = body::receive(request, &MEDIA_TYPES, MODULE_BYTES_MAX).await?;
    if module.is_empty() {
        return Err(Refusal::invalid("the body is to be the module, and is empty"));
    }
    let info = store(service, module).await?;
    Ok((StatusCode::CREATED, Json(info)))
}

pub(super) async fn inspect(
    State(api): State<Api>,
    Path(digest): Path<String>,
) -> Result<Json<ModuleInfo>, Refusal> {
    let module = digest.parse().map_err(|error| Refusal::invalid(format!("'{digest}': {error}")))?;
    let expected = |reply| match reply {
        ManageReply::Module(info) => Some(Json(info)),
        _ => None,
    };
    api.manage(ManageRequest::Inspect { module }, expected).await
}

/// Hands the module over in pieces, from where the service says.
async fn store(service: &dyn PluginService, module: Bytes) -> Result<ModuleInfo, Refusal> {
    // Long enough to hold up the probes that share this thread.
    let hashed = module.clone();
    let digest = tokio::task::spawn_blocking(move || ModuleDigest::of(&hashed)).await;
    let digest = digest.map_err(|error| Refusal::internal(format!("hash the module: {error}")))?;
    let total = module.len() as u64;
    // Asked without bytes first: what is stored already is answered at once.
    let (mut offset, mut bytes) = (0, Bytes::new());
    // Each piece twice and a few more; beyond that the service would go round in circles.
    for _ in 0..2 * module.len().div_ceil(CHUNK_BYTES) + 8 {
        match service.upload(ModuleChunk { module: digest, total, offset, bytes }).await? {
            UploadReply::Stored(info) => return Ok(info),
            UploadReply::Continue { offset: from } => {
                let start = usize::try_from(from).unwrap_or(usize::MAX).min(module.len());
                bytes = module.slice(start..module.len().min(start + CHUNK_BYTES));
                offset = start as u64;
            }
        }
    }
    Err(Refusal::internal(format!("byte {offset} of {total} is asked for again and again")))
}
