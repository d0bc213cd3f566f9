//! rskafka, a client in Rust written from the protocol's description.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_test_harness::Broker;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

async fn connect(broker: &Broker) -> Client {
    ClientBuilder::new(vec![broker.bootstrap()]).build().await.unwrap()
}

async fn partition(client: &Client, topic: &str) -> PartitionClient {
    client.partition_client(topic, 0, UnknownTopicHandling::Retry).await.unwrap()
}

fn record(number: i64) -> Record {
    Record {
        key: (number != 3).then(|| format!("key {number}").into_bytes()),
        value: (number != 4).then(|| format!("value {number} ").repeat(20).into_bytes()),
        headers: BTreeMap::from([("number".to_owned(), number.to_be_bytes().to_vec())]),
        timestamp: time(number),
    }
}

fn time(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_000_000 + 1_000 * number).unwrap()
}

async fn all_records(partition: &PartitionClient, from: i64) -> Vec<(i64, Record)> {
    let mut records = Vec::new();
    let mut next = from;
    loop {
        let (fetched, high_watermark) = partition.fetch_records(next, 1..1_000_000, 1_000).await.unwrap();
        records.extend(fetched.into_iter().map(|record| (record.offset, record.record)));
        next = records.last().map_or(next, |(offset, _)| offset + 1);
        if next >= high_watermark {
            return records;
        }
    }
}

#[tokio::test]
async fn records_of_every_codec_come_back_as_sent() {
    let broker = Broker::start().unwrap();
    let client = connect(&broker).await;
    client.controller_client().unwrap().create_topic("codecs", 1, 1, 5_000).await.unwrap();
    let partition = partition(&client, "codecs").await;
    let codecs = [
        Compression::NoCompression,
        Compression::Gzip,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zstd,
    ];
    let mut expected = Vec::new();
    for codec in codecs {
        let records: Vec<Record> = (0..40).map(record).collect();
        let offsets = partition.produce(records.clone(), codec).await.unwrap();
        expected.extend(offsets.into_iter().zip(records));
    }
    assert_eq!(all_records(&partition, 0).await, expected);
}

#[tokio::test]
async fn offsets_are_looked_up_and_records_deleted() {
    let broker = Broker::start().unwrap();
    let client = connect(&broker).await;
    client.controller_client().unwrap().create_topic("offsets", 1, 1, 5_000).await.unwrap();
    let partition = partition(&client, "offsets").await;
    partition.produce((0..100).map(record).collect(), Compression::Zstd).await.unwrap();
    assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 100);
    assert_eq!(partition.get_offset(OffsetAt::Timestamp(time(42))).await.unwrap(), 42);
    partition.delete_records(60, 5_000).await.unwrap();
    assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 60);
    assert_eq!(all_records(&partition, 60).await.len(), 40);
}

#[tokio::test]
async fn topics_are_listed_and_deleted() {
    let broker = Broker::start().unwrap();
    let client = connect(&broker).await;
    let controller = client.controller_client().unwrap();
    controller.create_topic("orders", 3, 1, 5_000).await.unwrap();
    let topics = client.list_topics().await.unwrap();
    let orders = topics.iter().find(|topic| topic.name == "orders").unwrap();
    assert_eq!(orders.partitions.len(), 3);
    controller.delete_topic("orders", 5_000).await.unwrap();
    assert!(client.list_topics().await.unwrap().iter().all(|topic| topic.name != "orders"));
}
