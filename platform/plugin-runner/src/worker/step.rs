//! One step of a worker: the outputs of some input, and how far the input is dealt with once they are there.
//!
//! Outputs are appended in order, and the input offset is committed when all of them are acknowledged. When
//! transactions exist, both will be parts of one: this file is where.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use millrace_base::{Offset, TopicId, TopicPartition};
use millrace_coordinator::{Acknowledged, AppendFailure, OffsetKey};
use millrace_protocol::batch::Batch;

use crate::offsets::Offsets;

/// A batch for the topic with that name.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub topic: Arc<str>,
    /// Where all its records go; `None` where there was no such topic yet.
    pub place: Option<TopicPartition>,
    pub batch: Batch,
}

/// Outputs that belong together.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// In the order in which they came.
    outputs: Vec<Output>,
    bytes: usize,
}

/// How much a step held at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

impl Step {
    pub fn add(&mut self, output: Output) {
        self.bytes += output.batch.bytes.len();
        self.outputs.push(output);
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
        self.bytes = self.outputs.iter().map(|output| output.batch.bytes.len()).sum();
    }

    pub fn take(&mut self) -> Vec<Output> {
        self.bytes = 0;
        std::mem::take(&mut self.outputs)
    }
}

/// Batches for one partition of the topic with that name.
#[derive(Clone)]
pub(crate) struct Target {
    pub topic: Arc<str>,
    pub place: TopicPartition,
    pub batches: Vec<Batch>,
}

/// Sorts batches by their places, which come in the order of their first batch; order within a place stays.
pub(crate) fn targets(routed: impl IntoIterator<Item = (Arc<str>, TopicPartition, Batch)>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (topic, place, batch) in routed {
        match targets.iter_mut().find(|target| target.place == place) {
            Some(target) => target.batches.push(batch),
            None => targets.push(Target { topic, place, batches: vec![batch] }),
        }
    }
    targets
}

/// A step whose outputs are appended.
struct Appended {
    /// The input is dealt with up to here.
    next: Offset,
    leader_epoch: i32,
    outputs: Outputs,
}

/// What of a step's outputs is acknowledged.
enum Outputs {
    /// Not known yet of all; in the end those that are not, with the first reason.
    Waiting(BoxFuture<'static, Result<(), Unacknowledged>>),
    /// All but these.
    Failed(Vec<Target>),
}

struct Unacknowledged {
    targets: Vec<Target>,
    failure: AppendFailure,
}

impl Outputs {
    fn waiting(appended: Vec<(Target, Acknowledged)>) -> Self {
        let outcomes = appended.into_iter().map(|(target, acknowledged)| async move {
            acknowledged.await.map_err(|failure| (target, failure))
        });
        let outcome = join_all(outcomes).map(|outcomes| {
            let (targets, mut failures): (Vec<_>, Vec<_>) =
                outcomes.into_iter().filter_map(Result::err).unzip();
            if targets.is_empty() {
                return Ok(());
            }
            Err(Unacknowledged { targets, failure: failures.swap_remove(0) })
        });
        Self::Waiting(outcome.boxed())
    }
}

/// Steps on their way, the oldest first, and the commits that follow them.
///
/// A failure loses nothing of what is known: of each step it stays which outputs are acknowledged, so that
/// [`Flight::unacknowledged`] names the others, and a commit that did not work is the next one's first.
pub(crate) struct Flight {
    offsets: Arc<Offsets>,
    key: OffsetKey,
    topic: TopicId,
    steps: VecDeque<Appended>,
    /// The input is dealt with up to here, with all outputs acknowledged, and this is not committed.
    due: Option<(Offset, i32)>,
    /// The last commit; later ones are behind it in the same partition.
    commit: Option<((Offset, i32), Acknowledged)>,
}

impl Flight {
    pub fn new(offsets: Arc<Offsets>, key: OffsetKey, topic: TopicId) -> Self {
        Self { offsets, key, topic, steps: VecDeque::new(), due: None, commit: None }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn push(&mut self, next: Offset, leader_epoch: i32, appended: Vec<(Target, Acknowledged)>) {
        self.steps.push_back(Appended { next, leader_epoch, outputs: Outputs::waiting(appended) });
    }

    /// Waits until it is known of a step's outputs which are acknowledged, and returns the others, to be appended
    /// [again](Self::appended_again).
    pub async fn unacknowledged(&mut self, step: usize) -> Vec<Target> {
        let Some(step) = self.steps.get_mut(step) else { return Vec::new() };
        if let Outputs::Waiting(outcome) = &mut step.outputs {
            let failed = outcome.await.err();
            step.outputs = Outputs::Failed(failed.map(|failed| failed.targets).unwrap_or_default());
        }
        match &step.outputs {
            // They stay here until they are appended: what is not acknowledged is never taken for done.
            Outputs::Failed(targets) => targets.clone(),
            Outputs::Waiting(_) => Vec::new(),
        }
    }

    pub fn appended_again(&mut self, step: usize, appended: Vec<(Target, Acknowledged)>) {
        if let Some(step) = self.steps.get_mut(step) {
            step.outputs = Outputs::waiting(appended);
        }
    }

    /// Commits what is acknowledged already, and waits for steps only while more than `most` are on their way.
    /// Returns the offset up to which it was, if anything was.
    pub async fn commit(&mut self, most: usize) -> Result<Option<Offset>, AppendFailure> {
        loop {
            let is_awaited = self.steps.len() > most;
            let Some(step) = self.steps.front_mut() else { break };
            let Outputs::Waiting(outcome) = &mut step.outputs else {
                return Err(AppendFailure::Passing("some outputs are not acknowledged".to_owned()));
            };
            let outcome = if is_awaited { Some(outcome.await) } else { outcome.now_or_never() };
            let Some(outcome) = outcome else { break };
            if let Err(Unacknowledged { targets, failure }) = outcome {
                step.outputs = Outputs::Failed(targets);
                return Err(failure);
            }
            self.due = Some((step.next, step.leader_epoch));
            self.steps.pop_front();
        }
        let Some(due @ (next, leader_epoch)) = self.due else { return Ok(None) };
        let acknowledged = self.offsets.commit(&self.key, self.topic, next, leader_epoch).await?;
        self.commit = Some((due, acknowledged));
        self.due = None;
        Ok(Some(next))
    }

    /// Waits until everything on its way is committed, durably.
    pub async fn land(&mut self) -> Result<Option<Offset>, AppendFailure> {
        let last = self.commit(0).await?;
        let Some((committed, acknowledged)) = self.commit.take() else { return Ok(last) };
        match acknowledged.await {
            Ok(()) => Ok(last),
            Err(failure) => {
                self.due = Some(committed);
                Err(failure)
            }
        }
    }
}
