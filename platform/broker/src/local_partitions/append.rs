//! Appends: as a produce request with `acks=all`, without the request.

use std::sync::Arc;

use millrace_base::LeaderEpoch;
use millrace_coordinator::{AppendFailure, Appended};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;

use crate::checked_append::{self, Failure, Origin};
use crate::partition::{Partition, PendingAcks, Safe};

/// Appends as the leader of `epoch`, or of whichever there is.
pub(super) fn append(
    partition: &Arc<Partition>,
    epoch: LeaderEpoch,
    batches: &[Batch],
    now_ms: i64,
) -> Result<Appended, AppendFailure> {
    let epoch = partition.leading(epoch).map_err(|code| failure(code.into()))?;
    let appended =
        checked_append::append(partition, epoch, batches, now_ms, true, Origin::Broker).map_err(failure)?;
    let acks = PendingAcks::new(1);
    partition.acknowledge_at((epoch, appended.last_offset + 1), Safe::Replicated, &acks, 0);
    let acknowledged = Box::pin(async move {
        acks.wait().await;
        match acks.outcome(0).and_then(ErrorCode::try_from_code) {
            None => Ok(()),
            // The records were taken once already, so that it is not for them.
            Some(ErrorCode::NotLeaderOrFollower) => Err(AppendFailure::NotHere),
            Some(code) => Err(AppendFailure::Passing(format!("the records are not acknowledged: {code:?}"))),
        }
    });
    Ok(Appended { next_offset: appended.last_offset + 1, acknowledged })
}

/// Whether the topic would refuse the batches for what they are.
pub(super) fn check(partition: &Partition, batches: &[Batch], now_ms: i64) -> Result<(), AppendFailure> {
    match checked_append::check_only(partition, batches, now_ms).map_err(failure) {
        Err(refused @ AppendFailure::Refused(_)) => Err(refused),
        // What passes is the append's to find out.
        _ => Ok(()),
    }
}

fn failure(failure: Failure) -> AppendFailure {
    let message =
        failure.message.unwrap_or_else(|| format!("the records are not acknowledged: {:?}", failure.code));
    match failure.code {
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => {
            AppendFailure::NotHere
        }
        // The records' own faults; of any other cause they are not to blame.
        ErrorCode::CorruptMessage
        | ErrorCode::InvalidRecord
        | ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidTxnState
        | ErrorCode::MessageTooLarge
        | ErrorCode::PolicyViolation
        | ErrorCode::RecordListTooLarge
        | ErrorCode::UnsupportedCompressionType
        | ErrorCode::UnsupportedForMessageFormat => AppendFailure::Refused(message),
        _ => AppendFailure::Passing(message),
    }
}
