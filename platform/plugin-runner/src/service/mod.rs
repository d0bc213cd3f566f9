//! Answers requests about plugins: checks what is asked, has the metadata carry it out, and tells what is.
//!
//! Invariants: a deployment that is accepted can be run (its module is compiled, its topics are there, what it
//! imports is granted); no answer holds a secret; what a module's bytes are needed for is never removed.

mod deploy;
mod describe;
mod garbage;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_base::{Clock, TopicPartition};
use millrace_coordinator::Partitions;
use millrace_metadata::{Command, Deployment, Metadata, Outcome, Rejection, SubmitError};
use millrace_protocol::plugins::{
    ErrorKind, Kind, ManageReply, ManageRequest, ModuleChunk, ModuleDigest, PartitionProgress,
    PartitionRecords, PluginError, PluginService, UploadReply,
};
use tokio::sync::Semaphore;

use crate::partitioners::HostSource;
use crate::spec::GrantSource;
use crate::{Modules, Partitioners};
use garbage::Pins;

/// Requests that are worked on at one time: each may hold a definition, and have a module compiled.
const REQUESTS_MAX: usize = 64;

/// How long an answer waits for a change to have reached the workers.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(10);

/// What is known of the work itself; whoever runs it implements it.
pub trait Progress: Send + Sync + 'static {
    /// Where a deployment stands in each partition of its input that this broker leads.
    fn partitions(&self, name: &str) -> Vec<PartitionProgress>;

    /// The same of its last replay; may be empty once that is finished.
    fn replay(&self, name: &str) -> Vec<PartitionProgress>;

    /// Completes when the work reflects the metadata's image `index`, and every partition of the deployment
    /// knows where it begins.
    fn established<'a>(&'a self, name: &'a str, index: u64) -> BoxFuture<'a, ()>;
}

/// What a service is made of.
pub struct ServiceParts {
    pub metadata: Metadata,
    pub partitions: Arc<dyn Partitions>,
    pub modules: Modules,
    /// Makes the plugin host for the first who needs it.
    pub host: HostSource,
    pub grant_source: Arc<GrantSource>,
    pub partitioners: Arc<Partitioners>,
    pub progress: Arc<dyn Progress>,
    pub clock: Arc<dyn Clock>,
}

/// See the module's text.
pub struct Service {
    parts: ServiceParts,
    /// Modules that a deployment in the making needs.
    pins: Arc<Pins>,
    requests: Arc<Semaphore>,
}

impl Service {
    pub fn new(parts: ServiceParts) -> Self {
        Self { parts, pins: Arc::default(), requests: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    async fn answer(&self, request: ManageRequest) -> Result<ManageReply, PluginError> {
        match request {
            ManageRequest::Inspect { module } => self.inspect(module).await,
            ManageRequest::Deploy { name, definition, validate_only } => {
                self.deploy(name, definition, validate_only).await
            }
            ManageRequest::List => Ok(ManageReply::Deployments(self.list())),
            ManageRequest::Describe { name } => self.describe(&name),
            ManageRequest::Pause { name } => self.change(&name, paused(&name, true)).await,
            ManageRequest::Resume { name } => self.change(&name, paused(&name, false)).await,
            ManageRequest::Rollback { name, version } => {
                let command = Command::RollBackDeployment { name: name.clone(), version };
                self.change(&name, command).await
            }
            ManageRequest::Replay { name, topic } => self.replay(&name, topic).await,
            ManageRequest::Delete { name } => self.delete(name).await,
        }
    }

    async fn inspect(&self, module: ModuleDigest) -> Result<ManageReply, PluginError> {
        let info = self.parts.modules.info(module).await?;
        info.map(ManageReply::Module).ok_or_else(|| no_such_module(module))
    }

    /// Changes a deployment, and tells how it is then.
    async fn change(&self, name: &str, command: Command) -> Result<ManageReply, PluginError> {
        self.submit(command).await?;
        let index = self.parts.metadata.image().applied_index();
        let established = self.parts.progress.established(name, index);
        if tokio::time::timeout(ESTABLISHED_WITHIN, established).await.is_err() {
            tracing::warn!(deployment = name, "a deployment's change takes long to reach its partitions");
        }
        self.describe(name)
    }

    async fn delete(&self, name: String) -> Result<ManageReply, PluginError> {
        let before = Arc::clone(known(&self.parts.metadata.image(), &name)?);
        self.submit(Command::DeleteDeployment { name }).await?;
        self.remove_modules_of(&before).await;
        Ok(ManageReply::Deleted)
    }

    async fn replay(&self, name: &str, topic: Option<String>) -> Result<ManageReply, PluginError> {
        let image = self.parts.metadata.image();
        let deployment = known(&image, name)?;
        let definition = &deployment.version().definition;
        if definition.kind == Kind::Partitioner {
            let reason = format!("deployment '{name}' is a partitioner, which reads no topic to be replayed");
            return Err(PluginError::invalid(reason));
        }
        let topic = topic.or_else(|| definition.dead_letter_topic().map(str::to_owned)).ok_or_else(|| {
            PluginError::invalid(format!(
                "deployment '{name}' has no dead-letter topic in its failure policy; name the topic to replay"
            ))
        })?;
        let found = image.topic_by_name(&topic).ok_or_else(|| deploy::no_such_topic(&topic, "to replay"))?;
        if !self.unfinished_replay(deployment).is_empty() {
            return Err(PluginError::new(
                ErrorKind::Conflict,
                format!("deployment '{name}' still replays; wait until it has come to the end of that"),
            ));
        }
        let mut until = Vec::new();
        for partition in 0..found.partition_count() {
            let bounds = self.parts.partitions.bounds(TopicPartition::new(found.id, partition));
            let end = bounds.map(|bounds| bounds.end).ok_or_else(|| {
                PluginError::unavailable(format!(
                    "this broker does not lead partition {partition} of topic '{topic}', and cannot tell where \
                     it ends"
                ))
            })?;
            until.push(end);
        }
        self.change(name, Command::ReplayDeployment { name: name.to_owned(), topic, until }).await
    }

    async fn submit(&self, command: Command) -> Result<Outcome, PluginError> {
        self.parts.metadata.submit(command).await.map_err(|error| match error {
            SubmitError::Rejected(rejection) => rejected(&rejection),
            other => PluginError::unavailable(other.to_string()),
        })
    }
}

impl PluginService for Service {
    fn manage(&self, request: ManageRequest) -> BoxFuture<'_, Result<ManageReply, PluginError>> {
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            let busy = format!("{REQUESTS_MAX} requests about plugins are under way already; try again");
            return Box::pin(std::future::ready(Err(PluginError::unavailable(busy))));
        };
        Box::pin(async move {
            let _permit = permit;
            self.answer(request).await
        })
    }

    fn upload(&self, chunk: ModuleChunk) -> BoxFuture<'_, Result<UploadReply, PluginError>> {
        Box::pin(self.parts.modules.upload(chunk))
    }

    fn partition(&self, request: PartitionRecords) -> BoxFuture<'_, Result<Vec<u32>, PluginError>> {
        Box::pin(self.parts.partitioners.partition(request))
    }

    fn partitioner(&self, topic: &str) -> Option<String> {
        self.parts.metadata.image().partitioner(topic).map(|name| (**name).to_owned())
    }
}

fn paused(name: &str, paused: bool) -> Command {
    Command::SetDeploymentPaused { name: name.to_owned(), paused }
}

fn known<'a>(image: &'a millrace_metadata::Image, name: &str) -> Result<&'a Arc<Deployment>, PluginError> {
    image.deployment(name).ok_or_else(|| rejected(&Rejection::UnknownDeployment { name: name.to_owned() }))
}

fn no_such_module(module: ModuleDigest) -> PluginError {
    PluginError::not_found(format!("there is no module {module} on this broker; upload it first"))
}

/// The metadata's refusal, as the operator is told.
fn rejected(rejection: &Rejection) -> PluginError {
    let kind = match rejection {
        Rejection::UnknownDeployment { .. } | Rejection::UnknownDeploymentVersion { .. } => {
            ErrorKind::NotFound
        }
        Rejection::InvalidDeployment { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Conflict,
    };
    PluginError::new(kind, rejection.to_string())
}

#[cfg(test)]
mod tests;
