//! What became of a command: its result, or the reason for which the state machine refused it.

use millrace_base::{BrokerId, LeaderEpoch, ProducerId, TopicId, TopicPartition};
use millrace_protocol::plugins::Kind;
use serde::{Deserialize, Serialize};

/// The result of an accepted command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The cluster's name; not the proposed one if it had one already.
    Cluster {
        cluster_id: String,
    },
    /// The epoch grows with every registration.
    BrokerRegistered {
        epoch: i64,
    },
    /// Also for a topic that this very command (by its id) has created before.
    TopicCreated {
        id: TopicId,
    },
    TopicDeleted,
    /// How many partitions the topic has now.
    PartitionsAdded {
        count: i32,
    },
    ConfigsAltered,
    /// The block `first..first + count`.
    ProducerIds {
        first: ProducerId,
        count: i64,
    },
    PartitionAltered {
        leader_epoch: LeaderEpoch,
        partition_epoch: i32,
    },
    /// How many partitions have a new leader epoch.
    LeaderEpochsStarted {
        partitions: u32,
    },
    /// The version that is current now.
    DeploymentPut {
        version: u32,
    },
    DeploymentChanged,
    DeploymentDeleted,
}

/// A command that the state machine refused; the image is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("{0}")]
    InvalidTopicName(#[from] crate::topic_name::TopicNameError),
    #[error("topic '{name}' exists already")]
    TopicExists { name: String },
    #[error("topic '{name}' collides with topic '{existing}': '.' and '_' count as the same in metric names")]
    TopicNameCollision { name: String, existing: String },
    #[error("topic id {id} is in use by another topic")]
    TopicIdInUse { id: TopicId },
    #[error("there is no topic with id {id}")]
    UnknownTopic { id: TopicId },
    #[error("there is no partition {partition}")]
    UnknownPartition { partition: TopicPartition },
    #[error("there is no broker {id}")]
    UnknownBroker { id: BrokerId },
    #[error("a topic of {count} partitions is refused: allowed are 1 to {max}")]
    InvalidPartitionCount { count: i64, max: i32 },
    #[error("the topic has {actual} partitions, not {expected} as the request assumed: try again")]
    PartitionCountChanged { expected: i32, actual: i32 },
    #[error("the replicas of partition {partition} are refused: {reason}")]
    InvalidReplicaAssignment { partition: i32, reason: String },
    #[error("setting '{name}' has changed meanwhile: try again")]
    ConfigChanged { name: String },
    #[error("{count} producer ids cannot be reserved at once: allowed are 1 to {max}")]
    InvalidProducerIdCount { count: i64, max: i64 },
    #[error("all producer ids are used up")]
    ProducerIdsExhausted,
    #[error("leader epoch {given} is out of date, {current} is current")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("leader epoch {given} is unknown, {current} is current")]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("partition epoch {given} was assumed, {current} is current")]
    InvalidPartitionEpoch { given: i32, current: i32 },
    #[error("the in-sync replicas are refused: {reason}")]
    InvalidIsr { reason: String },
    #[error("broker {leader} cannot lead: {reason}")]
    IneligibleLeader { leader: BrokerId, reason: String },
    #[error("{reason}")]
    InvalidDeployment { reason: String },
    #[error("there are {max} deployments, and no more are allowed: delete one that is not needed")]
    TooManyDeployments { max: usize },
    #[error("there is no deployment '{name}'")]
    UnknownDeployment { name: String },
    #[error("deployment '{name}' has no version {version}: kept are {}", listed(kept))]
    UnknownDeploymentVersion { name: String, version: u32, kept: Vec<u32> },
    #[error("deployment '{name}' has no version before {current}: kept are {}", listed(kept))]
    NoEarlierDeploymentVersion { name: String, current: u32, kept: Vec<u32> },
    #[error("deployment '{name}' is a {current} and cannot become a {given}: deploy it under another name")]
    DeploymentKindChanged { name: String, current: Kind, given: Kind },
    #[error(
        "topic '{topic}' has a partitioner already, deployment '{existing}': delete that one first, or deploy a \
         new version of it"
    )]
    SecondPartitioner { topic: String, existing: String },
}

fn listed(versions: &[u32]) -> String {
    versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// What the state machine answers for one Raft log entry: one answer per command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers(pub(crate) Vec<Answer>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done(Outcome),
    Rejected(Rejection),
}
