//! What runs on the broker itself reads and appends by the same rules as clients do.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::records::{batch, batch_at, now_ms, records};
use common::requests::*;
use common::{NODE, PATIENCE, TestBroker};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use millrace_broker::local_partitions::{AppendFailure, Bounds, LocalPartitions, ReadFailure};
use millrace_metadata::{BrokerRegistration, Command, PartitionChange};
use millrace_protocol::batch::{Batch, ProducerState};
use millrace_protocol::messages::create_topics_request::CreatableReplicaAssignment;
use millrace_protocol::messages::{DeleteTopicsRequest, delete_topics_request::DeleteTopicState};

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

#[tokio::test]
async fn what_is_appended_is_acknowledged_and_read_back_also_from_disk() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic(&broker, "t", &[]).await;
    assert_eq!(local.bounds(id), Some(Bounds { start: 0, end: 0 }));
    local.admit(1000).await;
    append(&local, id, &["a", "b"]).await;
    append(&local, id, &["c"]).await;
    assert_eq!(local.bounds(id), Some(Bounds { start: 0, end: 3 }));
    let all = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(values(local.read(id, 0, ROOM).await.unwrap()), all);
    assert_eq!(values(local.read(id, 1, ROOM).await.unwrap()), all, "the batch that holds 1 is whole");
    assert_eq!(values(local.read(id, 0, 1).await.unwrap()), all[..2], "one batch of any size");
    assert_eq!(local.read(id, 3, ROOM).await.unwrap(), []);
    let bounds = Bounds { start: 0, end: 3 };
    assert_eq!(local.read(id, 4, ROOM).await, Err(ReadFailure::OutOfRange { offset: 4, bounds }));
    assert!(broker.metric("millrace_topic_bytes_in_total", &[("topic", "t")]) > 100.0);
    assert_eq!(broker.client().read("t", 0, 2).await, ["c"], "clients see the same");

    let broker = broker.restart().await;
    assert_eq!(local.bounds(id), None, "it does not outlive its broker");
    let local = broker.broker.local_partitions();
    assert_eq!(values(local.read(id, 0, ROOM).await.unwrap()), all);
}

#[tokio::test]
async fn a_partition_that_is_not_here_is_told() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = TopicPartition::new(TopicId::random(), 0);
    assert_eq!(local.bounds(id), None);
    assert_eq!(local.read(id, 0, ROOM).await, Err(ReadFailure::NotHere));
    assert_eq!(local.append(id, &parse(batch(&["a"]))).err(), Some(AppendFailure::NotHere));
    assert_eq!(local.trim(id, 1).await, Err(ReadFailure::NotHere));
    assert_eq!(local.offset_for_time(id, 0).await, Err(ReadFailure::NotHere));
    assert!(local.wait_for(id, 0).now_or_never().is_some());
}

/// A topic whose second replica is on a broker that never fetches.
async fn topic_with_an_absent_replica(broker: &TestBroker, settings: &[(&str, &str)]) -> TopicPartition {
    let absent = BrokerId(2);
    let registration = BrokerRegistration { id: absent, host: "absent.example".into(), port: 1, rack: None };
    broker.metadata.submit(Command::RegisterBroker { registration }).await.unwrap();
    let replicas = [NODE, absent].map(|id| millrace_protocol::messages::BrokerId(id.0));
    let assignment =
        CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(replicas.to_vec());
    let wanted = new_topic("t", -1, settings).with_replication_factor(-1).with_assignments(vec![assignment]);
    let response = broker.client().call(7, create(vec![wanted])).await;
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    TopicPartition::new(TopicId(response.topics[0].topic_id), 0)
}

#[tokio::test]
async fn a_reader_stops_at_the_high_watermark() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic_with_an_absent_replica(&broker, &[]).await;
    let mut acknowledged = local.append(id, &parse(batch(&["a"]))).unwrap();
    let mut more: BoxFuture<'static, ()> = local.wait_for(id, 0);
    assert!((&mut more).now_or_never().is_none());
    assert_eq!(broker.log.partition(&id).unwrap().log_end_offset(), 1);
    assert_eq!(local.bounds(id), Some(Bounds { start: 0, end: 0 }));
    assert_eq!(local.read(id, 0, ROOM).await.unwrap(), []);
    assert!((&mut acknowledged).now_or_never().is_none(), "not all in-sync replicas have it");
    // The absent replica leaves those that are in sync.
    let change = PartitionChange {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        leader: Some(NODE),
        isr: vec![NODE],
        unclean: false,
    };
    broker.metadata.submit(Command::AlterPartition { partition: id, change }).await.unwrap();
    in_time(acknowledged).await.unwrap();
    in_time(more).await;
    assert_eq!(values(local.read(id, 0, ROOM).await.unwrap()), [(0, "a".to_owned())]);
}

#[tokio::test]
async fn too_few_replicas_in_sync_pass_and_unfit_records_do_not() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let refused = |id, records: Bytes| match local.append(id, &parse(records)).err() {
        Some(AppendFailure::Refused(message)) => message,
        other => panic!("{other:?}"),
    };
    let small = topic(&broker, "small", &[("max.message.bytes", "100")]).await;
    let large = batch(&[&"x".repeat(200)]);
    let message = refused(small, large.clone());
    assert!(message.contains(&large.len().to_string()) && message.contains("100"), "{message}");
    assert_eq!(local.bounds(small), Some(Bounds { start: 0, end: 0 }));
    let compacted = topic(&broker, "compacted", &[("cleanup.policy", "compact")]).await;
    assert!(refused(compacted, batch(&["no key"])).contains("no key"));
    let keyed = batch_at(ProducerState::NONE, now_ms(), Some(b"k"), &["v"]);
    in_time(local.append(compacted, &parse(keyed)).unwrap()).await.unwrap();
    assert!(matches!(local.append(small, &[]).err(), Some(AppendFailure::Refused(_))));

    let id = topic_with_an_absent_replica(&broker, &[("min.insync.replicas", "2")]).await;
    let change = PartitionChange {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        leader: Some(NODE),
        isr: vec![NODE],
        unclean: false,
    };
    let pending = local.append(id, &parse(batch(&["while both are in sync"]))).unwrap();
    broker.metadata.submit(Command::AlterPartition { partition: id, change }).await.unwrap();
    // Once it is acknowledged, the change has arrived.
    in_time(pending).await.unwrap();
    match local.append(id, &parse(batch(&["a"]))).err() {
        Some(AppendFailure::Passing(message)) => {
            assert!(message.contains("min.insync.replicas"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn waiting_ends_with_records_with_the_topic_and_with_the_broker() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic(&broker, "t", &[]).await;
    let waiting = tokio::spawn(local.wait_for(id, 0));
    let beyond = tokio::spawn(local.wait_for(id, 2));
    append(&local, id, &["a"]).await;
    in_time(waiting).await.unwrap();
    assert!(local.wait_for(id, 0).now_or_never().is_some(), "there is something already");
    assert!(!beyond.is_finished(), "there is nothing at 2 yet");
    append(&local, id, &["b", "c"]).await;
    in_time(beyond).await.unwrap();

    let deleted = tokio::spawn(local.wait_for(id, 3));
    let delete = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name("t")))])
        .with_timeout_ms(1000);
    assert_eq!(broker.client().call(6, delete).await.responses[0].error_code, 0);
    in_time(deleted).await.unwrap();
    assert_eq!(local.read(id, 3, ROOM).await, Err(ReadFailure::NotHere));

    let other = topic(&broker, "other", &[]).await;
    let mut drained = local.wait_for(other, 0);
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
    let racing = (0..8).map(|_| local.ensure_topic("__racing", 1, BTreeMap::new()));
    futures::future::try_join_all(racing).await.unwrap();
    let refused = local.ensure_topic("orders", 1, BTreeMap::new()).await.unwrap_err().to_string();
    assert!(refused.contains("orders") && refused.contains("__"), "{refused}");
    let refused = local.ensure_topic("__none", 0, BTreeMap::new()).await.unwrap_err().to_string();
    assert!(refused.contains("0 partitions"), "{refused}");
}

#[tokio::test]
async fn records_are_found_by_time_and_trimmed() {
    let broker = TestBroker::start().await;
    let local = broker.broker.local_partitions();
    let id = topic(&broker, "t", &[]).await;
    let now = now_ms();
    for offset in 0..3 {
        let records = batch_at(ProducerState::NONE, now + offset * 10, None, &["a"]);
        in_time(local.append(id, &parse(records)).unwrap()).await.unwrap();
    }
    assert_eq!(local.offset_for_time(id, 0).await, Ok(0));
    assert_eq!(local.offset_for_time(id, now + 1).await, Ok(1));
    assert_eq!(local.offset_for_time(id, now + 21).await, Ok(3), "the end");
    local.trim(id, 2).await.unwrap();
    assert_eq!(local.bounds(id), Some(Bounds { start: 2, end: 3 }));
    let bounds = Bounds { start: 2, end: 3 };
    assert_eq!(local.read(id, 1, ROOM).await, Err(ReadFailure::OutOfRange { offset: 1, bounds }));
    local.trim(id, -1).await.unwrap();
    assert_eq!(local.bounds(id), Some(bounds), "nothing is below -1");
    local.trim(id, 100).await.unwrap();
    assert_eq!(local.bounds(id), Some(Bounds { start: 3, end: 3 }), "no further than there are records");
}
