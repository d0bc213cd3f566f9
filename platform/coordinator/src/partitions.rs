//! The port to partitions, for who runs on a broker and speaks no wire protocol: plugins and coordinators.
//!
//! The rules are those of a client that reads committed records and produces with `acks=all`. What a coordinator needs
//! beyond a client's view is who leads a partition since when, and to append as the leader of that epoch and no other.
//!
//! Every implementation passes the suite in `tests/partitions`. None keeps its broker alive: once that is gone, no
//! partition is here any more.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use millrace_base::{LeaderEpoch, Offset, TopicId, TopicPartition};
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

impl ReadFailure {
    /// Whether the same read may succeed later.
    pub const fn retryable(&self) -> bool {
        !matches!(self, Self::OutOfRange { .. })
    }
}

/// Why records were not appended, or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// Another broker leads the partition, or nobody, or its topic is gone, or it is led in another epoch.
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
    /// It is not for what was asked for.
    pub passing: bool,
}

impl TopicFailure {
    /// Whether the same topic may be made later.
    pub const fn retryable(&self) -> bool {
        self.passing
    }
}

/// A topic as those who keep something in it need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicShape {
    pub id: TopicId,
    pub partitions: i32,
}

/// Completes when the records are on all in-sync replicas. A failure does not say that they are not in the log: they
/// may be, and be read later, unless the failure came from the append itself.
pub type Acknowledged = BoxFuture<'static, Result<(), AppendFailure>>;

/// Records that are in the leader's log, and how to wait until they are in all.
pub struct Appended {
    /// After the last of them.
    pub next_offset: Offset,
    pub acknowledged: Acknowledged,
}

/// The partitions that this broker leads.
pub trait Partitions: Send + Sync + 'static {
    /// The epoch in which this broker leads the partition; `None` if it does not. From when it is seen here on, nobody
    /// appends in an earlier one.
    fn leadership(&self, partition: TopicPartition) -> Option<LeaderEpoch>;

    /// Completes when [`leadership`](Self::leadership) is another than `seen`, with what it is then. Dropping it leaves
    /// nothing behind.
    fn leadership_beyond(
        &self,
        partition: TopicPartition,
        seen: Option<LeaderEpoch>,
    ) -> BoxFuture<'static, Option<LeaderEpoch>>;

    /// What may be read; `None` if this broker does not lead the partition.
    fn bounds(&self, partition: TopicPartition) -> Option<Bounds>;

    /// After the last record of the leader's log, which may not be readable yet; `None` if this broker does not lead
    /// the partition.
    fn log_end(&self, partition: TopicPartition) -> Option<Offset>;

    /// Whole batches that consumers may read: the one that holds `from`, and those behind it, of about
    /// `max_bytes` in all but at least one. Empty between the last record that may be read and the log's end. Records
    /// before `from` in the first batch are the caller's to leave out. Control batches are among them.
    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>>;

    /// Completes when there may be something to read at or beyond `offset`, the partition is not led here any more, or
    /// the broker is about to stop. Dropping it leaves nothing behind.
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

    /// Appends `batches` behind everything that was appended before, here or, where an implementation can, at the
    /// leader elsewhere, and returns how to wait for the acknowledgement. All of them are appended or, on a failure,
    /// none. Never blocks.
    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure>;

    /// As [`append`](Self::append), here and as the leader in `epoch`: in any other it is
    /// [`AppendFailure::NotHere`]. When the leadership ends what is not acknowledged fails at once.
    fn append_as_leader(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure>;

    /// Makes an internal topic unless it is there, and returns when its partitions on this broker are open.
    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicShape, TopicFailure>>;

    /// Deletes the records below `before`, as far as they are replicated.
    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>>;
}
