//! Every change that the cluster's metadata can undergo, as it stands in the Raft log.
//!
//! # Version rule
//!
//! A command is written as JSON together with the version that introduced its form ([`Command::version`]).
//! What is in the log must mean the same to every broker, so an older broker may neither skip a command nor
//! half understand one: unknown variants and unknown fields are errors, and a broker that meets them stops
//! with a message that asks for its upgrade. Therefore a new variant, or a new field (with a
//! `#[serde(default)]` that keeps the old meaning), raises [`COMMAND_VERSION`], and `version()` answers the
//! new number only for commands that make use of it: a cluster of mixed releases works until somebody uses
//! something new. Nothing is ever removed or given another meaning.

use std::collections::BTreeMap;

use millrace_base::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

/// The newest command version that this build writes and understands.
pub const COMMAND_VERSION: u32 = 1;

/// One change. Decided by [`crate::apply::apply`], which may also refuse it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Names the cluster, once: a cluster that has a name keeps it.
    InitCluster {
        cluster_id: String,
    },
    /// A broker has started, or advertises another address.
    RegisterBroker {
        registration: BrokerRegistration,
    },
    /// `configs` are overrides that the caller has validated.
    CreateTopic {
        name: String,
        id: TopicId,
        partitions: Vec<PartitionAssignment>,
        configs: BTreeMap<String, String>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// `current` is the number of partitions that the caller saw; the new ones are numbered from it.
    AddPartitions {
        topic_id: TopicId,
        current: i32,
        new: Vec<PartitionAssignment>,
    },
    /// All changes of one resource, or none. The caller has validated them.
    AlterConfigs {
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
    },
    /// Reserves a block of producer ids for a broker to hand out.
    AllocateProducerIds {
        broker: BrokerId,
        count: i64,
    },
    AlterPartition {
        partition: TopicPartition,
        change: PartitionChange,
    },
}

impl Command {
    /// The command version that introduced this command as it stands.
    pub const fn version(&self) -> u32 {
        match self {
            Self::InitCluster { .. }
            | Self::RegisterBroker { .. }
            | Self::CreateTopic { .. }
            | Self::DeleteTopic { .. }
            | Self::AddPartitions { .. }
            | Self::AlterConfigs { .. }
            | Self::AllocateProducerIds { .. }
            | Self::AlterPartition { .. } => 1,
        }
    }
}

/// What a broker tells the cluster about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerRegistration {
    pub id: BrokerId,
    /// The address that clients are told.
    pub host: String,
    pub port: u16,
    /// Replicas of one partition are spread over racks.
    pub rack: Option<String>,
}

/// The replicas of a new partition; the first is its preferred leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionAssignment {
    pub replicas: Vec<BrokerId>,
}

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigResource {
    Topic(TopicId),
    /// `None` is the default of all brokers.
    Broker(Option<BrokerId>),
}

/// Sets one name to a value, or removes it (`None`) so that the default holds again. Kafka's append and
/// subtract are resolved by the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    pub name: String,
    pub value: Option<String>,
}

/// Another leader or other in-sync replicas. The epochs are those the decision was based on; if the
/// partition has moved on since, the change is refused (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionChange {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// `None`: nobody can lead for now. Any change of leader starts a new leader epoch.
    pub leader: Option<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Allows a leader from outside the in-sync replicas, at the price of records.
    pub unclean: bool,
}
