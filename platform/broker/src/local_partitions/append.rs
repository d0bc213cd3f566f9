//! Appends: as a produce request with `acks=all`, without the request.

use std::sync::Arc;

use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;

use super::{Acknowledged, AppendFailure};
use crate::checked_append::{self, Failure};
use crate::partition::{Partition, PendingAcks, Safe};

pub(super) fn append(
    partition: &Arc<Partition>,
    batches: &[Batch],
    now_ms: i64,
) -> Result<Acknowledged, AppendFailure> {
    let appended = checked_append::append(partition, batches, now_ms, true).map_err(failure)?;
    let acks = PendingAcks::new(1);
    partition.acknowledge_at(appended.last_offset + 1, Safe::Replicated, &acks, 0);
    Ok(Box::pin(async move {
        acks.wait().await;
        match acks.outcome(0).and_then(ErrorCode::try_from_code) {
            None => Ok(()),
            Some(code) => Err(failure(code.into())),
        }
    }))
}

fn failure(failure: Failure) -> AppendFailure {
    let message =
        failure.message.unwrap_or_else(|| format!("the records are not acknowledged: {:?}", failure.code));
    match failure.code {
        ErrorCode::NotLeaderOrFollower => AppendFailure::NotHere,
        ErrorCode::NotEnoughReplicas | ErrorCode::KafkaStorageError => AppendFailure::Passing(message),
        _ => AppendFailure::Refused(message),
    }
}
