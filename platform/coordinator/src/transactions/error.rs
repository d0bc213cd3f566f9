//! Why a coordinator refuses a request about a transaction.

use crate::state_log::Unavailable;
use crate::{AppendFailure, TopicFailure};

/// Each is Kafka's error of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    #[error("the transactional id has another producer id, or is not known")]
    InvalidProducerIdMapping,
    #[error("another producer has the transactional id now")]
    ProducerFenced,
    #[error("the last transaction of this id is still being ended")]
    ConcurrentTransactions,
    #[error("the transaction is in no state for that")]
    InvalidTxnState,
    #[error("a transaction may take from 1 to {max_ms} ms (transaction.max.timeout.ms), not {timeout_ms}")]
    InvalidTransactionTimeout { timeout_ms: i32, max_ms: i32 },
    #[error("a transactional id must not be empty")]
    InvalidRequest,
    #[error("the transactional id is not known")]
    TransactionalIdNotFound,
    #[error("this broker does not coordinate the transactional id")]
    NotCoordinator,
    #[error("the coordinator's state is being read back")]
    CoordinatorLoadInProgress,
    #[error("{0}")]
    CoordinatorNotAvailable(String),
}

impl From<Unavailable> for TransactionError {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NotLed => Self::NotCoordinator,
            Unavailable::Loading => Self::CoordinatorLoadInProgress,
            unreadable @ Unavailable::Unreadable(_) => Self::CoordinatorNotAvailable(unreadable.to_string()),
        }
    }
}

impl From<AppendFailure> for TransactionError {
    fn from(failure: AppendFailure) -> Self {
        match failure {
            AppendFailure::NotHere => Self::NotCoordinator,
            failure => Self::CoordinatorNotAvailable(failure.to_string()),
        }
    }
}

impl From<TopicFailure> for TransactionError {
    fn from(failure: TopicFailure) -> Self {
        Self::CoordinatorNotAvailable(failure.to_string())
    }
}
