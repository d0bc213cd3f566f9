//! What the tests of this crate run on: the metadata of one broker, and its partitions in memory.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

pub(crate) mod guests;
mod host;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::{BrokerId, TopicId, TopicPartition};
use millrace_coordinator::{TopicFailure, TopicShape};
use millrace_metadata::{
    BrokerRegistration, Command, Metadata, MetadataOptions, NoPeers, PartitionAssignment,
};
use millrace_test_partitions::Topics;
pub(crate) use millrace_test_partitions::{MemoryPartitions, PATIENCE, batch_of};

pub(crate) use host::TestHost;

/// One broker's metadata in a directory that goes with it, and its partitions: those that the metadata has.
pub(crate) struct TestCluster {
    pub metadata: Metadata,
    pub partitions: MemoryPartitions,
    pub dir: tempfile::TempDir,
}

impl TestCluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registration =
            BrokerRegistration { id: BrokerId(1), host: "localhost".into(), port: 9092, rack: None };
        let options = MetadataOptions::single(dir.path().join("metadata"), registration);
        let metadata = Metadata::start(options, Arc::new(NoPeers)).await.unwrap();
        let partitions = MemoryPartitions::new(Arc::new(MetadataTopics(metadata.clone())));
        Self { metadata, partitions, dir }
    }

    /// Makes a topic.
    pub async fn topic(&self, name: &str, partitions: i32) -> TopicId {
        self.partitions.create_topic(name, partitions, BTreeMap::new()).await.unwrap()
    }
}

/// The topics of the metadata.
struct MetadataTopics(Metadata);

impl Topics for MetadataTopics {
    fn find(&self, name: &str) -> Option<TopicShape> {
        let image = self.0.image();
        let topic = image.topic_by_name(name)?;
        Some(TopicShape { id: topic.id, partitions: topic.partition_count() })
    }

    fn has(&self, partition: TopicPartition) -> bool {
        self.0.image().partition(&partition).is_some()
    }

    fn create(
        &self,
        name: String,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicId, TopicFailure>> {
        async move {
            let id = TopicId::random();
            let assignment = PartitionAssignment { replicas: vec![BrokerId(1)] };
            let partitions = vec![assignment; usize::try_from(partitions).unwrap()];
            let command = Command::CreateTopic { name: name.clone(), id, partitions, configs };
            match self.0.submit(command).await {
                Ok(_) => Ok(id),
                Err(error) => Err(TopicFailure { topic: name, reason: error.to_string(), passing: false }),
            }
        }
        .boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut image = self.0.watch();
        async move {
            // Metadata that are gone change no more, and the test is over.
            let _ = image.changed().await;
        }
        .boxed()
    }
}

mod tests {
    use std::sync::Arc;

    use millrace_base::TopicPartition;
    use millrace_coordinator::Partitions;
    use millrace_metadata::Command;
    use millrace_test_partitions::conformance;

    use super::TestCluster;

    impl conformance::Fixture for TestCluster {
        fn partitions(&self) -> Arc<dyn Partitions> {
            Arc::new(self.partitions.clone())
        }

        async fn topic(&self, name: &str) -> TopicPartition {
            TopicPartition::new(Self::topic(self, name, 1).await, 0)
        }

        async fn lagging_topic(&self, name: &str) -> TopicPartition {
            let partition = TopicPartition::new(Self::topic(self, name, 1).await, 0);
            self.partitions.hold_acknowledgements(partition, true);
            partition
        }

        async fn catch_up(&self, partition: TopicPartition) {
            self.partitions.hold_acknowledgements(partition, false);
        }

        async fn lead(&self, partition: TopicPartition, here: bool) {
            self.partitions.set_led(partition, here);
        }

        async fn delete_topic(&self, name: &str) {
            let id = self.metadata.image().topic_by_name(name).unwrap().id;
            self.metadata.submit(Command::DeleteTopic { id }).await.unwrap();
        }

        fn now_ms(&self) -> i64 {
            1_000
        }
    }

    #[tokio::test]
    async fn the_partitions_of_the_metadata_are_as_the_port_says() {
        conformance::run(&TestCluster::start().await).await;
    }
}
