//! The partitions that this broker leads, for who runs on this broker: no frames, no copies, no waiting in line.
//!
//! Plugins and coordinators reach them through the port [`Partitions`], which says what is done how. What is refused
//! is refused in words, since no wire code has to carry it.

mod append;
mod leadership;
mod read;
mod wait;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_coordinator::{
    Acknowledged, AppendFailure, Appended, Bounds, Partitions, ReadFailure, TopicFailure, TopicShape,
};
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::Batch;

use crate::partition::Partition;
use crate::state::State;
use crate::topic_creation::{NewTopic, create};

/// Names of topics that brokers make for themselves begin with it.
const INTERNAL_PREFIX: &str = "__";

/// See the module's text. It does not keep the broker alive.
#[derive(Clone)]
pub struct LocalPartitions {
    state: Weak<State>,
    isolation: Isolation,
}

/// What a reader is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Records below the first open transaction; those of aborted ones are left out of their batches.
    Committed,
    /// All that is replicated: a coordinator's own state, of which it knows what counts.
    Replicated,
}

impl Isolation {
    fn end_of(self, partition: &Partition) -> Offset {
        match self {
            Self::Committed => partition.last_stable_offset(),
            Self::Replicated => partition.high_watermark(),
        }
    }
}

impl LocalPartitions {
    /// What consumers of committed records see.
    pub(crate) const fn new(state: Weak<State>) -> Self {
        Self { state, isolation: Isolation::Committed }
    }

    /// For state that its coordinator leads.
    pub(crate) const fn of_state(state: Weak<State>) -> Self {
        Self { state, isolation: Isolation::Replicated }
    }

    fn find(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        let partition = self.state.upgrade()?.partitions.find(id.topic, id.partition)?;
        partition.check_leader(LeaderEpoch::UNKNOWN).ok().map(|()| partition)
    }

    /// Appends as the leader of `epoch`, or of whichever there is.
    fn append_in(
        &self,
        epoch: LeaderEpoch,
        partition: TopicPartition,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure> {
        let state = self.state.upgrade().ok_or(AppendFailure::NotHere)?;
        let partition = self.find(partition).ok_or(AppendFailure::NotHere)?;
        append::append(&partition, epoch, batches, state.clock.now_ms())
    }

    async fn ensure(
        &self,
        name: String,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> Result<TopicShape, TopicFailure> {
        let failed = |reason: String, passing: bool| TopicFailure { topic: name.clone(), reason, passing };
        if !name.starts_with(INTERNAL_PREFIX) {
            let reason = format!("the name of an internal topic begins with '{INTERNAL_PREFIX}'");
            return Err(failed(reason, false));
        }
        let state = self.state.upgrade().ok_or_else(|| failed("the broker has stopped".into(), true))?;
        if state.metadata.image().topic_by_name(&name).is_none() {
            match create(&state, NewTopic::internal(name.clone(), partitions, settings)).await {
                Ok(()) => tracing::info!(topic = name, partitions, "created an internal topic"),
                // Another was quicker.
                Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {}
                Err(refusal) => {
                    // What was asked for is at fault, and will be.
                    let final_codes = [
                        ErrorCode::InvalidConfig,
                        ErrorCode::InvalidPartitions,
                        ErrorCode::InvalidTopicException,
                    ];
                    return Err(failed(refusal.message, !final_codes.contains(&refusal.code)));
                }
            }
        }
        let image = state.metadata.image();
        let opened = state.partitions.catch_up(image.clone()).await;
        opened.map_err(|error| failed(error.to_string(), true))?;
        let topic = image.topic_by_name(&name).ok_or_else(|| failed("it was deleted again".into(), true))?;
        Ok(TopicShape { id: topic.id, partitions: topic.partition_count() })
    }
}

fn bounds_of(partition: &Partition, isolation: Isolation) -> Bounds {
    // In this order, so that the start is not beyond the end.
    let start = partition.log().log_start_offset();
    Bounds { start, end: isolation.end_of(partition) }
}

impl Partitions for LocalPartitions {
    fn leadership(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        leadership::leadership(&*self.state.upgrade()?, partition)
    }

    fn leadership_beyond(
        &self,
        partition: TopicPartition,
        seen: Option<LeaderEpoch>,
    ) -> BoxFuture<'static, Option<LeaderEpoch>> {
        leadership::beyond(self.state.clone(), partition, seen).boxed()
    }

    fn bounds(&self, partition: TopicPartition) -> Option<Bounds> {
        self.find(partition).map(|partition| bounds_of(&partition, self.isolation))
    }

    fn log_end(&self, partition: TopicPartition) -> Option<Offset> {
        self.find(partition).map(|partition| partition.log().log_end_offset())
    }

    /// The batches are slices of the log's memory where they are in it.
    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>> {
        let found = self.find(partition).ok_or(ReadFailure::NotHere);
        let isolation = self.isolation;
        async move { read::read(found?, isolation, from, max_bytes).await }.boxed()
    }

    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        match self.find(partition) {
            Some(partition) => {
                let state = self.state.clone();
                let is_draining =
                    move || state.upgrade().is_none_or(|state| state.draining.load(Ordering::Acquire));
                let isolation = self.isolation;
                wait::wait_for(partition, isolation, offset, is_draining).boxed()
            }
            None => async {}.boxed(),
        }
    }

    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, ReadFailure>> {
        let found = self.find(partition).ok_or(ReadFailure::NotHere);
        let isolation = self.isolation;
        async move { read::offset_for_time(found?, isolation, timestamp_ms).await }.boxed()
    }

    fn admit(&self, bytes: usize) -> BoxFuture<'_, ()> {
        let log = self.state.upgrade().map(|state| state.log.clone());
        async move {
            if let Some(log) = log {
                log.admit(bytes).await;
            }
        }
        .boxed()
    }

    fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), AppendFailure> {
        let Some(state) = self.state.upgrade() else { return Ok(()) };
        let found = self.find(partition);
        found.map_or(Ok(()), |partition| append::check(&partition, batches, state.clock.now_ms()))
    }

    /// Goes through every record.
    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure> {
        Ok(self.append_in(LeaderEpoch::UNKNOWN, partition, batches)?.acknowledged)
    }

    fn append_as_leader(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure> {
        if epoch == LeaderEpoch::UNKNOWN {
            return Err(AppendFailure::NotHere);
        }
        self.append_in(epoch, partition, batches)
    }

    /// Replicas are as many as the broker's settings give any topic.
    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicShape, TopicFailure>> {
        self.ensure(name.to_owned(), partitions, settings).boxed()
    }

    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>> {
        let found = self.find(partition).ok_or(ReadFailure::NotHere);
        async move { read::trim(found?, before).await }.boxed()
    }
}
