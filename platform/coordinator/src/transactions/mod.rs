//! The coordinator of transactions: its state is in `__transaction_state`, in Kafka's format.
//!
//! How a transaction ends is decided by one record, and counts when that is on all in-sync replicas. Then the
//! [markers](Markers) are written to all its partitions, again and again until all are in, and another record says so.
//! Whoever leads the partition of the state later finds what is decided and not done, and does it.
//!
//! Invariants:
//! - A producer is told nothing that a crash could take back.
//! - Markers are only written of what is decided durably, with the epoch of the coordinator that writes them.
//! - A transaction that nobody ends is aborted when its producer's timeout is over, and an id that nobody uses is
//!   forgotten.

mod coordinator;
mod error;
mod finish;
mod format;
mod machine;
mod propose;
mod rules;
mod transaction;

pub use coordinator::{ListedTransaction, TransactionCoordinator, TransactionParts, TransactionSettings};
pub use error::TransactionError;
pub use finish::{MarkerFailure, Markers};
pub use transaction::{NO_PRODUCER_ID, ProducerEpoch, Transaction, TransactionPartitions, TransactionState};

/// The topic of the state.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";
