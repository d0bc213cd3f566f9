//! What runs on the broker itself reads and appends by the same rules as clients do.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::records::{batch, batch_at, now_ms, records};
use common::requests::*;
use common::{NODE, PATIENCE, TestBroker};
use futures::FutureExt;
use millrace_base::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use millrace_broker::LocalPartitions;
use millrace_coordinator::{AppendFailure, Bounds, Partitions};
use millrace_metadata::{BrokerRegistration, Command, PartitionChange};
use millrace_protocol::batch::{Batch, ProducerState};
use millrace_protocol::messages::create_topics_request::CreatableReplicaAssignment;
use millrace_protocol::messages::{DeleteTopicsRequest, delete_topics_request::DeleteTopicState};
use millrace_test_partitions::conformance;

const ROOM: usize = 1 << 20;

fn parse(bytes: Bytes) -> Vec<Batch> {
    vec![Batch::parse(bytes).unwrap()]
}

fn values(batches: Vec<Batch>) -> Vec<(i64, String)> {
    batches.into_iter().flat_map(|batch| records(Some(batch.bytes))).collect()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Appends a record of each value and waits until it is acknowledged.
async fn append(local: &LocalPartitions, id: TopicPartition, values: &[&str]) {
    let acknowledged = local.append(id, &parse(batch(values))).unwrap();
    in_time(acknowledged).await.unwrap();
}

async fn topic(broker: &TestBroker, name: &str, settings: &[(&str, &str)]) -> TopicPartition {
    TopicPartition::new(TopicId(broker.client().create_topic(name, 1, settings).await), 0)
}

struct Fixture(TestBroker);

/// A broker that never fetches.
const ABSENT: BrokerId = BrokerId(2);

impl Fixture {
    /// Has the controller change who leads a partition and who is in sync.
    async fn alter(&self, partition: TopicPartition, leader: BrokerId, isr: &[BrokerId]) {
        let image = self.0.metadata.image();
        let now = image.partition(&partition).unwrap();
        let change = PartitionChange {
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            leader: Some(leader),
            isr: isr.to_vec(),
            unclean: false,
        };
        self.0.metadata.submit(Command::AlterPartition { partition, change }).await.unwrap();
    }

    /// A topic with a replica that never fetches.
    async fn replicated_topic(&self, name: &str, settings: &[(&str, &str)]) -> TopicPartition {
        let registration =
            BrokerRegistration { id: ABSENT, host: "absent.example".into(), port: 1, rack: None };
        self.0.metadata.submit(Command::RegisterBroker { registration }).await.unwrap();
        placed_topic(&self.0, name, &[NODE, ABSENT], settings).await
    }
}

/// A topic of one partition on these brokers.
async fn placed_topic(
    broker: &TestBroker,
    name: &str,
    replicas: &[BrokerId],
    settings: &[(&str, &str)],
) -> TopicPartition {
    let replicas = replicas.iter().map(|id| millrace_protocol::messages::BrokerId(id.0)).collect();
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(replicas);
    let wanted = new_topic(name, -1, settings).with_replication_factor(-1).with_assignments(vec![assignment]);
    let response = broker.client().call(7, create(vec![wanted])).await;
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    TopicPartition::new(TopicId(response.topics[0].topic_id), 0)
}

impl conformance::Fixture for Fixture {
    fn partitions(&self) -> Arc<dyn Partitions> {
        Arc::new(self.0.broker.local_partitions())
    }

    async fn topic(&self, name: &str) -> TopicPartition {
        placed_topic(&self.0, name, &[NODE], &[]).await
    }

    async fn lagging_topic(&self, name: &str) -> TopicPartition {
        self.replicated_topic(name, &[]).await
    }

    async fn catch_up(&self, partition: TopicPartition) {
        self.alter(partition, NODE, &[NODE]).await;
    }

    async fn lead(&self, partition: TopicPartition, here: bool) {
        self.alter(partition, if here { NODE } else { ABSENT }, &[NODE, ABSENT]).await;
    }

    async fn delete_topic(&self, name: &str) {
        delete(&self.0, name).await;
    }

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}

async fn delete(broker: &TestBroker, name: &str) {
    let delete = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))])
        .with_timeout_ms(1000);
    assert_eq!(broker.client().call(6, delete).await.responses[0].error_code, 0);
}

#[tokio::test]
async fn the_brokers_partitions_are_as_the_port_says() {
    conformance::run(&Fixture(TestBroker::start().await)).await;
}

#[tokio::test]
async fn clients_see_what_is_appended_and_it_is_read_back_from_disk() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic(&broker, "t", &[]).await;
    append(&local, id, &["a", "b"]).await;
    append(&local, id, &["c"]).await;
    let all = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert!(broker.metric("millrace_topic_bytes_in_total", &[("topic", "t")]) > 100.0);
    assert_eq!(broker.client().read("t", 0, 2).await, ["c"], "clients see the same");

    let broker = broker.restart().await;
    assert_eq!(local.bounds(id), None, "it does not outlive its broker");
    assert_eq!((local.leadership(id), local.log_end(id)), (None, None));
    assert_eq!(in_time(local.leadership_beyond(id, Some(LeaderEpoch(0)))).await, None);
    let local = broker.broker.local_partitions();
    assert_eq!(values(local.read(id, 0, ROOM).await.unwrap()), all);
}

#[tokio::test]
async fn too_few_replicas_in_sync_pass_and_unfit_records_do_not() {
    let fixture = Fixture(TestBroker::start().await);
    let broker = &fixture.0;
    let local = broker.broker.local_partitions();
    let refused = |id, records: Bytes| match local.append(id, &parse(records)).err() {
        Some(AppendFailure::Refused(message)) => message,
        other => panic!("{other:?}"),
    };
    let small = topic(broker, "small", &[("max.message.bytes", "100")]).await;
    let large = batch(&[&"x".repeat(200)]);
    let message = refused(small, large.clone());
    assert!(message.contains(&large.len().to_string()) && message.contains("100"), "{message}");
    assert_eq!(local.bounds(small), Some(Bounds { start: 0, end: 0 }));
    let compacted = topic(broker, "compacted", &[("cleanup.policy", "compact")]).await;
    assert!(refused(compacted, batch(&["no key"])).contains("no key"));
    let keyed = batch_at(ProducerState::NONE, now_ms(), Some(b"k"), &["v"]);
    in_time(local.append(compacted, &parse(keyed)).unwrap()).await.unwrap();

    let id = fixture.replicated_topic("t", &[("min.insync.replicas", "2")]).await;
    let pending = local.append(id, &parse(batch(&["while both are in sync"]))).unwrap();
    fixture.alter(id, NODE, &[NODE]).await;
    // Once it is answered, the change has arrived.
    match in_time(pending).await {
        Err(AppendFailure::Passing(message)) => {
            assert!(message.contains("NotEnoughReplicasAfterAppend"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    match local.append(id, &parse(batch(&["a"]))).err() {
        Some(AppendFailure::Passing(message)) => {
            assert!(message.contains("min.insync.replicas"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn waiting_ends_with_the_broker() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic(&broker, "t", &[]).await;
    let mut drained = local.wait_for(id, 0);
    assert!((&mut drained).now_or_never().is_none());
    broker.broker.drain();
    in_time(drained).await;
}

#[tokio::test]
async fn internal_topics_are_made_once_and_open_at_once() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let settings = BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]);
    for _ in 0..2 {
        local.ensure_topic("__plugin_logs", 3, settings.clone()).await.unwrap();
        let image = broker.metadata.image();
        let topic = image.topic_by_name("__plugin_logs").unwrap();
        assert_eq!((topic.partition_count(), &*topic.configs), (3, &settings));
        for partition in 0..3 {
            append(&local, TopicPartition::new(topic.id, partition), &["a"]).await;
        }
    }
    let refused = local.ensure_topic("orders", 1, BTreeMap::new()).await.unwrap_err().to_string();
    assert!(refused.contains("orders") && refused.contains("__"), "{refused}");
    let refused = local.ensure_topic("__none", 0, BTreeMap::new()).await.unwrap_err().to_string();
    assert!(refused.contains("0 partitions"), "{refused}");
}
