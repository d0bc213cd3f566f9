//! Drives one plugin over one partition: reads, calls, appends what came out, commits, and deals with failures.
//!
//! A worker is one task. It works on one batch at a time and looks for another order between two of them, so
//! that a new version begins at a batch boundary. Some steps are on their way to the disk while the next one
//! is computed; after a crash the work of those, and of no others, is repeated.
//!
//! Whatever can stop a step has one of these ends:
//!
//! | what | whose fault | what follows |
//! |---|---|---|
//! | a call traps, is refused, too long, too large | the records' | halved, then the policy |
//! | a sink says `record` | the records' | halved, then the policy; what it says is delivered is not given again |
//! | an output's topic refuses it (timestamp, size, form) | the records' | halved, then the policy |
//! | a batch, or a part of it, cannot be read | the batch's | skipped as a whole, or halted before it |
//! | the dead-letter topic refuses the record | the record's | halted before it |
//! | the module cannot be loaded, or does not start | the plugin's | halted |
//! | a sink says `target` | the target's | halted |
//! | a sink says `retryable`, or takes too long | the outside's, or the records' | again with pauses, as often as `limits.retries` says; then halved, then the policy |
//! | no instance is free, the module cannot be read from disk | nobody's | again, with pauses |
//! | the input cannot be read, its leader is elsewhere | nobody's | again from the last commit |
//! | an output topic is missing or led elsewhere, a disk is full, replicas are missing | nobody's | the step waits where it is |
//! | an acknowledgement or a commit fails | nobody's | what is not acknowledged is appended again |
//!
//! A step's outputs that are acknowledged are never appended again, but after a crash, or when another version
//! takes over in the middle of such a wait.
//!
//! Invariants: offsets are committed in order, each after everything that came out of the records before it;
//! whatever goes wrong, the worker ends up trying again from its last commit, or halted with a reason.

mod batch_run;
mod guest;
mod outputs;
mod plan;
mod session;
mod source;
mod status;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use millrace_base::{Offset, TopicPartition};
use millrace_coordinator::{OffsetKey, Partitions, ReadFailure};
use millrace_metadata::Metadata;
use millrace_protocol::plugins::{Backoff, PartitionState, StartPosition};
use tokio::sync::watch;

pub(crate) use plan::{Order, Plan};
pub(crate) use source::Source;
pub(crate) use status::{Snapshot, Status};

use crate::logs::PluginLogs;
use crate::metrics::DeploymentMetrics;
use crate::offsets::Offsets;
use crate::pressure::Pressure;
use session::{Ended, Session};

/// Pauses between attempts after something beside the plugin failed: a disk, a missing topic.
const BACKOFF: Backoff = Backoff { first_ms: 100, max_ms: 10_000 };

/// What all workers share.
pub(crate) struct Shared {
    pub partitions: Arc<dyn Partitions>,
    pub metadata: Metadata,
    pub offsets: Arc<Offsets>,
    pub logs: PluginLogs,
    pub pressure: Pressure,
    /// How long an instance is kept without work.
    pub idle: Duration,
}

/// One worker; [`Worker::run`] is its task.
pub(crate) struct Worker {
    pub shared: Arc<Shared>,
    pub source: Source,
    /// The input, or the topic that is replayed.
    pub place: TopicPartition,
    pub key: OffsetKey,
    pub orders: watch::Receiver<Order>,
    pub status: Arc<Status>,
    pub metrics: Arc<DeploymentMetrics>,
}

/// Why a worker could not go on just now.
#[derive(Debug)]
struct Trouble(String);

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Worker {
    pub async fn run(mut self) {
        let mut attempts = 0;
        loop {
            let Some(plan) = self.order() else { break };
            let before = self.status.offset();
            match Session::run(&mut self, plan).await {
                Ok(Ended::Stopped) => break,
                Ok(Ended::Finished) => {
                    self.status.set(PartitionState::Idle);
                    return;
                }
                // Whatever was computed and not committed is computed again.
                Err(Trouble(error)) => {
                    // Trouble after some work is another trouble.
                    attempts = if self.status.offset() == before { attempts + 1 } else { 1 };
                    tracing::debug!(deployment = %self.key.group, partition = %self.place, error, "a plugin's worker tries again");
                    self.status.failing(PartitionState::Retrying, error, None);
                    self.pause(BACKOFF.pause(attempts)).await;
                }
            }
        }
        self.status.set(PartitionState::Paused);
    }

    /// What is to be done; `None` is nothing any more.
    fn order(&self) -> Option<Arc<Plan>> {
        match &*self.orders.borrow() {
            Order::Run(plan) if self.orders.has_changed().is_ok() => Some(Arc::clone(plan)),
            Order::Run(_) | Order::Stop => None,
        }
    }

    /// Whether something else is to be done than `plan`.
    fn has_other_order(&self, plan: &Plan) -> bool {
        self.order().is_none_or(|ordered| !ordered.is_same(plan))
    }

    /// Waits, but not longer than until the next order.
    async fn pause(&mut self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.orders.changed()).await;
    }

    /// Waits for the next order; whoever gives them being gone is one.
    async fn next_order(&mut self) {
        let _ = self.orders.changed().await;
    }

    /// Where to begin: at what was committed, or where the deployment says. The latter is committed at once,
    /// so that "from now on" means the same after a crash.
    async fn begin(&self, start: StartPosition) -> Result<Offset, Trouble> {
        let committed = self.shared.offsets.committed(&self.key, self.place.topic).await?;
        let bounds = self.shared.partitions.bounds(self.place).ok_or(ReadFailure::NotHere)?;
        if let Some(offset) = committed {
            // Behind the end are records that a relaxed flush policy had not on disk in a crash. Others will have
            // their offsets, and must be read.
            return Ok(offset.min(bounds.end));
        }
        let start = if self.source.is_replay() { StartPosition::Earliest } else { start };
        let offset = match start {
            StartPosition::Earliest => bounds.start,
            StartPosition::Latest => bounds.end,
            StartPosition::Offset(offset) => offset.clamp(bounds.start, bounds.end),
            StartPosition::TimestampMs(timestamp) => {
                self.shared.partitions.offset_for_time(self.place, timestamp).await?
            }
        };
        self.shared.offsets.commit(&self.key, self.place.topic, offset, -1).await?.await?;
        Ok(offset)
    }
}
