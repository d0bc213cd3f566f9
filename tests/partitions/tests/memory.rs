//! The double is as the port says, and fails as it is told.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_base::TopicPartition;
use millrace_coordinator::{AppendFailure, Partitions, ReadFailure};
use millrace_test_partitions::{AcknowledgementFault, MemoryPartitions, MemoryTopics, batch_of, conformance};

struct Fixture {
    topics: Arc<MemoryTopics>,
    partitions: MemoryPartitions,
}

impl Fixture {
    fn new() -> Self {
        let topics = Arc::<MemoryTopics>::default();
        Self { partitions: MemoryPartitions::new(topics.clone()), topics }
    }
}

impl conformance::Fixture for Fixture {
    fn partitions(&self) -> Arc<dyn Partitions> {
        Arc::new(self.partitions.clone())
    }

    async fn topic(&self, name: &str) -> TopicPartition {
        let id = self.partitions.create_topic(name, 1, BTreeMap::new()).await.unwrap();
        TopicPartition::new(id, 0)
    }

    async fn lagging_topic(&self, name: &str) -> TopicPartition {
        let partition = self.topic(name).await;
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
        self.topics.delete(name);
    }

    fn now_ms(&self) -> i64 {
        1_000
    }
}

#[tokio::test]
async fn partitions_in_memory_are_as_the_port_says() {
    conformance::run(&Fixture::new()).await;
}

#[tokio::test]
async fn faults_come_once_each_and_in_order() {
    let fixture = Fixture::new();
    let (partitions, id) = (&fixture.partitions, conformance::Fixture::topic(&fixture, "t").await);
    let full = || AppendFailure::Passing("full".into());
    partitions.fail_appends(id, [full()]);
    partitions.fault(id, [AcknowledgementFault::Stored(full()), AcknowledgementFault::Lost(full())]);
    partitions.fail_reads(id, [ReadFailure::Storage("flipped".into())]);
    let epoch = partitions.leadership(id).unwrap();
    assert_eq!(partitions.append(id, &[batch_of(5, &["a"])]).err(), Some(full()));
    assert_eq!(partitions.append(id, &[batch_of(5, &["b"])]).unwrap().await, Err(full()));
    assert_eq!(partitions.values(id), ["b"], "it is stored");
    assert_eq!(partitions.append(id, &[batch_of(5, &["c"])]).unwrap().await, Err(full()));
    assert_eq!(partitions.values(id), ["b"], "it is lost");
    assert_eq!(partitions.leadership(id).unwrap().0, epoch.0 + 1, "as only another leader can lose it");
    assert!(partitions.read(id, 0, 1).await.is_err());
    assert_eq!(partitions.read(id, 0, 1).await.unwrap().len(), 1);
    partitions.append(id, &[batch_of(5, &["d"])]).unwrap().await.unwrap();
    partitions.hold_acknowledgements(id, true);
    let lost = partitions.append(id, &[batch_of(5, &["e"])]).unwrap();
    partitions.set_led(id, false);
    partitions.truncate(id);
    partitions.set_led(id, true);
    partitions.hold_acknowledgements(id, false);
    assert_eq!(lost.await, Err(AppendFailure::NotHere));
    assert_eq!((partitions.values(id), partitions.log_end(id)), (vec!["b".into(), "d".into()], Some(2)));
}
