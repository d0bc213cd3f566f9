//! What plugins need of the broker that they run on.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use millrace_base::{Offset, TopicPartition};
use millrace_protocol::batch::Batch;

/// What there is to read in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first record.
    pub start: Offset,
    /// After the last record that consumers may read.
    pub end: Offset,
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// Another broker leads the partition, or nobody, or its topic is gone.
    #[error("this broker does not lead the partition")]
    NotHere,
    /// The records were deleted, or there never were any.
    #[error("offset {offset} is not in the log, which holds {} to {}", bounds.start, bounds.end)]
    OutOfRange { offset: Offset, bounds: Bounds },
    #[error("read the log: {0}")]
    Storage(String),
}

/// Why records were not appended, or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    #[error("this broker does not lead the partition")]
    NotHere,
    /// It may work later: the disk is full, too few replicas are in sync.
    #[error("{0}")]
    Passing(String),
    /// The topic does not take such records, whenever they come.
    #[error("{0}")]
    Refused(String),
}

impl AppendFailure {
    /// Whether the same records may be taken later.
    pub const fn retryable(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// A topic that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("create topic '{topic}': {reason}")]
pub struct TopicFailure {
    pub topic: String,
    pub reason: String,
}

/// Completes when the records are on all in-sync replicas.
pub type Acknowledged = BoxFuture<'static, Result<(), AppendFailure>>;

/// The partitions that this broker leads.
pub trait Partitions: Send + Sync + 'static {
    /// `None` if this broker does not lead the partition.
    fn bounds(&self, partition: TopicPartition) -> Option<Bounds>;

    /// Whole batches that consumers may read: the one that holds `from`, and those behind it, of about
    /// `max_bytes` in all but at least one. Empty at the end of the log. Records before `from` in the first
    /// batch are the caller's to leave out. Control batches are among them.
    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>>;

    /// Completes when there may be something to read at or beyond `offset`, or the partition is not led here
    /// any more. Dropping it leaves nothing behind.
    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()>;

    /// The first offset whose record has this timestamp or a later one; the end where there is none.
    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, ReadFailure>>;

    /// Waits until the log has room for `bytes` more that are not on disk yet.
    fn admit(&self, bytes: usize) -> BoxFuture<'_, ()>;

    /// Whether the topic refuses `batches` for what they are, whenever they come: the failure is
    /// [`AppendFailure::Refused`]. Appends nothing, and finds nothing wrong where the partition is not here.
    fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), AppendFailure>;

    /// Appends `batches` behind everything that was appended before, and returns how to wait for the
    /// acknowledgement. All of them are appended or, on a failure, none. Never blocks.
    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure>;

    /// Makes an internal topic unless it is there, and returns when its partitions are open.
    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), TopicFailure>>;

    /// Deletes the records below `before`, as far as they are replicated.
    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>>;
}
