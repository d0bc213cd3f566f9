//! Identifiers that travel between crates, on the wire and on disk.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::random::Random;

/// Position of a record in its partition: 0 for the first ever written, growing by one a record.
pub type Offset = i64;

/// A broker's number in its cluster, chosen by the operator and never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the leaders a partition has had; a request with an older one is fenced (KIP-101, KIP-320).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// What the wire carries where the sender does not know the epoch.
    pub const UNKNOWN: Self = Self(-1);
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one idempotent or transactional producer (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// What a batch carries when its producer is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity for life; a topic created again under the same name has another (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// What the wire carries where a topic is named instead.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Another id with each call, by what `random` draws.
    pub fn new(random: &Random) -> Self {
        Self(random.uuid())
    }

    /// A fresh identity.
    pub fn random() -> Self {
        Self::new(&Random::system())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for TopicId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// One partition of one topic. The log knows partitions by this alone, never by a topic's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: i32,
}

impl TopicPartition {
    pub const fn new(topic: TopicId, partition: i32) -> Self {
        Self { topic, partition }
    }
}

/// `<topic id as 32 hex digits>-<partition>`, also the name of the partition's directory.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for TopicPartition {
    type Err = ParseTopicPartitionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseTopicPartitionError(text.to_owned());
        let (topic, partition) = text.rsplit_once('-').ok_or_else(error)?;
        let partition: i32 = partition.parse().map_err(|_| error())?;
        if partition < 0 {
            return Err(error());
        }
        Ok(Self { topic: topic.parse().map_err(|_| error())?, partition })
    }
}

/// A text that is not `<topic id>-<partition>`.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a partition: expected <topic id of 32 hex digits>-<partition>")]
pub struct ParseTopicPartitionError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_survives_its_directory_name() {
        let partition = TopicPartition::new(TopicId::random(), 17);
        assert_eq!(partition.to_string().parse::<TopicPartition>().unwrap(), partition);
    }

    #[test]
    fn names_that_are_no_partition_are_refused() {
        for name in
            ["", "wal", "00-1", "0f0e0d0c0b0a09080706050403020100", "0f0e0d0c0b0a09080706050403020100--1"]
        {
            assert!(name.parse::<TopicPartition>().is_err(), "{name}");
        }
    }
}
