//! SIGKILL, again and again, on one data directory: every acknowledged record is there afterwards, once, in
//! order, at the offset that was acknowledged; whatever a consumer has seen stays as it was seen.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

mod ledger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger::{Ledger, write};
use millrace_client::admin::{NewTopic, OffsetSpec};
use millrace_client::{Client, FetchError, StartAt, Transport};
use millrace_integration_tests::Random;
use millrace_test_harness::{Broker, a_while, eventually_async, long_tests};
use tokio::sync::watch;

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 3;

/// Transport, partition, size of values, pause between records: quiet partitions share the write-ahead log,
/// the heavy one goes past it, and one partition has two writers.
const WRITERS: [(Transport, i32, usize, Duration); 4] = [
    (Transport::Quic, 0, 100, Duration::from_millis(1)),
    (Transport::Tcp, 1, 1_000, Duration::ZERO),
    (Transport::Quic, 1, 200, Duration::from_millis(2)),
    (Transport::Tcp, 2, 50_000, Duration::ZERO),
];

/// Records acknowledged between two crashes, at most: a crash comes in the middle of the load.
const RECORDS_PER_LIFE: u64 = 3_000;

/// A partition's records by offset.
type Records = BTreeMap<i64, Vec<u8>>;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_survive_sigkill_exactly_once() {
    let mut random = Random::from_environment();
    // Small enough that the write-ahead log wraps around and segments roll between crashes.
    let builder =
        Broker::builder().setting("log", "wal_bytes = \"16MiB\"").setting("log", "tail_bytes = \"16MiB\"");
    let mut broker = builder.start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    let topic = NewTopic::new(TOPIC, PARTITIONS).config("segment.bytes", "4194304");
    client.admin().create_topic(topic).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let progress = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for (number, (transport, partition, bytes, pause)) in WRITERS.into_iter().enumerate() {
        let client = broker.client(transport).connect().await.unwrap();
        let ledger = Ledger::new(number, partition, bytes, pause, Arc::clone(&progress));
        writers.push(tokio::spawn(write(client, ledger, stopped.clone())));
    }
    let reader = broker.client(Transport::Tcp).connect().await.unwrap();
    let reader = tokio::spawn(read_along(reader, stopped.clone()));

    let crashes = if long_tests() { 1_000 } else { 60 };
    for _ in 0..crashes {
        crash(&mut broker, &mut random, &progress).await;
    }
    stop.send(true).unwrap();

    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.await.unwrap());
    }
    let seen = reader.await.unwrap();
    let mut stored = BTreeMap::new();
    for partition in 0..PARTITIONS {
        stored.insert(partition, read_partition(&client, partition).await);
    }
    for ledger in &ledgers {
        ledger.check(&stored[&ledger.partition]);
    }
    for (partition, records) in &seen {
        for (offset, value) in records {
            assert_eq!(
                stored[partition].get(offset),
                Some(value),
                "offset {offset} of {partition} was seen otherwise"
            );
        }
    }
    let acknowledged: usize = ledgers.iter().map(Ledger::acknowledged).sum();
    let seen: usize = seen.values().map(BTreeMap::len).sum();
    println!("{crashes} crashes, {acknowledged} records acknowledged, {seen} seen by the consumer");
    assert!(acknowledged > 500 * crashes && seen > acknowledged / 10, "too little load to prove anything");
}

async fn crash(broker: &mut Broker, random: &mut Random, progress: &AtomicU64) {
    let crash_at = progress.load(Ordering::Relaxed) + random.below(RECORDS_PER_LIFE);
    eventually_async("records to be acknowledged", Duration::from_secs(60), || async {
        (progress.load(Ordering::Relaxed) >= crash_at).then_some(())
    })
    .await;
    a_while(Duration::from_millis(random.below(50))).await;
    broker.kill().unwrap();
    if random.below(4) == 0 {
        // Killed once more while it recovers.
        broker.restart_unready().unwrap();
        a_while(Duration::from_millis(random.below(250))).await;
        broker.kill().unwrap();
    }
    broker.restart().unwrap();
}

/// Reads all partitions while they are written, through every crash.
async fn read_along(client: Client, stopped: watch::Receiver<bool>) -> BTreeMap<i32, Records> {
    let mut seen: BTreeMap<i32, Records> = BTreeMap::new();
    let mut consumer = client.consumer().fetch_max_wait(Duration::from_millis(50)).build();
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    consumer.assign(TOPIC, &partitions, StartAt::Beginning).await.unwrap();
    while !*stopped.borrow() {
        match consumer.poll_batch(Duration::from_millis(100)).await {
            Ok(None) => {}
            Ok(Some(batch)) => {
                let records = seen.entry(batch.partition()).or_default();
                for record in batch.iter() {
                    let before = records.insert(record.offset, record.value.unwrap_or_default().to_vec());
                    assert!(before.is_none(), "offset {} of {} came twice", record.offset, batch.partition());
                }
            }
            Err(error) => assert!(FetchError::is_retriable(&error), "the consumer gives up: {error}"),
        }
    }
    seen
}

/// Everything that a partition holds, checked to be without gaps.
async fn read_partition(client: &Client, partition: i32) -> Records {
    let listed = client.admin().list_offsets(TOPIC, &[partition], OffsetSpec::Latest).await.unwrap();
    let end = listed[0].offset.unwrap();
    let mut consumer = client.consumer().build();
    consumer.assign(TOPIC, &[partition], StartAt::Beginning).await.unwrap();
    let mut records = Records::new();
    let mut next = 0;
    while next < end {
        let batch = consumer.poll_batch(Duration::from_secs(20)).await.unwrap();
        let batch =
            batch.unwrap_or_else(|| panic!("nothing at offset {next} of {partition}, which ends at {end}"));
        for record in batch.iter() {
            assert_eq!(record.offset, next, "a gap in {partition}");
            records.insert(next, record.value.unwrap_or_default().to_vec());
            next += 1;
        }
    }
    records
}
