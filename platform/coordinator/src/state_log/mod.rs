//! State that is kept in a partition: whoever leads it has the state, and nobody else.
//!
//! A log is elected when its broker leads the partition in a new epoch. It reads the records back, from then on takes
//! proposals, and resigns when the leadership goes. A proposal is decided on the state as all appended records make
//! it, and answered when its records are on all in-sync replicas; reads see no state before that. Where an append
//! fails nothing has changed. Where only its acknowledgement fails the records may be in the log, and count as soon
//! as they are replicated; where they are lost, the leadership is, and the next leader knows nothing of them.
//!
//! All state is written once more from time to time, and what is before it is deleted, so that a new leader reads back
//! little more than what is live. Records that the machine does not know are written with it. The log compacts the
//! partition as well, for it is one of `cleanup.policy=compact`, but only segments that have ended: that alone would have
//! a leader read back a whole segment of changes. It keeps those logs short that are never written once more. The two
//! need not know of each other: a key's newest record says all, wherever it stands, and reading back goes by offsets
//! that the log tells, not by counting.
//!
//! Invariants:
//! - A reply or a read never tells of state that a crash of this broker could take back.
//! - Whoever waits is answered as soon as the leadership goes.
//! - Memory holds what is live in the log, and [`PENDING_BYTES_MAX`] of what is on its way.

mod core;
mod kept;
mod load;
mod machine;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::limits::MIB;
use millrace_base::{Clock, LeaderEpoch, Offset, TopicPartition};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::core::Core;
pub use self::machine::{Machine, Proposal, StateRecord};
use crate::{Acknowledged, AppendFailure, Appended, Partitions};

/// Bytes of records that may be on their way to the replicas.
const PENDING_BYTES_MAX: usize = 16 * MIB;

/// Bytes by which a log grows, at least, before all its state is written once more.
pub const SNAPSHOT_BYTES_MIN: usize = 16 * MIB;

/// How long one waits for state to be read back: a log whose replicas do not catch up takes any time.
const LOAD_WAIT: Duration = Duration::from_secs(5);

/// Why there is no state to be read or changed. All of it passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("this broker does not lead the partition")]
    NotLed,
    #[error("the state is being read back")]
    Loading,
    #[error("the state cannot be read back: {0}")]
    Unreadable(String),
}

impl From<Unavailable> for AppendFailure {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NotLed => Self::NotHere,
            passing => Self::Passing(passing.to_string()),
        }
    }
}

/// What a state log is made of.
#[derive(Clone)]
pub struct StateLogParts {
    pub partitions: Arc<dyn Partitions>,
    pub place: TopicPartition,
    pub clock: Arc<dyn Clock>,
    /// As many logs read back at a time, of all that share it.
    pub turns: Arc<Semaphore>,
    /// See [`SNAPSHOT_BYTES_MIN`].
    pub snapshot_bytes_min: usize,
}

impl StateLogParts {
    /// Where the records end that all in-sync replicas have; `None` if this broker leads in another epoch.
    fn end_in(&self, epoch: LeaderEpoch) -> Option<Offset> {
        let end = self.partitions.bounds(self.place)?.end;
        // Looked at after it, so that the end is none of a later epoch, where other records may be below it.
        (self.partitions.leadership(self.place) == Some(epoch)).then_some(end)
    }
}

enum Phase<M: Machine> {
    Resigned,
    Loading,
    Unreadable(LeaderEpoch, String),
    Leading(LeaderEpoch, Core<M>),
}

struct Shared<M: Machine> {
    parts: StateLogParts,
    phase: Mutex<Phase<M>>,
    /// Changes with the phase, and when a snapshot is due.
    changed: watch::Sender<()>,
}

/// See the module's text. Clones are the same log; with the last of them its task ends.
pub struct StateLog<M: Machine> {
    shared: Arc<Shared<M>>,
    _task: Arc<Task>,
}

impl<M: Machine> Clone for StateLog<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), _task: Arc::clone(&self._task) }
    }
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Completes with the reply when it may be told.
pub type Replied<R> = BoxFuture<'static, Result<R, AppendFailure>>;

impl<M: Machine> StateLog<M> {
    /// Follows the partition's leadership from now on, in a task of its own.
    pub fn start(parts: StateLogParts) -> Self {
        let phase = parts.partitions.leadership(parts.place).map_or(Phase::Resigned, |_| Phase::Loading);
        let shared = Arc::new(Shared { parts, phase: Mutex::new(phase), changed: watch::Sender::new(()) });
        let task = Task(tokio::spawn(Arc::clone(&shared).run()));
        Self { shared, _task: Arc::new(task) }
    }

    /// Whether this broker leads the partition.
    pub fn is_led(&self) -> bool {
        self.shared.parts.partitions.leadership(self.shared.parts.place).is_some()
    }

    pub fn place(&self) -> TopicPartition {
        self.shared.parts.place
    }

    /// Completes when this broker does not lead the partition in `epoch` any more.
    pub fn ended(&self, epoch: LeaderEpoch) -> BoxFuture<'static, ()> {
        let StateLogParts { partitions, place, .. } = &self.shared.parts;
        partitions.leadership_beyond(*place, Some(epoch)).map(drop).boxed()
    }

    /// Looks at the state as all of the log makes it, to decide on it. What is not on all in-sync replicas yet must not be
    /// told.
    pub fn decide<R>(&self, look: impl FnOnce(LeaderEpoch, &M) -> R) -> Result<R, Unavailable> {
        self.shared.with_core(|epoch, core| look(epoch, core.latest()))
    }

    /// Waits until the state is read back, but not for long.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        let mut changed = self.shared.changed.subscribe();
        let loaded = async {
            loop {
                changed.borrow_and_update();
                match self.read(|_| ()) {
                    Err(Unavailable::Loading) => {}
                    ready => return ready,
                }
                // The sender is held right here.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(LOAD_WAIT, loaded).await.unwrap_or(Err(Unavailable::Loading))
    }

    /// Looks at the state that all in-sync replicas have.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> Result<R, Unavailable> {
        self.shared.with_core(|_, core| look(core.committed()))
    }

    /// Appends what `decide` makes of the latest state and the time in milliseconds. On a failure nothing has changed;
    /// if the reply fails something may have.
    pub fn propose<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&M, i64) -> Proposal<R>,
    ) -> Result<Replied<R>, AppendFailure> {
        let shared = &self.shared;
        let proposed = shared.with_core(|epoch, core| {
            if core.pending_bytes() >= PENDING_BYTES_MAX {
                let waiting = core.pending_bytes();
                let reason = format!(
                    "{waiting} bytes wait to be replicated, and {PENDING_BYTES_MAX} may: it is taken when replicas \
                     have caught up"
                );
                return Err(AppendFailure::Passing(reason));
            }
            let now_ms = shared.parts.clock.now_ms();
            let Proposal { records, reply } = decide(core.latest(), now_ms);
            if records.is_empty() {
                return Ok(shared.replied_at(epoch, core.pending_end(), reply));
            }
            let (batch, changes) = encode::<M>(&records, now_ms)?;
            let bytes = batch.bytes.len();
            let (end, acknowledged) = shared.append(epoch, core, batch)?;
            core.appended(&records, changes, end, bytes);
            if core.snapshot_is_due(shared.parts.snapshot_bytes_min) {
                shared.changed.send_replace(());
            }
            Ok(async move { acknowledged.await.map(|()| reply) }.boxed())
        });
        proposed?
    }
}

impl<M: Machine> Shared<M> {
    async fn run(self: Arc<Self>) {
        let StateLogParts { partitions, place, .. } = &self.parts;
        loop {
            let leadership = partitions.leadership(*place);
            self.enter(leadership.map_or(Phase::Resigned, |_| Phase::Loading));
            let beyond = partitions.leadership_beyond(*place, leadership);
            match leadership {
                None => _ = beyond.await,
                Some(epoch) => tokio::select! {
                    // Its end comes before all else, so that the same events are always met by the same steps.
                    biased;
                    _ = beyond => {}
                    () = self.lead(epoch) => {}
                },
            }
        }
    }

    /// Leads until the state has to be read back once more.
    async fn lead(&self, epoch: LeaderEpoch) {
        let mut failures = 0;
        loop {
            match load::load(&self.parts, epoch).await {
                Ok(core) => {
                    self.enter(Phase::Leading(epoch, core));
                    break;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(partition = %self.parts.place, %error, failures, "cannot read state back yet");
                    self.enter(Phase::Unreadable(epoch, error.to_string()));
                    tokio::time::sleep(load::pause(failures)).await;
                }
            }
        }
        self.keep_short(epoch).await;
    }

    fn enter(&self, phase: Phase<M>) {
        // What was there goes after the lock does: it may be much.
        let before = std::mem::replace(&mut *self.phase.lock(), phase);
        self.changed.send_replace(());
        drop(before);
    }

    /// Does something with the state, brought up to what is replicated.
    fn with_core<R>(&self, act: impl FnOnce(LeaderEpoch, &mut Core<M>) -> R) -> Result<R, Unavailable> {
        let mut phase = self.phase.lock();
        let leadership = self.parts.partitions.leadership(self.parts.place).ok_or(Unavailable::NotLed)?;
        let done = match &mut *phase {
            Phase::Leading(epoch, core) if *epoch == leadership => {
                core.commit(self.parts.end_in(*epoch).ok_or(Unavailable::NotLed)?);
                let done = act(*epoch, core);
                if !core.is_overtaken() {
                    return Ok(done);
                }
                done
            }
            Phase::Unreadable(epoch, reason) if *epoch == leadership => {
                return Err(Unavailable::Unreadable(reason.clone()));
            }
            // Of another epoch than this broker leads in now: it is about to be read back.
            _ => return Err(Unavailable::Loading),
        };
        *phase = Phase::Loading;
        self.changed.send_replace(());
        Ok(done)
    }

    /// Appends behind all that the core knows. Where others have written to the partition, which nobody should, it is
    /// overtaken: the records are there, and it is not known what they mean.
    fn append(
        &self,
        epoch: LeaderEpoch,
        core: &mut Core<M>,
        batch: Batch,
    ) -> Result<(Offset, Acknowledged), AppendFailure> {
        let place = self.parts.place;
        let expected = core.next_offset() + Offset::from(batch.header.record_count);
        let Appended { next_offset, acknowledged } =
            self.parts.partitions.append_as_leader(place, epoch, &[batch])?;
        if next_offset == expected {
            return Ok((next_offset, acknowledged));
        }
        core.overtaken();
        let reason = format!("others have written to '{place}', which is read back");
        Ok((next_offset, async { Err(AppendFailure::Passing(reason)) }.boxed()))
    }

    /// Completes with `reply` when everything below `end` is replicated.
    fn replied_at<R: Send + 'static>(&self, epoch: LeaderEpoch, end: Option<Offset>, reply: R) -> Replied<R> {
        let parts = self.parts.clone();
        async move {
            let Some(end) = end else { return Ok(reply) };
            if parts.end_in(epoch).ok_or(AppendFailure::NotHere)? < end {
                parts.partitions.wait_for(parts.place, end - 1).await;
            }
            match parts.end_in(epoch) {
                Some(replicated) if replicated >= end => Ok(reply),
                Some(_) => Err(AppendFailure::Passing("the broker stops".to_owned())),
                None => Err(AppendFailure::NotHere),
            }
        }
        .boxed()
    }
}

/// The records as a batch, and as the machine reads them back.
fn encode<M: Machine>(
    records: &[StateRecord],
    now_ms: i64,
) -> Result<(Batch, Vec<M::Change>), AppendFailure> {
    let mut builder = BatchBuilder::default();
    let mut changes = Vec::with_capacity(records.len());
    for StateRecord { key, value } in records {
        let unknown =
            || AppendFailure::Refused("this version cannot read back what it is to write".to_owned());
        changes.push(M::decode(key, value.as_deref()).ok_or_else(unknown)?);
        builder.append(now_ms, Some(key), value.as_deref(), &[]);
    }
    Ok((finish(builder)?, changes))
}

fn finish(builder: BatchBuilder) -> Result<Batch, AppendFailure> {
    let refused = |error: String| AppendFailure::Refused(format!("build a batch: {error}"));
    let bytes =
        builder.finish(Codec::None, ProducerState::NONE).map_err(|error| refused(error.to_string()))?;
    Batch::parse(bytes).map_err(|error| refused(error.to_string()))
}
