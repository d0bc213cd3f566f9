//! What the tests share: batches, settings, a directory.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_base::{Clock, LeaderEpoch, ManualClock, Offset, TopicId, TopicPartition};
use millrace_config::TopicConfig;
use millrace_disk::{Disk, RealDisk};
use millrace_log::{
    AppendError, AppendOrigin, Appended, LogManager, LogOptions, PartitionLog, Read, ReadError,
    RecoveryReport,
};
use millrace_protocol::batch::{Batch, BatchBuilder, BatchHeader, HEADER_LEN, ProducerState, split_batches};
use millrace_protocol::compression::Codec;

pub const NOW_MS: i64 = 1_700_000_000_000;

pub fn tp(number: i32) -> TopicPartition {
    let topic: TopicId = "0123456789abcdef0123456789abcdef".parse().unwrap();
    TopicPartition::new(topic, number)
}

pub fn config(overrides: &[(&str, &str)]) -> Arc<TopicConfig> {
    let overrides: BTreeMap<_, _> =
        overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Arc::new(TopicConfig::from_overrides(&TopicConfig::default(), &overrides).unwrap())
}

/// Settings with segments smaller than a user may choose, so that tests see many.
pub fn segments_of(segment_bytes: u32, overrides: &[(&str, &str)]) -> Arc<TopicConfig> {
    Arc::new(TopicConfig { segment_bytes, ..(*config(overrides)).clone() })
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at_ms(NOW_MS))
}

/// A batch with one record for each value.
pub fn batch_of(values: &[&[u8]], timestamp_ms: i64, producer: ProducerState) -> Batch {
    let mut builder = BatchBuilder::with_capacity(1024);
    for value in values {
        builder.append(timestamp_ms, None, Some(value), &[]);
    }
    let bytes = builder.finish(Codec::None, producer).unwrap();
    split_batches(bytes, usize::MAX).unwrap().remove(0)
}

/// A batch with one record for each key and value, `None` being a tombstone.
pub fn keyed(
    records: &[(&[u8], Option<&[u8]>)],
    timestamp_ms: i64,
    codec: Codec,
    producer: ProducerState,
) -> Batch {
    let mut builder = BatchBuilder::with_capacity(1024);
    for (key, value) in records {
        builder.append(timestamp_ms, Some(key), *value, &[]);
    }
    split_batches(builder.finish(codec, producer).unwrap(), usize::MAX).unwrap().remove(0)
}

pub fn batch(value: &[u8]) -> Batch {
    batch_of(&[value], NOW_MS, ProducerState::NONE)
}

pub fn producer(producer_id: i64, producer_epoch: i16, base_sequence: i32) -> ProducerState {
    ProducerState { producer_id, producer_epoch, base_sequence, transactional: false }
}

pub fn append(log: &PartitionLog, batch: Batch) -> Result<Appended, AppendError> {
    log.append(&[batch], LeaderEpoch(0), AppendOrigin::Producer)
}

/// A batch as the leader of an epoch has it at an offset.
pub fn placed(batch: Batch, base_offset: Offset, leader_epoch: i32) -> Batch {
    let header = BatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..batch.header };
    let mut bytes = batch.bytes.to_vec();
    header.write(&mut bytes[..HEADER_LEN]);
    Batch { header, bytes: bytes.into() }
}

/// Appends what a leader sent.
pub fn follow(log: &PartitionLog, batches: &[Batch], leader_epoch: i32) -> Result<Appended, AppendError> {
    log.append(batches, LeaderEpoch(leader_epoch), AppendOrigin::Replica)
}

pub fn options() -> LogOptions {
    LogOptions { wal_bytes: 4 << 20, tail_bytes: 64 << 20, ..LogOptions::default() }
}

pub fn open(dir: &Path) -> (LogManager, RecoveryReport) {
    open_with(dir, options(), clock())
}

pub fn open_with(dir: &Path, options: LogOptions, clock: Arc<dyn Clock>) -> (LogManager, RecoveryReport) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    LogManager::open(disk, dir, options, clock).unwrap()
}

/// Waits until everything appended is durable.
pub fn settle(log: &PartitionLog) {
    wait_until(|| log.durable_end_offset() == log.log_end_offset());
    log.set_high_watermark(log.durable_end_offset());
}

pub fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s");
        std::thread::yield_now();
    }
}

/// All batches of a read.
pub fn batches(read: Read) -> Vec<Batch> {
    split(read.payload.read_to_bytes().unwrap())
}

fn split(bytes: Bytes) -> Vec<Batch> {
    split_batches(bytes, usize::MAX).unwrap()
}

/// Offset and value of every record from `from` on; a tombstone's is empty.
pub fn records(log: &PartitionLog, from: Offset) -> Vec<(Offset, Vec<u8>)> {
    try_records(log, from).unwrap()
}

/// The same from a disk that may not be there any more.
pub fn try_records(log: &PartitionLog, mut from: Offset) -> Result<Vec<(Offset, Vec<u8>)>, ReadError> {
    let mut found = Vec::new();
    while from < log.log_end_offset() {
        let read = log.read(from, Offset::MAX, 1 << 20, true)?;
        assert!(read.next_offset > from, "a read at {from} moves on");
        let next = read.next_offset;
        let bytes = read.payload.read_to_bytes();
        for batch in split(bytes.map_err(|source| ReadError::Io { path: "its payload".into(), source })?) {
            batch.verify_crc().unwrap();
            for record in &batch.records(1 << 30).unwrap() {
                let record = record.unwrap();
                found.push((record.offset, record.value.unwrap_or_default().to_vec()));
            }
        }
        from = next;
    }
    Ok(found)
}
