//! The APIs about transactions: what they ask of the [`millrace_coordinator::TransactionCoordinator`], and its answers on the
//! wire.

pub(crate) mod add_partitions;
pub(crate) mod describe;
pub(crate) mod end;
pub(crate) mod markers;
pub(crate) mod verify;

use millrace_coordinator::TransactionError;
use millrace_protocol::ErrorCode;

use crate::error_map::ToErrorCode;

/// The error's code for a client that knows `PRODUCER_FENCED` from `since` on (KIP-588).
fn code_since(error: &TransactionError, version: i16, since: i16) -> ErrorCode {
    match error.to_error_code() {
        ErrorCode::ProducerFenced if version < since => ErrorCode::InvalidProducerEpoch,
        code => code,
    }
}
