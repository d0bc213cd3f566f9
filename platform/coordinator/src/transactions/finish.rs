//! Ending what is decided: a marker into every partition of the transaction, and the record that says that all are in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use millrace_protocol::batch::{TransactionMarker, TransactionResult};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::machine::Transactions;
use super::propose::propose;
use super::rules::{self, Decision};
use super::transaction::{ProducerEpoch, Transaction, TransactionState};
use crate::state_log::{StateLog, Unavailable};
use crate::state_topic::StateTopic;
use crate::{AppendFailure, Partitions, TopicFailure};

/// Why a partition has no marker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerFailure {
    /// The partition is gone for good, or a later epoch has ended the transaction there: there is nothing to be ended.
    #[error("there is nothing to be ended: {0}")]
    Needless(String),
    /// It is tried again.
    #[error("{0}")]
    Passing(String),
}

/// Writes transactions' markers into partitions, wherever these are led.
pub trait Markers: Send + Sync + 'static {
    /// Completes when the marker is on all in-sync replicas.
    fn write(
        &self,
        topic: &str,
        partition: i32,
        marker: TransactionMarker,
    ) -> BoxFuture<'static, Result<(), MarkerFailure>>;
}

/// Pauses after a marker was not written, doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// See the module's text.
pub(super) struct Finisher {
    shared: Arc<Shared>,
}

struct Shared {
    topic: Arc<StateTopic<Transactions>>,
    partitions: Arc<dyn Partitions>,
    markers: Arc<dyn Markers>,
    /// Ids that a task is at, and whether it was asked for one since it began to look.
    busy: Mutex<BTreeMap<String, Asked>>,
    finished: watch::Sender<()>,
    /// A partition of the state was read back.
    loaded: Notify,
}

impl Finisher {
    pub fn new(
        topic: Arc<StateTopic<Transactions>>,
        partitions: Arc<dyn Partitions>,
        markers: Arc<dyn Markers>,
    ) -> Self {
        let shared = Shared {
            topic,
            partitions,
            markers,
            busy: Mutex::default(),
            finished: watch::Sender::new(()),
            loaded: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Is told whenever a transaction has ended everywhere.
    pub fn finished(&self) -> watch::Receiver<()> {
        self.shared.finished.subscribe()
    }

    /// Completes when a partition of the state may have been read back.
    pub async fn changed(&self) {
        self.shared.loaded.notified().await;
    }

    /// Takes up what is decided in the partitions that are read back here, and has [`Self::changed`] tell of those
    /// that are not yet.
    pub async fn resume(&self) -> Result<(), TopicFailure> {
        for log in self.shared.topic.current().await?.iter() {
            let prepared = log.read(|transactions| {
                let prepared = transactions.iter().filter(|(_, of)| of.state.is_prepared());
                prepared.map(|(id, _)| id.clone()).collect::<Vec<_>>()
            });
            match prepared {
                Ok(ids) => ids.iter().for_each(|id| self.finish(id)),
                Err(Unavailable::Loading) => {
                    let (log, shared) = (log.clone(), Arc::downgrade(&self.shared));
                    tokio::spawn(async move {
                        let _ = log.ready().await;
                        if let Some(shared) = shared.upgrade() {
                            shared.loaded.notify_one();
                        }
                    });
                }
                // Nobody here has to end anything, or the next look finds it.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Ends the transaction in a task of its own, if it is decided how.
    pub fn finish(&self, id: &str) {
        // Who is at it looks once more.
        if self.shared.busy.lock().insert(id.to_owned(), Asked::Again).is_some() {
            return;
        }
        let (shared, id) = (Arc::downgrade(&self.shared), id.to_owned());
        tokio::spawn(async move {
            let mut failures = 0u32;
            // Each time anew, so that the task ends with the coordinator.
            while let Some(of) = shared.upgrade() {
                of.busy.lock().insert(id.clone(), Asked::Once);
                match of.step(&id).await {
                    Step::Done if of.is_done(&id) => return,
                    Step::Done => continue,
                    Step::Failed(reason) => {
                        failures += 1;
                        tracing::warn!(
                            transactional_id = id,
                            reason,
                            failures,
                            "a transaction cannot be ended yet"
                        );
                    }
                }
                drop(of);
                let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
            }
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Once,
    Again,
}

enum Step {
    /// There is nothing to be ended here any more.
    Done,
    Failed(String),
}

impl Shared {
    /// Whether the task may go: nobody has asked since it began to look.
    fn is_done(&self, id: &str) -> bool {
        let mut busy = self.busy.lock();
        let is_done = busy.get(id) != Some(&Asked::Again);
        if is_done {
            busy.remove(id);
        }
        drop(busy);
        self.finished.send_replace(());
        is_done
    }

    async fn step(&self, id: &str) -> Step {
        let Some(log) = self.topic.known_log_of(id) else { return Step::Done };
        match self.end(&log, id).await {
            Ok(()) => Step::Done,
            // Whoever leads the state now finds it.
            Err(AppendFailure::NotHere) => Step::Done,
            Err(failure) => Step::Failed(failure.to_string()),
        }
    }

    async fn end(&self, log: &StateLog<Transactions>, id: &str) -> Result<(), AppendFailure> {
        log.ready().await?;
        // What is decided is on all in-sync replicas when this is answered.
        let decided = propose(log, id, |known: Option<&Transaction>, _| {
            Ok(Decision { write: None, reply: known.filter(|known| known.state.is_prepared()).cloned() })
        })?;
        let Ok(Some(prepared)) = decided.await? else { return Ok(()) };
        let epoch = self.partitions.leadership(log.place()).ok_or(AppendFailure::NotHere)?;
        let marker = marker_of(&prepared, epoch.0);
        let writes = prepared.partitions.iter().flat_map(|(topic, numbers)| {
            numbers.iter().map(move |number| self.markers.write(topic, *number, marker))
        });
        for written in join_all(writes).await {
            match written {
                Err(MarkerFailure::Passing(reason)) => return Err(AppendFailure::Passing(reason)),
                Ok(()) | Err(MarkerFailure::Needless(_)) => {}
            }
        }
        let (producer, state) = (prepared.producer, prepared.state);
        let completed = propose(log, id, move |known: Option<&Transaction>, now_ms| {
            let is_same = |known: &&Transaction| known.producer == producer && known.state == state;
            let write = known.filter(is_same).and_then(|known| rules::complete(known, now_ms));
            Ok(Decision { write, reply: () })
        })?;
        // The next transaction may begin on what is decided; who is told of that waits for it.
        self.finished.send_replace(());
        let _ = completed.await?;
        Ok(())
    }
}

fn marker_of(prepared: &Transaction, coordinator_epoch: i32) -> TransactionMarker {
    let ProducerEpoch { id, epoch } = prepared.producer;
    let result = match prepared.state {
        TransactionState::PrepareCommit => TransactionResult::Commit,
        _ => TransactionResult::Abort,
    };
    TransactionMarker { producer_id: id, producer_epoch: epoch, coordinator_epoch, result }
}
