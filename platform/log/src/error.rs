//! One error type an operation; `millrace-broker` maps them to wire codes.

use std::io;
use std::path::{Path, PathBuf};

use millrace_base::{LeaderEpoch, Offset, ProducerId, TopicPartition};

/// A data directory that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error(
        "data directory {} is in use by process {holder}; stop that process or choose another directory",
        dir.display()
    )]
    Locked { dir: PathBuf, holder: String },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    #[error(
        "{} has format version {found}; this build reads version {supported} only: use the build that wrote it, or \
         another directory",
        path.display()
    )]
    Version { path: PathBuf, found: u16, supported: u16 },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), position, reason: reason.into() }
    }
}

/// An operation on a partition's existence, its log start or the whole engine that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("partition {0} does not exist")]
    UnknownPartition(TopicPartition),
    #[error("offset {offset} is outside the log's {start}..={end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    #[error("the log has failed: {0}")]
    Failed(String),
    #[error("the log is closed")]
    Closed,
}

/// Batches that were not appended; nothing of them is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// KIP-98: neither the sequence that follows the producer's last nor one of its last five batches.
    #[error("producer {producer_id} sent sequence {sequence} where {expected} was expected")]
    OutOfOrderSequence { producer_id: ProducerId, sequence: i32, expected: i32 },
    #[error("producer {producer_id} has epoch {current}; epoch {epoch} is fenced")]
    InvalidProducerEpoch { producer_id: ProducerId, epoch: i16, current: i16 },
    #[error("the coordinator's epoch {epoch} is older than {current}, in which the last marker was written")]
    CoordinatorFenced { epoch: i32, current: i32 },
    #[error("producer {0} has a transaction open here: only records of that are taken until it has ended")]
    TransactionOpen(ProducerId),
    /// A transaction of the producer's has ended meanwhile; whether this batch is of the next one is to be asked again.
    #[error("producer {0} begins a transaction that its coordinator was not asked about")]
    Unverified(ProducerId),
    #[error("a batch of {bytes} bytes is over the topic's max.message.bytes of {max}")]
    RecordTooLarge { bytes: usize, max: usize },
    #[error("{bytes} bytes of batches do not fit into the topic's segment.bytes of {max}")]
    RecordListTooLarge { bytes: usize, max: usize },
    #[error("the request's leader epoch {epoch} is older than the partition's {current}")]
    Fenced { epoch: LeaderEpoch, current: LeaderEpoch },
    /// A replica's batch that begins before the end of the log.
    #[error("the leader's batch begins at offset {base_offset}, before {end}, where the log ends")]
    NotNext { base_offset: Offset, end: Offset },
    #[error("the request holds no batch")]
    Empty,
    /// An error of the disk's that passes; what was appended before is kept and committed when it has.
    #[error("nothing is taken until this has passed, which is tried again and again: {0}")]
    Stalled(String),
    #[error("the log has failed: {0}")]
    Failed(String),
    #[error("the partition is closed or deleted")]
    Closed,
}

/// A read that could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("offset {offset} is outside the log's {start}..={end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    #[error("read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A log whose positions contradict each other: a bug of the engine's, or of who sets its high watermark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {tp}: {what} (log start, high watermark, durable end and log end are {positions})")]
pub struct Disorder {
    pub(crate) tp: TopicPartition,
    pub(crate) what: &'static str,
    pub(crate) positions: String,
}
