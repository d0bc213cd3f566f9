//! The SDK against a real broker where others end before it does: a topic that is made again while it reads and
//! writes, and a broker that stands still for longer than a delivery may take.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_client::admin::{NewTopic, OffsetSpec};
use millrace_client::consumer::OnOutOfRange;
use millrace_client::{Client, Consumer, FetchError, Record, RecordBatch, SendError, StartAt, Transport};
use millrace_test_harness::{Broker, a_while, eventually_async};
use rustix::process::{Pid, Signal, kill_process};

const TRANSPORTS: [Transport; 2] = [Transport::Quic, Transport::Tcp];
const LIMIT: Duration = Duration::from_secs(60);

async fn started() -> (Broker, Client) {
    // Otherwise whoever asks for a topic in between makes it.
    let broker = Broker::builder().setting("topics", "auto_create = false").start().unwrap();
    let admin = broker.client(Transport::Tcp).connect().await.unwrap();
    (broker, admin)
}

/// Sends `values` to partition 0 by a producer of its own.
async fn write(broker: &Broker, topic: &str, values: std::ops::Range<i32>) {
    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    let producer = client.producer().build().await.unwrap();
    for value in values {
        let value = value.to_string();
        producer.send(topic, Record::value(&value).with_partition(0)).await.unwrap().await.unwrap();
    }
}

/// The next `count` records as offset and value; what a consumer may be told meanwhile is only that it has to wait.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<(i64, String)> {
    let mut records = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while records.len() < count {
        assert!(Instant::now() < deadline, "only {records:?} came");
        match consumer.poll_batch(Duration::from_millis(100)).await {
            Ok(batch) => records.extend(batch.iter().flat_map(RecordBatch::iter).map(|record| {
                (record.offset, String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap())
            })),
            Err(error) => assert!(FetchError::is_retriable(&error), "the consumer gives up: {error}"),
        }
    }
    records
}

/// Requests of an API that the broker has answered.
fn requests(broker: &Broker, api: &str) -> u64 {
    let (_, metrics) = broker.http("/metrics").unwrap();
    let prefix = format!("millrace_requests_total{{api=\"{api}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&prefix)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_at_the_start_of_a_topic_that_is_made_again_without_spinning() {
    let (broker, admin) = started().await;
    for transport in TRANSPORTS {
        let topic = format!("read-{transport:?}");
        admin.admin().create_topic(NewTopic::new(&topic, 1)).await.unwrap();
        write(&broker, &topic, 0..10).await;
        let client = broker.client(transport).connect().await.unwrap();
        let mut consumer = client.consumer().on_out_of_range(OnOutOfRange::Beginning).build();
        consumer.assign(&topic, &[0], StartAt::Beginning).await.unwrap();
        assert_eq!(read(&mut consumer, 10).await.last().unwrap(), &(9, "9".to_owned()));

        let (fetches, asked, since) =
            (requests(&broker, "Fetch"), requests(&broker, "Metadata"), Instant::now());
        admin.admin().delete_topic(&topic).await.unwrap();
        // Long enough to tell a consumer that spins from one that looks now and then.
        a_while(Duration::from_secs(1)).await;
        admin.admin().create_topic(NewTopic::new(&topic, 1)).await.unwrap();
        write(&broker, &topic, 100..105).await;
        let expected: Vec<_> = (0..5).map(|offset| (offset, (100 + offset).to_string())).collect();
        assert_eq!(read(&mut consumer, 5).await, expected);
        let most = 50 + 50 * since.elapsed().as_secs();
        for (api, before) in [("Fetch", fetches), ("Metadata", asked)] {
            let count = requests(&broker, api) - before;
            assert!(count <= most, "{count} requests {api} in {:?}", since.elapsed());
        }
        consumer.close().await;
    }
}

/// Keyed records find their place among the partitions that there are; those that named one which is gone fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_goes_on_in_a_topic_that_is_made_again_with_fewer_partitions() {
    let (broker, admin) = started().await;
    for (transport, idempotent) in TRANSPORTS.into_iter().flat_map(|way| [(way, true), (way, false)]) {
        let topic = format!("write-{transport:?}-{idempotent}");
        admin.admin().create_topic(NewTopic::new(&topic, 4)).await.unwrap();
        let client = broker.client(transport).connect().await.unwrap();
        let producer = client.producer().idempotent(idempotent).build().await.unwrap();
        for key in 0..40 {
            let key = key.to_string();
            producer.send(&topic, Record::value("before").with_key(&key)).await.unwrap().await.unwrap();
        }
        admin.admin().delete_topic(&topic).await.unwrap();
        // Sent to a topic that is gone: in flight, and waiting behind what is.
        let mut waiting = Vec::new();
        for key in 0..40 {
            let key = key.to_string();
            waiting.push(producer.send(&topic, Record::value("between").with_key(&key)).await.unwrap());
        }
        admin.admin().create_topic(NewTopic::new(&topic, 1)).await.unwrap();
        let mut offsets = BTreeSet::new();
        for key in 0..40 {
            let key = key.to_string();
            waiting.push(producer.send(&topic, Record::value("after").with_key(&key)).await.unwrap());
        }
        for delivery in waiting {
            let stored =
                tokio::time::timeout(LIMIT, delivery).await.expect("a record waits for nothing").unwrap();
            assert_eq!(stored.partition, 0);
            offsets.insert(stored.offset);
        }
        let named = producer.send(&topic, Record::value("nowhere").with_partition(3)).await;
        assert!(named.is_err(), "partition 3 is gone");
        assert_eq!(offsets, (0..80).collect(), "each once, and nothing else");
        let listed = admin.admin().list_offsets(&topic, &[0], OffsetSpec::Latest).await.unwrap();
        assert_eq!(listed[0].offset, Some(80));
    }
}

/// The broker stands still until all that is on its way has been given up, and then goes on, with the requests that
/// it had: what was given up may be stored, and whatever follows is not mistaken for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_while_the_broker_stands_still_is_stored_once_at_most() {
    let (broker, admin) = started().await;
    for transport in TRANSPORTS {
        let topic = format!("still-{transport:?}");
        admin.admin().create_topic(NewTopic::new(&topic, 1)).await.unwrap();
        let client =
            broker.client(transport).request_timeout(Duration::from_secs(1)).connect().await.unwrap();
        let producer =
            client.producer().batch_bytes(1).delivery_timeout(Duration::from_secs(3)).build().await.unwrap();
        let mut told: BTreeMap<String, Result<i64, SendError>> = BTreeMap::new();
        for round in 0..3 {
            let pid = Pid::from_raw(i32::try_from(broker.pid().unwrap()).unwrap()).unwrap();
            let mut waiting = Vec::new();
            for number in 0..40 {
                let value = format!("{round}-{number:02}");
                if number == 10 {
                    kill_process(pid, Signal::STOP).unwrap();
                }
                let delivery = producer.send(&topic, Record::value(&value)).await.unwrap();
                waiting.push((value, tokio::spawn(delivery)));
            }
            eventually_async("the first record to be given up", LIMIT, || async {
                waiting.last().unwrap().1.is_finished().then_some(())
            })
            .await;
            kill_process(pid, Signal::CONT).unwrap();
            for (value, delivery) in waiting {
                told.insert(value, delivery.await.unwrap().map(|stored| stored.offset));
            }
        }
        let last = producer.send(&topic, Record::value("last")).await.unwrap().await.unwrap();
        told.insert("last".to_owned(), Ok(last.offset));
        assert!(told.values().any(Result::is_err), "nothing was given up: this proves nothing");

        let end =
            admin.admin().list_offsets(&topic, &[0], OffsetSpec::Latest).await.unwrap()[0].offset.unwrap();
        let mut consumer = admin.consumer().build();
        consumer.assign(&topic, &[0], StartAt::Beginning).await.unwrap();
        let stored = read(&mut consumer, usize::try_from(end).unwrap()).await;
        consumer.close().await;
        let values: BTreeSet<_> = stored.iter().map(|(_, value)| value).collect();
        assert_eq!(values.len(), stored.len(), "a record is there twice: {stored:?}");
        for (value, told) in &told {
            if let Ok(offset) = told {
                let found = stored.iter().find(|(_, stored)| stored == value);
                assert!(
                    found.is_some_and(|(at, _)| at == offset || *offset < 0),
                    "{value} at {offset}: {found:?}"
                );
            }
        }
    }
}
