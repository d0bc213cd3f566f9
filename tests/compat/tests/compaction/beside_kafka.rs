//! The same batches in a compacted topic of each: Kafka's cleaner and ours leave the same of them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millrace_compat_tests::control::{Kafka, Peer};
use millrace_integration_tests::raw::{Connection, name};
use millrace_protocol::batch::{Batch, BatchBuilder, BatchHeader, ProducerState, split_batches};
use millrace_protocol::compression::Codec;
use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millrace_protocol::messages::{BrokerId, FetchRequest, InitProducerIdRequest};
use millrace_test_harness::{Broker, eventually};

const TOPIC: &str = "state";
/// The last whose topics have names.
const FETCH_VERSION: i16 = 12;
/// Kafka's cleaner looks for something to do every 15 seconds.
const LIMIT: Duration = Duration::from_secs(120);
const SEGMENT_BYTES: usize = 1 << 20;
const TIME_MS: i64 = 1_700_000_000_000;

/// Records as `key=value`, or `key` for a tombstone; each a millisecond later than the last.
fn batch(records: &[&str], codec: Codec, producer: ProducerState) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for (time_ms, record) in (TIME_MS..).zip(records) {
        let (key, value) = match record.split_once('=') {
            Some((key, value)) => (key, Some(value.as_bytes())),
            None => (*record, None),
        };
        builder.append(time_ms, Some(key.as_bytes()), value, &[]);
    }
    builder.finish(codec, producer).unwrap().to_vec()
}

/// What is looked at afterwards: batches that lose none, some and all of their records in each codec, tombstones, and
/// producers whose last batch has to stay.
fn batches(producer_id: i64) -> Vec<Vec<u8>> {
    let none = ProducerState::NONE;
    let sent =
        |base_sequence| ProducerState { producer_id, producer_epoch: 0, base_sequence, transactional: false };
    let mut batches = Vec::new();
    for (number, codec) in Codec::ALL.into_iter().enumerate() {
        let own = format!("own-{number}=stays");
        batches.push(batch(&["a=goes", &own, "b=goes", "c=goes"], codec, none));
        batches.push(batch(&["a=goes", "b=goes"], codec, none));
        let deleted = format!("own-{number}-deleted");
        batches.push(batch(&[&format!("{deleted}=goes"), "c=goes"], codec, none));
        batches.push(batch(&[&deleted, "b=goes", &format!("other-{number}=stays")], codec, none));
    }
    batches.push(batch(&["d=goes", "e=stays"], Codec::Zstd, sent(0)));
    batches.push(batch(&["d=goes", "f=goes"], Codec::Zstd, sent(2)));
    batches.push(batch(&["d=last", "f", "a=last", "b=last", "c=last", "g"], Codec::Gzip, none));
    batches
}

/// Produces the batches, and more that end the segment that they are in; where they end.
fn fill(address: SocketAddr) -> i64 {
    let mut connection = Connection::open(address).unwrap();
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", &*SEGMENT_BYTES.to_string()),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    connection.create_topic(TOPIC, &settings);
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let producer_id = eventually("a producer's id", LIMIT, || {
        let answer = connection.ask(1, &request);
        (answer.error_code == 0).then_some(answer.producer_id.0)
    });
    let mut end = 0;
    for batch in batches(producer_id) {
        let count = i64::from(BatchHeader::parse(&batch).unwrap().record_count);
        assert_eq!(connection.produce(TOPIC, &batch), (0, end));
        end += count;
    }
    let filler = format!("filler={}", "x".repeat(SEGMENT_BYTES * 2 / 3));
    for _ in 0..3 {
        connection.produce(TOPIC, &batch(&[&filler], Codec::None, ProducerState::NONE));
    }
    end
}

fn fetch(connection: &mut Connection, offset: i64) -> Vec<Batch> {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(8 << 20);
    let topic = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(10)
        .with_min_bytes(1)
        .with_max_bytes(32 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let response = connection.ask(FETCH_VERSION, &request);
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    let records = partition.records.clone().unwrap_or_default();
    split_batches(Bytes::from(records.to_vec()), usize::MAX).unwrap()
}

/// The batches below `end`, once they are compacted.
fn compacted(address: SocketAddr, end: i64) -> Vec<Batch> {
    let mut connection = Connection::open(address).unwrap();
    eventually("the topic is compacted", LIMIT, || {
        let mut batches: Vec<Batch> = Vec::new();
        let mut offset = 0;
        while offset < end {
            let found = fetch(&mut connection, offset);
            offset = found.last()?.header.next_offset();
            batches.extend(found);
        }
        batches.retain(|batch| batch.header.base_offset < end);
        (batches[0].header.record_count == 1).then_some(batches)
    })
}

/// Everything of a batch but what is another's wherever it is: checksum and length, which follow from the encoder, the
/// epoch and the producer's id; and when it was compacted.
fn described(batch: &Batch) -> String {
    batch.verify_crc().unwrap();
    let header = &batch.header;
    let horizon = header.attributes.has_delete_horizon();
    let base = if horizon { "the horizon".to_owned() } else { header.base_timestamp.to_string() };
    let records: Vec<String> = batch
        .records(1 << 20)
        .unwrap()
        .iter()
        .map(|record| {
            let record = record.unwrap();
            let text =
                |bytes: Option<&[u8]>| bytes.map(String::from_utf8_lossy).map(std::borrow::Cow::into_owned);
            let (key, value) = (text(record.key), text(record.value));
            format!("{} {} {key:?} {value:?}", record.offset, record.timestamp_ms)
        })
        .collect();
    format!(
        "{}..{} attributes {:b}, from {base} to {}, producer {} {} {}: {records:?}",
        header.base_offset,
        header.next_offset(),
        header.attributes.0,
        header.max_timestamp,
        header.has_producer_id(),
        header.producer_epoch,
        header.base_sequence,
    )
}

#[test]
fn our_compaction_leaves_what_kafka_s_leaves() {
    let kafka = Kafka::start().unwrap();
    Peer::new(kafka.address()).await_producer_ids();
    let millrace = Broker::builder().setting("log", "cleaner_backoff = \"20ms\"").start().unwrap();
    let ends = [kafka.address(), millrace.address()].map(fill);
    assert_eq!(ends[0], ends[1]);
    let of = |address| compacted(address, ends[0]).iter().map(described).collect::<Vec<_>>();
    let (of_kafka, ours) = (of(kafka.address()), of(millrace.address()));
    assert!(of_kafka.len() > 10, "{of_kafka:#?}");
    assert_eq!(ours, of_kafka);
}
