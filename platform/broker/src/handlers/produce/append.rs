//! One partition's part of a produce request: checks, then the append.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::LeaderEpoch;
use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_log::Appended;
use millrace_metadata::Topic;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, BatchError, split_batches};
use millrace_protocol::compression::Codec;

use crate::dispatch::Call;
use crate::error_map::ToErrorCode;
use crate::handlers::lookup;
use crate::partition::Partition;

/// From this version on zstd may be used (KIP-110).
const ALLOWS_ZSTD: i16 = 7;

/// Why a partition's records were refused.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) message: Option<String>,
    /// The records that are to blame, by their index in the batch, each with the reason (KIP-467).
    pub(super) records: Vec<(i32, &'static str)>,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

impl Failure {
    fn because(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::from(code) }
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        let records = match error {
            BatchError::MalformedRecord { index, reason } => vec![(index, reason)],
            _ => Vec::new(),
        };
        Self { records, ..Self::because(error.code(), error.to_string()) }
    }
}

/// Checks and appends `records`. `replicated` tells that the producer wants all replicas to have them.
pub(super) fn append(
    call: &Call,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
    replicated: bool,
) -> Result<(Arc<Partition>, Appended), Failure> {
    let partition = lookup::led_here(&call.state, topic, index, LeaderEpoch::UNKNOWN)?;
    let role = partition.role();
    if replicated && !role.has_enough_replicas() {
        return Err(ErrorCode::NotEnoughReplicas.into());
    }
    let records = records.unwrap_or_default();
    let bytes = records.len() as u64;
    let batches = split_batches(records, role.config.max_message_bytes as usize)?;
    if batches.is_empty() {
        return Err(Failure::because(ErrorCode::InvalidRecord, "the request holds no record batch"));
    }
    for batch in &batches {
        check(batch, call.version, role.config.cleanup_policy.compact)?;
    }
    drop(role);
    let appended = partition
        .append(&batches)
        .map_err(|error| Failure::because(error.to_error_code(), error.to_string()))?;
    partition.traffic().bytes_in.inc_by(bytes);
    Ok((partition, appended))
}

fn check(batch: &Batch, version: i16, compacted: bool) -> Result<(), Failure> {
    batch.verify()?;
    let attributes = batch.header.attributes;
    if attributes.is_transactional() {
        return Err(Failure::because(ErrorCode::InvalidTxnState, "transactions are not served here yet"));
    }
    let codec = attributes.codec()?;
    if codec == Codec::Zstd && version < ALLOWS_ZSTD {
        let message = format!("zstd needs Produce version {ALLOWS_ZSTD}, this is {version}");
        return Err(Failure::because(ErrorCode::UnsupportedCompressionType, message));
    }
    // A record that lies about its length would stop every consumer of the partition. What is compressed is
    // taken at its checksum's word: decompressing it here would cost more than all the rest of an append.
    if codec == Codec::None {
        batch.validate_records(BATCH_BYTES_MAX)?;
    }
    if compacted { check_keys(batch) } else { Ok(()) }
}

/// A compacted topic keeps the newest record of each key, so a record without one has no place in it.
fn check_keys(batch: &Batch) -> Result<(), Failure> {
    let mut without = Vec::new();
    for (index, record) in (0..).zip(&batch.records(BATCH_BYTES_MAX)?) {
        if record?.key.is_none() {
            without.push((index, "a record of a compacted topic needs a key"));
        }
    }
    if without.is_empty() {
        return Ok(());
    }
    let message = format!("{} records of the batch have no key; the topic is compacted", without.len());
    Err(Failure { records: without, ..Failure::because(ErrorCode::InvalidRecord, message) })
}
