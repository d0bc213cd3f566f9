//! UploadModule: a module arrives in pieces.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::{KIB, MIB};
use millrace_protocol::plugins::{ModuleChunk, PluginError, PluginService, json};

use super::undecodable;

/// A piece of 4 MiB and its header.
pub(super) const BODY_BYTES_MAX: usize = 4 * MIB + KIB;

pub(super) async fn answer(service: Arc<dyn PluginService>, body: Bytes) -> Result<Bytes, PluginError> {
    let chunk = ModuleChunk::decode(body).map_err(|error| undecodable(&error))?;
    service.upload(chunk).await.map(|reply| json(&Ok::<_, PluginError>(reply)))
}
