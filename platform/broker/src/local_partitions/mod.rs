//! The partitions that this broker leads, for who runs on this broker: no frames, no copies, no waiting in line.
//!
//! Plugins read and append through it. The rules are those of a client that reads committed records and produces
//! with `acks=all`; what is refused is refused in words, since no wire code has to carry it.
//!
//! It does not keep the broker alive: once that is gone, no partition is here any more.

mod append;
mod read;
mod wait;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;

use crate::partition::Partition;
use crate::state::State;
use crate::topic_creation::{NewTopic, create};

/// What there is to read in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first record.
    pub start: Offset,
    /// After the last record that consumers may read.
    pub end: Offset,
}

impl Bounds {
    fn of(partition: &Partition) -> Self {
        // In this order, so that the start is not beyond the end.
        let start = partition.log().log_start_offset();
        Self { start, end: partition.last_stable_offset() }
    }
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
    #[error("{0}")]
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

/// A topic that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("create topic '{topic}': {reason}")]
pub struct TopicFailure {
    pub topic: String,
    pub reason: String,
}

/// Completes when the records are on all in-sync replicas.
pub type Acknowledged = BoxFuture<'static, Result<(), AppendFailure>>;

/// Names of topics that brokers make for themselves begin with it.
const INTERNAL_PREFIX: &str = "__";

/// See the module's text.
#[derive(Clone)]
pub struct LocalPartitions {
    state: Weak<State>,
}

impl LocalPartitions {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        Self { state: Arc::downgrade(state) }
    }

    fn find(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        let partition = self.state.upgrade()?.partitions.find(id.topic, id.partition)?;
        partition.check_leader(LeaderEpoch::UNKNOWN).ok().map(|()| partition)
    }

    /// `None` if this broker does not lead the partition.
    pub fn bounds(&self, partition: TopicPartition) -> Option<Bounds> {
        self.find(partition).map(|partition| Bounds::of(&partition))
    }

    /// Whole batches that consumers may read: the one that holds `from`, and those behind it, of about
    /// `max_bytes` in all but at least one. Empty at the end of the log. Records before `from` in the first
    /// batch are the caller's to leave out. Slices of the log's memory where they are in it.
    pub async fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadFailure> {
        read::read(self.find(partition).ok_or(ReadFailure::NotHere)?, from, max_bytes).await
    }

    /// Completes when there may be something to read at or beyond `offset`, the partition is not led here any
    /// more, or the broker is about to stop. Dropping it leaves nothing behind.
    pub fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        match self.find(partition) {
            Some(partition) => {
                let state = self.state.clone();
                let is_draining =
                    move || state.upgrade().is_none_or(|state| state.draining.load(Ordering::Acquire));
                Box::pin(wait::wait_for(partition, offset, is_draining))
            }
            None => Box::pin(async {}),
        }
    }

    /// The first offset whose record has this timestamp or a later one; the end where there is none.
    pub async fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Offset, ReadFailure> {
        read::offset_for_time(self.find(partition).ok_or(ReadFailure::NotHere)?, timestamp_ms).await
    }

    /// Waits until the log has room for `bytes` more that are not on disk yet.
    pub async fn admit(&self, bytes: usize) {
        let log = self.state.upgrade().map(|state| state.log.clone());
        if let Some(log) = log {
            log.admit(bytes).await;
        }
    }

    /// Whether the partition's topic would refuse `batches` for what they are, whenever they came: the failure is
    /// [`AppendFailure::Refused`]. Appends nothing.
    pub fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), AppendFailure> {
        let Some(state) = self.state.upgrade() else { return Ok(()) };
        let found = self.find(partition);
        found.map_or(Ok(()), |partition| append::check(&partition, batches, state.clock.now_ms()))
    }

    /// Appends `batches` behind everything that was appended before, as a producer with `acks=all` does, and
    /// returns how to wait for the acknowledgement. Never blocks, but goes through every record.
    pub fn append(
        &self,
        partition: TopicPartition,
        batches: &[Batch],
    ) -> Result<Acknowledged, AppendFailure> {
        let state = self.state.upgrade().ok_or(AppendFailure::NotHere)?;
        append::append(&self.find(partition).ok_or(AppendFailure::NotHere)?, batches, state.clock.now_ms())
    }

    /// Makes an internal topic unless it is there, and returns when its partitions on this broker are open.
    /// Replicas are as many as the broker's settings give any topic.
    pub async fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> Result<(), TopicFailure> {
        let failed = |reason: String| TopicFailure { topic: name.to_owned(), reason };
        if !name.starts_with(INTERNAL_PREFIX) {
            return Err(failed(format!("the name of an internal topic begins with '{INTERNAL_PREFIX}'")));
        }
        let state = self.state.upgrade().ok_or_else(|| failed("the broker has stopped".into()))?;
        if state.metadata.image().topic_by_name(name).is_none() {
            match create(&state, NewTopic::internal(name.to_owned(), partitions, settings)).await {
                Ok(()) => tracing::info!(topic = name, partitions, "created an internal topic"),
                // Another was quicker.
                Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {}
                Err(refusal) => return Err(failed(refusal.message)),
            }
        }
        let opened = state.partitions.catch_up(state.metadata.image()).await;
        opened.map_err(|error| failed(error.to_string()))
    }

    /// Deletes the records below `before`, as far as they are replicated.
    pub async fn trim(&self, partition: TopicPartition, before: Offset) -> Result<(), ReadFailure> {
        read::trim(self.find(partition).ok_or(ReadFailure::NotHere)?, before).await
    }
}
