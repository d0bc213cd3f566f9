//! What every append goes through, be it a produce request's or a plugin's on this broker: the checks, the
//! append, the count of its bytes.

mod check;

use millrace_base::{LeaderEpoch, Offset};
use millrace_log::{AppendOrigin, Appended};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{Batch, BatchError};

use crate::error_map::ToErrorCode;
use crate::partition::Partition;

/// Why a partition's records were refused.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
    /// The records that are to blame, by their index in the batch, each with the reason (KIP-467).
    pub(crate) records: Vec<(i32, &'static str)>,
    /// Where the log starts; -1 if the producer is not told.
    pub(crate) log_start_offset: Offset,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new(), log_start_offset: -1 }
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

/// Who made the batches that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client: nothing that the bytes say is believed.
    Client,
    /// The same, whose transaction its coordinator knows: see [`AppendOrigin::Verified`].
    Verified(Offset),
    /// This broker, which has gone through every record for it: the batch holds what its header says.
    Broker,
}

/// Checks and appends `batches`, as the leader in `epoch`. `replicated` tells that the producer wants all replicas to have
/// them. Every record of a client's is gone through, so that much compressed data keeps the thread for a while.
pub(crate) fn append(
    partition: &Partition,
    epoch: LeaderEpoch,
    batches: &[Batch],
    now_ms: i64,
    replicated: bool,
    origin: Origin,
) -> Result<Appended, Failure> {
    let role = partition.role();
    if replicated && let Err(refused) = role.standing.check_in_sync() {
        return Err(Failure::because(refused.to_error_code(), refused.to_string()));
    }
    let checked = batches.iter().map(|batch| check::check(batch, &role.config, now_ms, origin));
    let batches = checked.collect::<Result<Vec<Batch>, Failure>>()?;
    drop(role);
    let log_origin = match origin {
        Origin::Verified(last_marker) => AppendOrigin::Verified(last_marker),
        Origin::Client | Origin::Broker => AppendOrigin::Producer,
    };
    let appended = partition
        .append(epoch, &batches, log_origin)
        .map_err(|error| Failure::because(error.to_error_code(), error.to_string()))?;
    let bytes = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
    partition.traffic().came_in(bytes);
    Ok(appended)
}

/// What [`append`] would refuse the broker's own `batches` for, whenever they came. Appends nothing.
pub(crate) fn check_only(partition: &Partition, batches: &[Batch], now_ms: i64) -> Result<(), Failure> {
    let role = partition.role();
    let checked = batches.iter().map(|batch| check::check(batch, &role.config, now_ms, Origin::Broker));
    let batches = checked.collect::<Result<Vec<Batch>, Failure>>()?;
    drop(role);
    partition.check(&batches).map_err(|error| Failure::because(error.to_error_code(), error.to_string()))
}
