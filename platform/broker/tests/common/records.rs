//! Record batches for requests, and the records of responses.

use bytes::Bytes;
use millrace_protocol::batch::{BatchBuilder, ProducerState, split_batches};
use millrace_protocol::compression::Codec;

/// A batch of records with these values.
pub fn batch(values: &[&str]) -> Bytes {
    batch_of(ProducerState::NONE, values)
}

/// A batch of an idempotent producer.
pub fn idempotent(producer_id: i64, producer_epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_of(ProducerState { producer_id, producer_epoch, base_sequence, transactional: false }, values)
}

pub fn batch_of(producer: ProducerState, values: &[&str]) -> Bytes {
    batch_at(producer, now_ms(), None, values)
}

pub fn batch_at(producer: ProducerState, timestamp_ms: i64, key: Option<&[u8]>, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1024);
    for value in values {
        builder.append(timestamp_ms, key, Some(value.as_bytes()), &[]);
    }
    builder.finish(Codec::None, producer).unwrap()
}

pub fn compressed(codec: Codec, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1024);
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()), &[]);
    }
    builder.finish(codec, ProducerState::NONE).unwrap()
}

pub fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since_epoch.as_millis() as i64
}

/// Offsets and values of all records in a response's bytes.
pub fn records(bytes: Option<Bytes>) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in split_batches(bytes.unwrap_or_default(), usize::MAX).unwrap() {
        batch.verify_crc().unwrap();
        for record in &batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            found.push((record.offset, value));
        }
    }
    found
}

pub fn values(bytes: Option<Bytes>) -> Vec<String> {
    records(bytes).into_iter().map(|(_, value)| value).collect()
}
