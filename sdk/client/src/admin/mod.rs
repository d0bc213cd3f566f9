//! Administration of topics, settings and logs.

mod types;

pub use types::{
    BrokerInfo, ClusterInfo, ConfigChange, ConfigEntry, ConfigResource, ListedOffset, LogDirInfo, NewTopic,
    OffsetSpec, PartitionInfo, ReplicaSize, TopicInfo, TopicListing,
};

use crate::client::Client;
use crate::error::RequestError;

/// Administrative requests; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    _client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { _client: client }
    }

    /// Creates a topic and waits until it can be used; returns it as created.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicInfo, RequestError> {
        let _ = topic;
        unimplemented!()
    }

    /// Checks what [`Admin::create_topic`] would do, without doing it.
    pub async fn validate_topic(&self, topic: NewTopic) -> Result<(), RequestError> {
        let _ = topic;
        unimplemented!()
    }

    /// All topics, by name; internal ones only if asked for.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<TopicListing>, RequestError> {
        let _ = internal;
        unimplemented!()
    }

    pub async fn describe_topic(&self, topic: &str) -> Result<TopicInfo, RequestError> {
        let _ = topic;
        unimplemented!()
    }

    pub async fn delete_topic(&self, topic: &str) -> Result<(), RequestError> {
        let _ = topic;
        unimplemented!()
    }

    /// Raises the number of partitions of `topic` to `total`.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), RequestError> {
        let _ = (topic, total);
        unimplemented!()
    }

    /// Settings of a topic or broker; `names` empty means all.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        names: &[&str],
    ) -> Result<Vec<ConfigEntry>, RequestError> {
        let _ = (resource, names);
        unimplemented!()
    }

    /// Changes some settings and leaves the others as they are (KIP-339).
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
    ) -> Result<(), RequestError> {
        let _ = (resource, changes);
        unimplemented!()
    }

    /// Deletes the records of a partition before `before` (-1: all that are committed); returns the new first
    /// offset.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> Result<i64, RequestError> {
        let _ = (topic, partition, before);
        unimplemented!()
    }

    /// Looks up one offset in each of `partitions`, in their order.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<Vec<ListedOffset>, RequestError> {
        let _ = (topic, partitions, spec);
        unimplemented!()
    }

    pub async fn describe_cluster(&self) -> Result<ClusterInfo, RequestError> {
        unimplemented!()
    }

    /// Data directories of one broker with the sizes of the replicas in them.
    pub async fn describe_log_dirs(&self, broker: i32) -> Result<Vec<LogDirInfo>, RequestError> {
        let _ = broker;
        unimplemented!()
    }
}
