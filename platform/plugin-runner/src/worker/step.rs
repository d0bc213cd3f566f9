//! One step of a worker: the outputs of some input, and how far the input is dealt with once they are there.
//!
//! Outputs are appended in order, and the input offset is committed when all of them are acknowledged. When
//! transactions exist, both will be parts of one: this file is where.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{FutureExt as _, future::BoxFuture};
use millrace_base::{Offset, TopicId, TopicPartition};
use millrace_protocol::batch::Batch;

use crate::offsets::{OffsetKey, Offsets};
use crate::{Acknowledged, AppendFailure};

/// Outputs that belong together.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// In the order in which they came, each with the name of its topic.
    outputs: Vec<(Arc<str>, Batch)>,
    bytes: usize,
}

/// How much a step held at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

impl Step {
    pub fn add(&mut self, topic: Arc<str>, batch: Batch) {
        self.bytes += batch.bytes.len();
        self.outputs.push((topic, batch));
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub const fn mark(&self) -> Mark {
        Mark(self.outputs.len())
    }

    /// Forgets what was added after the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.outputs.truncate(mark.0);
        self.bytes = self.outputs.iter().map(|(_, batch)| batch.bytes.len()).sum();
    }

    pub fn take(&mut self) -> Vec<(Arc<str>, Batch)> {
        self.bytes = 0;
        std::mem::take(&mut self.outputs)
    }
}

/// Batches for one partition.
pub(crate) struct Target {
    pub place: TopicPartition,
    pub batches: Vec<Batch>,
}

/// Sorts batches by their places, which come in the order of their first batch; order within a place stays.
pub(crate) fn targets(routed: impl IntoIterator<Item = (TopicPartition, Batch)>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (place, batch) in routed {
        match targets.iter_mut().find(|target| target.place == place) {
            Some(target) => target.batches.push(batch),
            None => targets.push(Target { place, batches: vec![batch] }),
        }
    }
    targets
}

/// A step whose outputs are appended and not acknowledged yet.
struct Appended {
    /// The input is dealt with up to here.
    next: Offset,
    leader_epoch: i32,
    acknowledged: BoxFuture<'static, Result<(), AppendFailure>>,
}

/// Steps on their way, the oldest first, and the commits that follow them.
pub(crate) struct Flight {
    offsets: Arc<Offsets>,
    key: OffsetKey,
    topic: TopicId,
    steps: VecDeque<Appended>,
    /// The last commit; later ones are behind it in the same partition.
    commit: Option<Acknowledged>,
}

impl Flight {
    pub fn new(offsets: Arc<Offsets>, key: OffsetKey, topic: TopicId) -> Self {
        Self { offsets, key, topic, steps: VecDeque::new(), commit: None }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn push(&mut self, next: Offset, leader_epoch: i32, acknowledgements: Vec<Acknowledged>) {
        let acknowledged = try_join_all(acknowledgements).map(|all| all.map(|_| ())).boxed();
        self.steps.push_back(Appended { next, leader_epoch, acknowledged });
    }

    /// Commits what is acknowledged already. Returns the offset up to which it was, if anything was.
    pub async fn commit_ready(&mut self) -> Result<Option<Offset>, AppendFailure> {
        let mut done = None;
        while let Some(step) = self.steps.front_mut() {
            let Some(acknowledged) = (&mut step.acknowledged).now_or_never() else { break };
            self.give_up_unless(acknowledged)?;
            done = self.steps.pop_front().map(|step| (step.next, step.leader_epoch));
        }
        let Some((next, leader_epoch)) = done else { return Ok(None) };
        self.commit(next, leader_epoch).await?;
        Ok(Some(next))
    }

    /// Waits for the oldest step and commits what is acknowledged by then.
    pub async fn commit_next(&mut self) -> Result<Option<Offset>, AppendFailure> {
        let Some(step) = self.steps.front_mut() else { return Ok(None) };
        let acknowledged = (&mut step.acknowledged).await;
        let (next, leader_epoch) = (step.next, step.leader_epoch);
        self.give_up_unless(acknowledged)?;
        self.steps.pop_front();
        if let Some(later) = self.commit_ready().await? {
            return Ok(Some(later));
        }
        self.commit(next, leader_epoch).await?;
        Ok(Some(next))
    }

    /// Waits until everything on its way is committed, durably.
    pub async fn land(&mut self) -> Result<Option<Offset>, AppendFailure> {
        let mut last = None;
        while !self.steps.is_empty() {
            last = self.commit_next().await?.or(last);
        }
        match self.commit.take() {
            Some(commit) => commit.await.map(|()| last),
            None => Ok(last),
        }
    }

    /// After a step that failed, none behind it may be committed.
    fn give_up_unless(&mut self, acknowledged: Result<(), AppendFailure>) -> Result<(), AppendFailure> {
        if acknowledged.is_err() {
            self.steps.clear();
        }
        acknowledged
    }

    async fn commit(&mut self, next: Offset, leader_epoch: i32) -> Result<(), AppendFailure> {
        self.commit = Some(self.offsets.commit(&self.key, self.topic, next, leader_epoch).await?);
        Ok(())
    }
}
