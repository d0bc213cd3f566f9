//! What every append goes through, be it a produce request's or a plugin's on this broker: the checks, the
//! append, the count of its bytes.

use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_log::Appended;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, BatchError};
use millrace_protocol::compression::Codec;

use crate::error_map::ToErrorCode;
use crate::partition::Partition;

/// Why a partition's records were refused.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
    /// The records that are to blame, by their index in the batch, each with the reason (KIP-467).
    pub(crate) records: Vec<(i32, &'static str)>,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

impl Failure {
    pub(crate) fn because(code: ErrorCode, message: impl Into<String>) -> Self {
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

/// Checks and appends `batches`. `replicated` tells that the producer wants all replicas to have them.
pub(crate) fn append(
    partition: &Partition,
    batches: &[Batch],
    replicated: bool,
) -> Result<Appended, Failure> {
    let role = partition.role();
    if replicated && !role.has_enough_replicas() {
        let (in_sync, least) = (role.isr.len(), role.min_insync_replicas());
        let message = format!("{in_sync} replicas are in sync, and min.insync.replicas asks for {least}");
        return Err(Failure::because(ErrorCode::NotEnoughReplicas, message));
    }
    if batches.is_empty() {
        return Err(Failure::because(ErrorCode::InvalidRecord, "the request holds no record batch"));
    }
    for batch in batches {
        check(batch, role.config.cleanup_policy.compact)?;
    }
    drop(role);
    let appended = partition
        .append(batches)
        .map_err(|error| Failure::because(error.to_error_code(), error.to_string()))?;
    let bytes = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
    partition.traffic().came_in(bytes);
    Ok(appended)
}

fn check(batch: &Batch, compacted: bool) -> Result<(), Failure> {
    batch.verify()?;
    let attributes = batch.header.attributes;
    if attributes.is_transactional() {
        return Err(Failure::because(ErrorCode::InvalidTxnState, "transactions are not served here yet"));
    }
    // A record that lies about its length would stop every consumer of the partition. What is compressed is
    // taken at its checksum's word: decompressing it here would cost more than all the rest of an append.
    if attributes.codec()? == Codec::None {
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
