//! Deployments of plugins in the image: their versions, and what operators have asked of them.
//!
//! A deployment is found by its name, a partitioner also by the topic that it serves. Neither needs the topics
//! that a definition names to exist: who makes a deployment checks them, and a topic may go later.

use std::sync::Arc;

use millrace_base::{TopicId, TopicPartition};
use millrace_protocol::plugins::{Definition, Kind, Replay};
use serde::{Deserialize, Serialize};

/// Versions of one deployment that are kept to be rolled back to.
pub const DEPLOYMENT_VERSIONS_KEPT: usize = 20;

/// A plugin on its topics, under a name that an operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub name: Arc<str>,
    /// Index of the command that made it: one of the same name that is made later is another.
    pub created: u64,
    /// The oldest first, at most [`DEPLOYMENT_VERSIONS_KEPT`], never without the current one.
    pub versions: Vec<Arc<DeploymentVersion>>,
    /// Number of the version that runs.
    pub current: u32,
    /// Number of the version that comes next: numbers always grow, also after a rollback.
    pub next_version: u32,
    pub paused: bool,
    /// Grows with every resumption, so that halted partitions see that they are to try again.
    pub resumes: u32,
    /// The last replay, finished or not.
    pub replay: Option<Replay>,
    /// What its input was when the deployment began to name that topic; `None` if there was no such topic.
    /// Where its definition says to start is about these partitions alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<DeploymentInput>,
}

/// A topic as it was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentInput {
    pub topic: TopicId,
    pub partitions: i32,
}

/// What a deployment was or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentVersion {
    pub number: u32,
    /// By the clock of the broker that was asked, since the Unix epoch.
    pub created_ms: i64,
    pub definition: Definition,
}

impl Deployment {
    /// The version that runs.
    pub fn version(&self) -> &Arc<DeploymentVersion> {
        let current = self.versions.iter().find(|version| version.number == self.current);
        current.or(self.versions.last()).expect("versions are never empty and hold the current one")
    }

    /// Whether the input had this partition before the deployment began to read it. All records of any other are
    /// younger than the deployment, whatever name their topic has.
    pub fn began_with(&self, partition: TopicPartition) -> bool {
        self.input
            .is_some_and(|input| input.topic == partition.topic && partition.partition < input.partitions)
    }

    /// The topic that it is the partitioner of.
    pub(crate) fn partitions_topic(&self) -> Option<&str> {
        let definition = &self.version().definition;
        (definition.kind == Kind::Partitioner).then_some(definition.topic.as_str())
    }
}
