//! Administration of plugins: modules are uploaded, deployments of them are made, watched and removed.
//!
//! All requests go to the controller. Each call has a lane of its own: checking and compiling a module takes a
//! while, and other requests must not wait behind it.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::Payload;
pub use millrace_protocol::plugins::{
    Backoff, Capability, DEPLOYMENT_NAME_LEN_MAX, Definition, DefinitionError, DeploymentState, Description,
    ErrorKind, FailurePolicy, GrantDefinitions, Kind, LimitOverrides, LogLevel, ModuleDigest, ModuleInfo,
    NotADigest, PartitionProgress, PartitionState, PluginError, Replay, Request, SecretText, StartPosition,
    Summary, VersionInfo, check_deployment_name,
};
use millrace_protocol::plugins::{ManageReply, ManageRequest, ModuleChunk, UploadReply, from_json, json};
use millrace_protocol::private::PrivateApi;

use crate::cluster::Cluster;
use crate::error::RequestError;

/// How much of a module travels in one request.
const CHUNK_BYTES: u64 = 1 << 20;

/// Requests about plugins; cheap to clone.
#[derive(Clone)]
pub struct Plugins {
    cluster: Arc<Cluster>,
}

impl Plugins {
    pub(crate) const fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    /// Stores a module with the cluster and says what it is. Nothing is sent again that the cluster has
    /// already, be it of an upload that broke off or of the whole module. `progress` is told how many bytes
    /// are there and how many there are in all.
    pub async fn upload(
        &self,
        module: Bytes,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<ModuleInfo, RequestError> {
        let api = PrivateApi::UploadModule;
        let broker = self.cluster.controller();
        let (lane, _) = broker.open_lane().await?;
        // Takes a while: other tasks of this thread are not to wait for it.
        let hashed = module.clone();
        let digest = tokio::task::spawn_blocking(move || ModuleDigest::of(&hashed)).await;
        let digest = digest.map_err(|_| RequestError::Closed)?;
        let total = module.len() as u64;
        // Asked without bytes first: what is stored already is answered at once.
        let mut bytes = Bytes::new();
        let mut offset = 0;
        // Each piece, each once more after the broker lost them, and a few: more would be a loop without end.
        let requests_max = 2 * total.div_ceil(CHUNK_BYTES) + 8;
        for _ in 0..requests_max {
            let chunk = ModuleChunk { module: digest, total, offset, bytes };
            let answer = broker.exchange_private(&lane, api, Payload::from(chunk.encode())).await?;
            let reply = from_json::<Result<UploadReply, PluginError>>(&answer);
            let reply = reply.map_err(|error| broker.malformed(api.name(), error.to_string()))?;
            match reply? {
                UploadReply::Stored(info) => {
                    progress(total, total);
                    return Ok(info);
                }
                UploadReply::Continue { offset: from } => {
                    bytes = piece(&module, from).ok_or_else(|| {
                        let reason = format!("it goes on at byte {from} of a module of {total}");
                        broker.malformed(api.name(), reason)
                    })?;
                    offset = from;
                    progress(offset, total);
                }
            }
        }
        let reason = format!("it asks for the same bytes again and again, at last from {offset} of {total}");
        Err(broker.malformed(api.name(), reason))
    }

    /// What an uploaded module is and asks for.
    pub async fn inspect(&self, module: ModuleDigest) -> Result<ModuleInfo, RequestError> {
        self.manage(ManageRequest::Inspect { module }, |reply| match reply {
            ManageReply::Module(info) => Some(info),
            _ => None,
        })
        .await
    }

    /// Makes the deployment `name`, or its next version. With `validate_only` nothing is changed: the answer
    /// is what it would be.
    pub async fn deploy(
        &self,
        name: &str,
        definition: Definition,
        validate_only: bool,
    ) -> Result<Description, RequestError> {
        let definition = Box::new(definition);
        self.change(ManageRequest::Deploy { name: name.to_owned(), definition, validate_only }).await
    }

    pub async fn list(&self) -> Result<Vec<Summary>, RequestError> {
        self.manage(ManageRequest::List, |reply| match reply {
            ManageReply::Deployments(summaries) => Some(summaries),
            _ => None,
        })
        .await
    }

    pub async fn describe(&self, name: &str) -> Result<Description, RequestError> {
        self.change(ManageRequest::Describe { name: name.to_owned() }).await
    }

    pub async fn pause(&self, name: &str) -> Result<Description, RequestError> {
        self.change(ManageRequest::Pause { name: name.to_owned() }).await
    }

    /// Ends a pause, and has halted partitions try again.
    pub async fn resume(&self, name: &str) -> Result<Description, RequestError> {
        self.change(ManageRequest::Resume { name: name.to_owned() }).await
    }

    /// Runs an earlier version again; without a number the one before the present.
    pub async fn rollback(&self, name: &str, version: Option<u32>) -> Result<Description, RequestError> {
        self.change(ManageRequest::Rollback { name: name.to_owned(), version }).await
    }

    /// Sends a dead-letter topic through the deployment once more; without a name the one of its policy.
    pub async fn replay(&self, name: &str, topic: Option<&str>) -> Result<Description, RequestError> {
        let topic = topic.map(str::to_owned);
        self.change(ManageRequest::Replay { name: name.to_owned(), topic }).await
    }

    /// Removes the deployment and its committed offsets.
    pub async fn delete(&self, name: &str) -> Result<(), RequestError> {
        self.manage(ManageRequest::Delete { name: name.to_owned() }, |reply| match reply {
            ManageReply::Deleted => Some(()),
            _ => None,
        })
        .await
    }

    /// A request that is answered with the deployment as it then is.
    async fn change(&self, request: ManageRequest) -> Result<Description, RequestError> {
        self.manage(request, |reply| match reply {
            ManageReply::Deployment(description) => Some(*description),
            _ => None,
        })
        .await
    }

    async fn manage<T>(
        &self,
        request: ManageRequest,
        expected: impl FnOnce(ManageReply) -> Option<T>,
    ) -> Result<T, RequestError> {
        let api = PrivateApi::ManagePlugins;
        let broker = self.cluster.controller();
        let (lane, _) = broker.open_lane().await?;
        let answer = broker.exchange_private(&lane, api, Payload::from(json(&request))).await?;
        let reply = from_json::<Result<ManageReply, PluginError>>(&answer);
        let reply = reply.map_err(|error| broker.malformed(api.name(), error.to_string()))?;
        expected(reply?)
            .ok_or_else(|| broker.malformed(api.name(), "it belongs to another kind of request".to_owned()))
    }
}

/// The next bytes from `offset` on, none at the end; `None` beyond it.
fn piece(module: &Bytes, offset: u64) -> Option<Bytes> {
    let total = module.len() as u64;
    let end = total.min(offset.saturating_add(CHUNK_BYTES));
    let (start, end) = (usize::try_from(offset).ok()?, usize::try_from(end).ok()?);
    (start <= end).then(|| module.slice(start..end))
}
