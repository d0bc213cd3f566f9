//! One transactional id: its producer, and the transaction that is open or was last.

use std::collections::{BTreeMap, BTreeSet};

/// A producer id that nobody has.
pub const NO_PRODUCER_ID: i64 = -1;
/// A time that has not come.
pub(super) const NO_TIME_MS: i64 = -1;

/// Partition numbers by topic.
pub type TransactionPartitions = BTreeMap<String, BTreeSet<i32>>;

/// Who writes: a producer's id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEpoch {
    pub id: i64,
    pub epoch: i16,
}

/// What becomes of a transaction, by Kafka's numbers and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
}

impl TransactionState {
    const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    pub(super) fn from_number(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i8 == number)
    }

    /// As DescribeTransactions and ListTransactions have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// It is decided how the transaction ends, and not all partitions know.
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub producer: ProducerEpoch,
    /// The producer id before the last epoch of it was used up, or [`NO_PRODUCER_ID`].
    pub previous_producer_id: i64,
    /// The one that the producer has from the end of this transaction on, or [`NO_PRODUCER_ID`].
    pub next_producer_id: i64,
    pub timeout_ms: i32,
    pub state: TransactionState,
    pub partitions: TransactionPartitions,
    pub updated_ms: i64,
    /// -1: none has begun.
    pub started_ms: i64,
    /// The `transaction.version` that the client goes by: from 2 on each transaction has an epoch of its own (KIP-890).
    pub client_version: i16,
}

/// From this version on each transaction has an epoch of its own.
pub(super) const EPOCH_EACH: i16 = 2;

/// The last epoch of a producer id that a client gets: one more is left for markers that fence it.
pub(super) const EPOCH_MAX: i16 = i16::MAX - 1;

impl Transaction {
    /// Of a new producer.
    pub(super) const fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer: ProducerEpoch { id: producer_id, epoch: 0 },
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeMap::new(),
            updated_ms: now_ms,
            started_ms: NO_TIME_MS,
            client_version: 0,
        }
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        self.producer.epoch >= EPOCH_MAX
    }

    /// Whether it has been open for longer than its producer has asked for.
    pub(super) fn is_overdue(&self, now_ms: i64) -> bool {
        self.state == TransactionState::Ongoing
            && now_ms.saturating_sub(self.started_ms) > i64::from(self.timeout_ms)
    }
}
