//! SIGKILL in the middle of transforms, again and again: every input record has its output, in order, and
//! repeated is only what was on its way when the broker died.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_client::{Client, ConsumerRecord, Record, Transport};
use millrace_integration_tests::Random;
use millrace_test_harness::{Broker, a_while, eventually_async, guest, long_tests};
use tokio::sync::{mpsc, watch};

use crate::support::{PATIENCE, caught_up, create_topics, deploy, end_offset, read_partition, until};

const PARTITIONS: i32 = 3;
/// Keys of one input partition; their hashes lead to all output partitions.
const KEYS: u64 = 16;
/// Records in flight of one writer.
const IN_FLIGHT_MAX: usize = 200;
/// Acknowledged after so many more, a record was sent after the count began.
const SENT_BEFORE_MAX: u64 = IN_FLIGHT_MAX as u64 * PARTITIONS as u64;
/// Bytes of input that a worker may have under way: the steps in flight, the one that is computed, and a batch
/// that is read beyond a step's end.
const UNDER_WAY_MAX: usize = 6 << 20;

/// What stood fixed before a crash.
struct Life {
    /// By input partition: the outputs of everything below are durable, and so is the commit that says so.
    committed: Vec<i64>,
    /// By output partition: what is below was written before the crash.
    written: Vec<i64>,
    kills: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_repeats_what_was_under_way_and_loses_nothing() {
    let mut random = Random::from_environment();
    let builder = Broker::builder().setting("log", "wal_bytes = \"16MiB\"");
    let mut broker = builder.start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", PARTITIONS), ("out", PARTITIONS)]).await;
    deploy(&client, "identity", guest("identity", "transform"), "in", &["out"]).await;

    let (stop, stopped) = watch::channel(false);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for partition in 0..PARTITIONS {
        let transport = if partition == 0 { Transport::Tcp } else { Transport::Quic };
        let client = broker.client(transport).connect().await.unwrap();
        writers.push(tokio::spawn(write(client, partition, Arc::clone(&acknowledged), stopped.clone())));
    }

    let crashes = if long_tests() { 500 } else { 50 };
    let mut lives = Vec::new();
    for _ in 0..crashes {
        lives.push(live_and_crash(&mut broker, &client, &mut random, &acknowledged).await);
    }
    stop.send(true).unwrap();
    let mut sent = Vec::new();
    for writer in writers {
        sent.push(writer.await.unwrap());
    }
    caught_up(&client, "identity").await;

    let mut inputs = Vec::new();
    for partition in 0..PARTITIONS {
        let records = read_partition(&client, "in", partition).await;
        assert_eq!(records.len() as u64, sent[partition as usize], "the input of partition {partition}");
        inputs.push(records);
    }
    let total: u64 = sent.iter().sum();
    let (mut delivered, mut repeated) = (0, 0);
    for partition in 0..PARTITIONS {
        let output = read_partition(&client, "out", partition).await;
        let expected = check(&inputs, partition, &output, &lives);
        delivered += expected;
        repeated += output.len() - expected;
    }
    assert_eq!(delivered as u64, total, "a key has no output, or has it in two partitions");
    println!("{crashes} crashes, {total} records, of which {repeated} were repeated");
    assert!(total > 200 * crashes, "too little load to prove anything");
    assert!(repeated > 0, "no crash came in the middle of the work");
}

/// Lets the broker work for a while, kills it and starts it again.
async fn live_and_crash(
    broker: &mut Broker,
    client: &Client,
    random: &mut Random,
    acknowledged: &AtomicU64,
) -> Life {
    // What the last crash had repeated is behind us, and whatever is repeated from now on is this one's.
    caught_up(client, "identity").await;
    let mut written = Vec::new();
    for partition in 0..PARTITIONS {
        written.push(end_offset(client, "out", partition).await);
    }
    let description = until(client, "identity", "an answer", |_| true).await;
    let committed = description.partitions.iter().map(|partition| partition.offset.unwrap()).collect();
    // The commits are durable once something is that came after them.
    let crash_at = acknowledged.load(Ordering::Relaxed) + SENT_BEFORE_MAX + random.below(2_000);
    eventually_async("records to be acknowledged", PATIENCE, || async {
        (acknowledged.load(Ordering::Relaxed) >= crash_at).then_some(())
    })
    .await;
    a_while(Duration::from_millis(random.below(30))).await;
    broker.kill().unwrap();
    let mut kills = 1;
    if random.below(4) == 0 {
        // Killed once more while it recovers, or while it has just begun to repeat.
        broker.restart_unready().unwrap();
        a_while(Duration::from_millis(random.below(400))).await;
        broker.kill().unwrap();
        kills += 1;
    }
    broker.restart().unwrap();
    Life { committed, written, kills }
}

/// Writes numbered records into one partition until it is told to stop; returns how many.
async fn write(
    client: Client,
    partition: i32,
    acknowledged: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
) -> u64 {
    let producer = client.producer().build().await.unwrap();
    let (deliveries, mut collected) = mpsc::channel(IN_FLIGHT_MAX);
    let collector = tokio::spawn(async move {
        while let Some((number, delivery)) = collected.recv().await {
            let delivery: millrace_client::Delivery = delivery;
            let stored =
                delivery.await.unwrap_or_else(|error| panic!("record {number} was given up: {error}"));
            assert!(stored.offset < 0 || stored.offset == number as i64, "record {number} is at {stored:?}");
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut number = 0;
    while !*stopped.borrow() {
        let key = format!("{partition}-{}", number % KEYS);
        let value = format!("{partition} {number} {:.<200}", "");
        let record = Record::value(&value).with_key(&key).with_partition(partition);
        let delivery = producer.send("in", record).await.unwrap();
        deliveries.send((number, delivery)).await.unwrap();
        number += 1;
        if number % 16 == 0 {
            a_while(Duration::from_millis(1)).await;
        }
    }
    drop(deliveries);
    collector.await.unwrap();
    number
}

/// Where the record came from: partition and offset.
fn origin(record: &ConsumerRecord) -> (i32, i64) {
    let text = str::from_utf8(record.value().unwrap()).unwrap();
    let mut words = text.split(' ').map(|word| word.parse::<i64>().unwrap_or(-1));
    (words.next().unwrap() as i32, words.next().unwrap())
}

/// Checks one output partition against the inputs; returns how many of their records belong there.
fn check(inputs: &[Vec<ConsumerRecord>], partition: i32, output: &[ConsumerRecord], lives: &[Life]) -> usize {
    let mut delivered = 0;
    for (from, input) in inputs.iter().enumerate() {
        // Which of the input's records belong here is told by their keys: each key is in one place.
        let here: Vec<_> = output.iter().filter(|record| origin(record).0 == from as i32).collect();
        let keys: std::collections::HashSet<_> = here.iter().map(|record| record.key()).collect();
        let expected: Vec<_> = input.iter().filter(|record| keys.contains(&record.key())).collect();
        let place: BTreeMap<i64, usize> =
            expected.iter().enumerate().map(|(place, record)| (record.offset(), place)).collect();
        let mut next = 0;
        let mut backward: BTreeMap<usize, usize> = BTreeMap::new();
        for record in &here {
            let what = format!("output {partition} at {}: {:?}", record.offset(), origin(record));
            let at = place[&origin(record).1];
            let original = expected[at];
            assert_eq!((record.key(), record.value()), (original.key(), original.value()), "{what}");
            assert_eq!(record.timestamp(), original.timestamp(), "{what}");
            assert!(at <= next, "{what} comes before {:?}", origin(expected[next]));
            if at < next {
                let life = lives.partition_point(|life| life.written[partition as usize] <= record.offset());
                let life = life.checked_sub(1).unwrap_or_else(|| panic!("{what} repeats without a crash"));
                *backward.entry(life).or_default() += 1;
                let committed = lives[life].committed[from];
                assert!(original.offset() >= committed, "{what} repeats what was committed: {committed}");
                let under_way: usize = expected[at..next].iter().map(|record| record_bytes(record)).sum();
                assert!(under_way <= UNDER_WAY_MAX, "{what} repeats {under_way} bytes");
            }
            next = at + 1;
        }
        assert_eq!(next, expected.len(), "output {partition} lacks the end of input {from}");
        delivered += expected.len();
        for (life, times) in backward {
            assert!(times <= lives[life].kills, "output {partition} went back {times} times in life {life}");
        }
    }
    delivered
}

fn record_bytes(record: &ConsumerRecord) -> usize {
    [record.key(), record.value()].into_iter().flatten().map(bytes::Bytes::len).sum()
}
