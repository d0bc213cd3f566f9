//! Batches whose header and records do not agree: refused, or, where Kafka does so, put right.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::records::{batch, compressed, now_ms};
use common::requests::*;
use common::{Client, TestBroker};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{
    Attributes, Batch, BatchBuilder, BatchHeader, HEADER_LEN, ProducerState, split_batches,
};
use millrace_protocol::compression::{Codec, compress};
use millrace_protocol::crc::crc32c;
use millrace_protocol::messages::produce_response::PartitionProduceResponse;

const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const LATEST: i64 = -1;

/// `batch` with a changed header, records and a checksum that is right.
fn changed(batch: &Bytes, records: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(records);
    header.batch_length = bytes.len() as i32 - 12;
    header.write(&mut bytes);
    header.crc = crc32c(&bytes[21..]);
    header.write(&mut bytes);
    bytes.into()
}

fn lying(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    changed(batch, &batch[HEADER_LEN..], change)
}

fn claiming(count: i32, batch: &Bytes) -> Bytes {
    lying(batch, |header| {
        header.record_count = count;
        header.last_offset_delta = count - 1;
    })
}

/// The records of an uncompressed batch, compressed after all.
fn compress_again(codec: Codec, batch: &Bytes) -> Bytes {
    let mut records = Vec::new();
    compress(codec, &batch[HEADER_LEN..], &mut records).unwrap();
    changed(batch, &records, |header| header.attributes = Attributes(header.attributes.0 | codec as i16))
}

async fn refused(client: &mut Client, topic: &str, records: Bytes) -> (ErrorCode, PartitionProduceResponse) {
    let response = client.call(9, produce(topic, 0, -1, records)).await;
    let answer = produced(&response).clone();
    let code = ErrorCode::try_from_code(answer.error_code).expect("the batch was taken");
    assert!(answer.error_message.is_some(), "{code:?} in words");
    assert_eq!(client.list_offset(4, topic, LATEST).await.offset, 0, "nothing is appended");
    (code, answer)
}

#[tokio::test]
async fn what_a_compressed_batch_claims_is_looked_at() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    for codec in COMPRESSED {
        let one = compressed(codec, &["one"]);
        for count in [2, 1000, i32::MAX] {
            let (code, answer) = refused(&mut client, "t", claiming(count, &one)).await;
            assert_eq!(code, ErrorCode::InvalidRecord, "{codec:?} with {count} records");
            assert_eq!(answer.record_errors[0].batch_index, 1, "the first that is not there");
        }
        let fewer = claiming(1, &compressed(codec, &["one", "two"]));
        assert_eq!(refused(&mut client, "t", fewer).await.0, ErrorCode::InvalidRecord, "{codec:?}");
        let garbage = changed(&one, &[0x5a; 300], |_| {});
        assert_eq!(refused(&mut client, "t", garbage).await.0, ErrorCode::InvalidRecord, "{codec:?}");
        let cut = changed(&one, &one[HEADER_LEN..one.len() - 3], |_| {});
        assert_eq!(refused(&mut client, "t", cut).await.0, ErrorCode::InvalidRecord, "{codec:?}");
        // The second record's offset delta is 1: the third byte behind its length.
        let plain = batch(&["one", "two"]);
        let mut records = plain[HEADER_LEN..].to_vec();
        let second = 1 + records[0] as usize / 2;
        records[second + 3] = 4;
        let gap = compress_again(codec, &changed(&plain, &records, |_| {}));
        assert_eq!(refused(&mut client, "t", gap).await.0, ErrorCode::InvalidRecord, "{codec:?}");
    }
}

#[tokio::test]
async fn thousands_of_batches_that_claim_billions_of_records_make_no_files() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let lie = changed(&compressed(Codec::Gzip, &["x"]), &[0, 0], |header| {
        header.record_count = i32::MAX;
        header.last_offset_delta = i32::MAX - 1;
    });
    assert_eq!(lie.len(), 63);
    let many = Bytes::from(lie.repeat(5_000));
    assert_eq!(refused(&mut client, "t", many).await.0, ErrorCode::InvalidRecord);
    let log = broker.log.partition(&broker.log.partitions()[0]).unwrap();
    assert_eq!(log.log_end_offset(), 0);
}

#[tokio::test]
async fn what_expands_beyond_the_limit_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let mut builder = BatchBuilder::default();
    builder.append(now_ms(), None, Some(&vec![0; 65 << 20]), &[]);
    let bomb = builder.finish(Codec::Zstd, ProducerState::NONE).unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(refused(&mut client, "t", bomb).await.0, ErrorCode::MessageTooLarge);
}

#[tokio::test]
async fn the_latest_timestamp_is_that_of_the_records() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for (topic, codec) in [("plain", Codec::None), ("zstd", Codec::Zstd)] {
        client.create_topic(topic, 1, &[]).await;
        let mut builder = BatchBuilder::default();
        for timestamp_ms in [1_000, 9_000, 5_000] {
            builder.append(timestamp_ms, None, Some(b"v"), &[]);
        }
        let honest = builder.finish(codec, ProducerState::NONE).unwrap();
        let lie = lying(&honest, |header| header.max_timestamp = 2_000);
        let response = client.call(9, produce(topic, 0, -1, lie)).await;
        assert_eq!(produced(&response).error_code, 0, "{topic}: as Kafka does, it is put right");
        assert_eq!(client.list_offset(4, topic, 8_000).await.offset, 1, "{topic}: found by time");
        assert_eq!(client.list_offset(7, topic, -3).await.offset, 1, "{topic}");
        let mut response = client.call(12, fetch(topic, vec![fetch_partition(0, 0)])).await;
        let stored = response.responses[0].partitions[0].records.take().unwrap();
        let stored = split_batches(stored, usize::MAX).unwrap().remove(0);
        stored.verify().unwrap();
        assert_eq!(stored.header.max_timestamp, 9_000);
    }
}

#[tokio::test]
async fn every_record_s_timestamp_is_within_the_topic_s_limits() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("message.timestamp.before.max.ms", "60000")]).await;
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::default();
        let now = now_ms();
        for timestamp_ms in [now, now + 10_000_000_000_000, -1, now - 600_000] {
            builder.append(timestamp_ms, None, Some(b"v"), &[]);
        }
        let far =
            lying(&builder.finish(codec, ProducerState::NONE).unwrap(), |header| header.max_timestamp = now);
        let (code, answer) = refused(&mut client, "t", far).await;
        assert_eq!(code, ErrorCode::InvalidTimestamp, "{codec:?}");
        let blamed: Vec<_> = answer.record_errors.iter().map(|record| record.batch_index).collect();
        assert_eq!(blamed, [1, 3], "{codec:?}: none has no time to check");
    }
}

#[tokio::test]
async fn only_the_broker_says_that_a_time_is_its_own() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("create", 1, &[]).await;
    client.create_topic("append", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    for topic in ["create", "append"] {
        for codec in Codec::ALL {
            let lie = lying(&compressed(codec, &["x"]), |header| {
                header.attributes = Attributes(header.attributes.0 | Attributes::TIMESTAMP_TYPE);
            });
            assert_eq!(refused(&mut client, topic, lie).await.0, ErrorCode::InvalidTimestamp, "{topic}");
        }
    }
    let control = lying(&batch(&["x"]), |header| header.attributes = Attributes(Attributes::CONTROL));
    assert_eq!(refused(&mut client, "create", control).await.0, ErrorCode::InvalidRecord);
}

#[tokio::test]
async fn a_compacted_topic_looks_for_keys_in_compressed_batches() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("cleanup.policy", "compact")]).await;
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::default();
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            builder.append(now_ms(), key, Some(b"v"), &[]);
        }
        let keyless = builder.finish(codec, ProducerState::NONE).unwrap();
        let (code, answer) = refused(&mut client, "t", keyless).await;
        assert_eq!(code, ErrorCode::InvalidRecord);
        let blamed: Vec<_> = answer.record_errors.iter().map(|record| record.batch_index).collect();
        assert_eq!(blamed, [1, 3], "{codec:?}");
    }
}

/// Long batches are gone through on another thread: their connection's later requests still wait their turn.
#[tokio::test]
async fn long_and_short_batches_of_a_connection_keep_their_order() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let mut in_flight = Vec::new();
    for number in 0..20 {
        let squares = (0..10_000u64).flat_map(|n| (n * n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let incompressible: Vec<u8> = squares.collect();
        let mut builder = BatchBuilder::default();
        builder.append(now_ms(), None, Some(&incompressible), &[]);
        let long = builder.finish(Codec::Lz4, ProducerState::NONE).unwrap();
        assert!(long.len() > 20_000);
        let records = if number % 2 == 0 { long } else { batch(&["short"]) };
        in_flight.push(client.start(9, produce("t", 0, -1, records)).await);
    }
    for (number, sent) in (0..).zip(in_flight) {
        assert_eq!(produced(&sent.response().await).base_offset, number);
    }
}

async fn stored(client: &mut Client, topic: &str) -> Batch {
    let mut response = client.call(12, fetch(topic, vec![fetch_partition(0, 0)])).await;
    let records = response.responses[0].partitions[0].records.take().unwrap();
    split_batches(records, usize::MAX).unwrap().remove(0)
}

#[tokio::test]
async fn a_topic_s_own_codec_is_what_is_stored() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let values: Vec<String> = (0..3_000).map(|n| format!("value {n}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let wanted = [
        ("uncompressed", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ];
    for (name, own) in wanted {
        for sent in Codec::ALL {
            let topic = format!("{name}-{}", sent.name());
            let levels = [
                ("compression.type", name),
                ("compression.zstd.level", "7"),
                ("compression.gzip.level", "1"),
            ];
            client.create_topic(&topic, 1, &levels).await;
            let batch = compressed(sent, &values);
            let response = client.call(9, produce(&topic, 0, -1, batch.clone())).await;
            assert_eq!(produced(&response).error_code, 0, "{topic}");
            let stored = stored(&mut client, &topic).await;
            stored.verify().unwrap();
            assert_eq!(stored.header.attributes.codec(), Ok(own), "{topic}");
            if own == sent {
                assert_eq!(stored.bytes[HEADER_LEN..], batch[HEADER_LEN..], "{topic}: not encoded again");
            }
            let sent = Batch::parse(batch).unwrap();
            let (sent, stored) = (sent.records(1 << 20).unwrap(), stored.records(1 << 20).unwrap());
            assert!(sent.iter().map(Result::unwrap).eq(stored.iter().map(Result::unwrap)), "{topic}");
        }
    }
    client
        .create_topic("small", 1, &[("compression.type", "uncompressed"), ("max.message.bytes", "20000")])
        .await;
    let grows = compressed(Codec::Zstd, &values);
    assert!(grows.len() < 20_000);
    assert_eq!(refused(&mut client, "small", grows).await.0, ErrorCode::MessageTooLarge);
}

#[tokio::test]
async fn as_the_producer_compressed_it_is_the_default() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for sent in Codec::ALL {
        client.create_topic(sent.name(), 1, &[]).await;
        let batch = compressed(sent, &["a", "b"]);
        client.call(9, produce(sent.name(), 0, -1, batch.clone())).await;
        assert_eq!(stored(&mut client, sent.name()).await.bytes[17..], batch[17..], "from the checksum on");
    }
}
