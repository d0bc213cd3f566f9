//! What is kept in partitions by those who run on a broker, and how they reach the partitions.
//!
//! [`Partitions`] is the one port to them. It ships with a conformance suite, `tests/partitions`, which the broker's
//! implementation and the double that other crates test with both pass.
//!
//! A [`StateLog`] keeps a [`Machine`]'s state in a partition: whoever leads the partition has the state.
//!
//! The groups of consumers are the first machine: a [`GroupCoordinator`] for clients, [`CommittedOffsets`] for what runs
//! on the broker. Transactions are the second, of the [`TransactionCoordinator`].
//!
//! It never knows the metadata, the log engine or the wire.

mod groups;
mod partitions;
mod state_log;
mod state_topic;
mod transactions;

pub use groups::*;
pub use partitions::{
    Acknowledged, AppendFailure, Appended, Bounds, Partitions, ReadFailure, TopicFailure, TopicShape,
};
pub use state_log::{
    Machine, Proposal, Replied, SNAPSHOT_BYTES_MIN, StateLog, StateLogParts, StateRecord, Unavailable,
};
pub use state_topic::partition_of;
pub use transactions::{
    ListedTransaction, MarkerFailure, Markers, NO_PRODUCER_ID, ProducerEpoch, TRANSACTION_TOPIC, Transaction,
    TransactionCoordinator, TransactionError, TransactionPartitions, TransactionParts, TransactionSettings,
    TransactionState,
};
