//! Values that [`crate::Admin`] takes and returns.

use crate::cluster::BrokerInfo;
use std::collections::BTreeMap;

/// A topic to be created.
#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: String,
    /// -1: the broker's default.
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i16,
    /// Topic settings by Kafka's names.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with `partitions` partitions and the broker's default replication.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: -1, configs: BTreeMap::new() }
    }

    #[must_use]
    pub fn replication_factor(mut self, factor: i16) -> Self {
        self.replication_factor = factor;
        self
    }

    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// One line of a topic list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    pub name: String,
    /// The topic's id as 32 hexadecimal digits.
    pub id: String,
    pub partitions: usize,
    pub internal: bool,
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    /// The topic's id as 32 hexadecimal digits.
    pub id: String,
    pub internal: bool,
    pub partitions: Vec<PartitionInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    pub partition: i32,
    /// None while there is no leader.
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    Broker(i32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// None for a sensitive value.
    pub value: Option<String>,
    pub is_default: bool,
    pub read_only: bool,
    pub sensitive: bool,
    /// Where the value comes from, in Kafka's words (`DYNAMIC_TOPIC_CONFIG`, `DEFAULT_CONFIG`, …).
    pub source: String,
    /// None where the broker has none.
    pub documentation: Option<String>,
}

/// One change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    Set {
        name: String,
        value: String,
    },
    /// Back to the default.
    Delete {
        name: String,
    },
    /// Adds to a list.
    Append {
        name: String,
        value: String,
    },
    /// Takes out of a list.
    Subtract {
        name: String,
        value: String,
    },
}

impl ConfigChange {
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Set { name: name.into(), value: value.into() }
    }

    pub fn delete(name: impl Into<String>) -> Self {
        Self::Delete { name: name.into() }
    }
}

/// Which offset to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    Latest,
    /// The first record with this timestamp (milliseconds) or a later one.
    Timestamp(i64),
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub partition: i32,
    /// None where no record matches.
    pub offset: Option<i64>,
    /// Timestamp of that record, where the lookup was by time.
    pub timestamp: Option<i64>,
    pub leader_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    pub cluster_id: String,
    pub controller: Option<i32>,
    pub brokers: Vec<BrokerInfo>,
}

/// One data directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirInfo {
    pub path: String,
    /// Name of the error that the directory is in, if any.
    pub error: Option<String>,
    /// Size of the volume, where the broker tells.
    pub total_bytes: Option<u64>,
    /// Room left on the volume, where the broker tells.
    pub usable_bytes: Option<u64>,
    pub replicas: Vec<ReplicaSize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSize {
    pub topic: String,
    pub partition: i32,
    pub bytes: u64,
}
