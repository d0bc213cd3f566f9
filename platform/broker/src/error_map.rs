//! Which of Kafka's errors a client is told for each error of the inner crates.
//!
//! What a producer or consumer can mend by trying again maps to an error that Kafka's clients retry;
//! everything that a retry cannot mend maps to one that they report.

use millrace_config::SettingError;
use millrace_coordinator::TransactionError;
use millrace_log::{AppendError, LogError, ReadError};
use millrace_metadata::placement::PlacementError;
use millrace_metadata::{Rejection, SubmitError};
use millrace_protocol::ErrorCode;
use millrace_replication::Refused;

/// An inner error with a place in Kafka's list.
pub(crate) trait ToErrorCode {
    fn to_error_code(&self) -> ErrorCode;
}

impl ToErrorCode for AppendError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            // Retried by producers; their coordinator is asked again then.
            Self::Unverified(_) => ErrorCode::NotEnoughReplicas,
            Self::TransactionOpen(_) => ErrorCode::InvalidTxnState,
            Self::RecordTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::RecordListTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::Fenced { .. } | Self::Closed => ErrorCode::NotLeaderOrFollower,
            Self::Empty => ErrorCode::InvalidRecord,
            // Retried by clients: there may be room again, or another leader.
            Self::Stalled(_) | Self::Failed(_) => ErrorCode::KafkaStorageError,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for ReadError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Corrupt { .. } => ErrorCode::CorruptMessage,
            Self::Io { .. } => ErrorCode::KafkaStorageError,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for LogError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::UnknownPartition(_) | Self::Closed => ErrorCode::NotLeaderOrFollower,
            Self::Io { .. } | Self::Corrupt { .. } | Self::Failed(_) => ErrorCode::KafkaStorageError,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for SubmitError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::Rejected(rejection) => rejection.to_error_code(),
            // Retried by admin clients, against whoever is controller then.
            Self::NotLeader { .. } | Self::Shutdown { .. } => ErrorCode::NotController,
            Self::Timeout => ErrorCode::RequestTimedOut,
            // Clients retry it, and it says what it is.
            Self::Stalled { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

impl ToErrorCode for Rejection {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName(_) | Self::TopicNameCollision { .. } => ErrorCode::InvalidTopicException,
            Self::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopicId,
            Self::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownBroker { .. } => ErrorCode::BrokerIdNotRegistered,
            Self::InvalidPartitionCount { .. } => ErrorCode::InvalidPartitions,
            Self::InvalidReplicaAssignment { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::InvalidPartitionEpoch { .. } => ErrorCode::InvalidUpdateVersion,
            // Another request was quicker: asking again sees what it did.
            Self::PartitionCountChanged { .. } | Self::ConfigChanged { .. } => ErrorCode::RequestTimedOut,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for Refused {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::NotLeader | Self::UnknownReplica(_) => ErrorCode::NotLeaderOrFollower,
            Self::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend { .. } => ErrorCode::NotEnoughReplicasAfterAppend,
            Self::StaleBroker { .. } => ErrorCode::StaleBrokerEpoch,
            Self::OutOfRange { .. } | Self::UnknownHistory(_) => ErrorCode::OffsetOutOfRange,
        }
    }
}

impl ToErrorCode for TransactionError {
    fn to_error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
            Self::ProducerFenced => ErrorCode::ProducerFenced,
            Self::ConcurrentTransactions => ErrorCode::ConcurrentTransactions,
            Self::InvalidTxnState => ErrorCode::InvalidTxnState,
            Self::InvalidTransactionTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            Self::InvalidRequest => ErrorCode::InvalidRequest,
            Self::TransactionalIdNotFound => ErrorCode::TransactionalIdNotFound,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            Self::CoordinatorNotAvailable(_) => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl ToErrorCode for PlacementError {
    fn to_error_code(&self) -> ErrorCode {
        ErrorCode::InvalidReplicationFactor
    }
}

impl ToErrorCode for SettingError {
    fn to_error_code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }
}
