//! ManagePlugins: one thing to do about deployments, as JSON.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::MIB;
use millrace_protocol::plugins::{ManageRequest, PluginError, PluginService, from_json, json};

use super::undecodable;

/// A definition is a page of text; the rest is room for its configuration.
pub(super) const BODY_BYTES_MAX: usize = MIB;

pub(super) async fn answer(service: Arc<dyn PluginService>, body: Bytes) -> Result<Bytes, PluginError> {
    let request: ManageRequest = from_json(&body).map_err(|error| undecodable(&error))?;
    // The buffer it came in is wanted for other requests.
    drop(body);
    service.manage(request).await.map(|reply| json(&Ok::<_, PluginError>(reply)))
}
