//! One partition's part of a produce request.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::{LeaderEpoch, Offset};
use millrace_log::Appended;
use millrace_metadata::Topic;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, BatchError, BatchHeader};
use millrace_protocol::compression::Codec;

use super::{ACKS_ALL, ACKS_LEADER, ACKS_NONE};
use crate::call::Call;
use crate::checked_append::{self, Failure, Origin};
use crate::handlers::lookup;
use crate::partition::Partition;

/// From this version on zstd may be used (KIP-110).
const ALLOWS_ZSTD: i16 = 7;

/// Checks and appends `records`. Of several faults the answer names the one that Kafka's names: a transaction that is
/// nobody's, that there is no such place, then what no batch is, `acks`, the topic, the batch.
pub(super) fn append(
    call: &Call,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
    acks: i16,
    verified: Option<Result<Offset, ErrorCode>>,
) -> Result<(Arc<Partition>, LeaderEpoch, Appended), Failure> {
    // Kafka asks who may write in a transaction before it looks at anything else.
    if verified == Some(Err(ErrorCode::TransactionalIdAuthorizationFailed)) {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed.into());
    }
    let partition = lookup::led_here(&call.state, topic, index, LeaderEpoch::UNKNOWN)?;
    let epoch = partition.leading(LeaderEpoch::UNKNOWN)?;
    let batch = only_batch(records.unwrap_or_default(), call.version)?;
    if !matches!(acks, ACKS_NONE | ACKS_LEADER | ACKS_ALL) {
        return Err(ErrorCode::InvalidRequiredAcks.into());
    }
    if lookup::is_written_by_brokers_only(&topic.name) {
        let message = format!("topic '{}' is written by brokers only", topic.name);
        return Err(Failure::because(ErrorCode::InvalidTopicException, message));
    }
    let origin = origin(&batch, verified)?;
    let max = partition.role().config.max_message_bytes as usize;
    let now_ms = call.state.clock.now_ms();
    let appended = check_place_and_size(&batch, max)
        .and_then(|()| checked_append::append(&partition, epoch, &[batch], now_ms, acks == ACKS_ALL, origin));
    match appended {
        Ok(appended) => Ok((partition, epoch, appended)),
        Err(failure) if tells_log_start(failure.code) => {
            Err(Failure { log_start_offset: partition.log().log_start_offset(), ..failure })
        }
        Err(failure) => Err(failure),
    }
}

/// What the log may believe of the batch; a transaction's was asked about.
fn origin(batch: &Batch, verified: Option<Result<Offset, ErrorCode>>) -> Result<Origin, Failure> {
    if !batch.header.attributes.is_transactional() {
        return Ok(Origin::Client);
    }
    // It was not here yet when the coordinator was asked.
    let verified = verified.ok_or(ErrorCode::NotLeaderOrFollower)?;
    Ok(Origin::Verified(verified?))
}

/// Whether a log that refuses a batch also tells where it starts, as Kafka's does unless the batch is damaged or too
/// large, or the log does not take any: a producer then sees whether what it wrote before was deleted.
const fn tells_log_start(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::KafkaStorageError
    )
}

/// The batch that a partition's records are, in a format that the request's version allows.
fn only_batch(records: Bytes, version: i16) -> Result<Batch, Failure> {
    if records.is_empty() {
        return Err(Failure::because(ErrorCode::InvalidRecord, "the request holds no record batch"));
    }
    let header = BatchHeader::parse(&records)?;
    let (needed, available) = (header.total_len(), records.len());
    if needed > available {
        return Err(BatchError::Truncated { needed, available }.into());
    }
    if version < ALLOWS_ZSTD && header.attributes.codec()? == Codec::Zstd {
        let message = format!("zstd needs Produce version {ALLOWS_ZSTD}, this is {version}");
        return Err(Failure::because(ErrorCode::UnsupportedCompressionType, message));
    }
    if needed < available {
        return Err(BatchError::Invalid("more bytes follow the batch, which has to be the only one").into());
    }
    Ok(Batch { header, bytes: records })
}

/// What is looked at before the records are.
fn check_place_and_size(batch: &Batch, max: usize) -> Result<(), Failure> {
    let (base_offset, len) = (batch.header.base_offset, batch.bytes.len());
    if base_offset != 0 {
        let message = format!("the batch's base offset is {base_offset}; a producer's batch begins at 0");
        return Err(Failure::because(ErrorCode::InvalidRecord, message));
    }
    if len > max {
        return Err(BatchError::TooLarge { len, max }.into());
    }
    Ok(())
}
