//! The partitions that a broker leads, for its coordinator: the real port over the real log.
//!
//! It is shown what the cores have come to after each event, and hands what is appended here to them before the next
//! one. Nothing here runs by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_coordinator::{
    Acknowledged, AppendFailure, Appended, Bounds, Partitions, ReadFailure, TopicFailure, TopicShape,
};
use millrace_log::{AppendError, AppendOrigin, PartitionLog};
use millrace_metadata::Image;
use millrace_protocol::batch::{Batch, split_batches};
use millrace_replication::{Refused, Standing};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::log::seen;
use crate::message::Label;
use crate::mutants::Mutant;

/// How an append fares.
pub type Told = oneshot::Sender<Result<(), AppendFailure>>;

/// What was appended, and its core does not know yet.
pub struct Taken {
    pub partition: TopicPartition,
    pub epoch: LeaderEpoch,
    pub base_offset: Offset,
    pub end: Offset,
    pub labels: Vec<Label>,
    pub told: Told,
}

/// A partition as its core has it.
pub struct Shown<'a> {
    pub log: &'a Arc<PartitionLog>,
    pub standing: Standing,
}

impl Shown<'_> {
    fn marks(&self) -> Marks {
        Marks {
            standing: self.standing,
            high_watermark: self.log.high_watermark(),
            log_start: self.log.log_start_offset(),
        }
    }
}

/// What those who wait for a change wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Marks {
    standing: Standing,
    high_watermark: Offset,
    log_start: Offset,
}

#[derive(Clone)]
struct Known {
    log: Arc<PartitionLog>,
    marks: Marks,
}

#[derive(Default)]
struct State {
    image: Image,
    /// How many commands it has come from.
    applied: u64,
    parts: BTreeMap<TopicPartition, Known>,
    taken: Vec<Taken>,
    /// Topics that are not known here, and how many partitions they are to have.
    wanted: BTreeMap<String, i32>,
    /// The first epoch in which each was led, for a mutant.
    first_led: BTreeMap<TopicPartition, LeaderEpoch>,
}

struct Inner {
    mutant: Option<Mutant>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    stirred: AtomicBool,
}

/// See the module's text. Clones are the same.
#[derive(Clone)]
pub struct Port(Arc<Inner>);

impl Port {
    pub fn new(mutant: Option<Mutant>) -> Self {
        Self(Arc::new(Inner {
            mutant,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            stirred: AtomicBool::new(true),
        }))
    }

    /// Takes over what the cores have come to, and the metadata as of a number of commands. Without parts this broker
    /// leads nothing.
    pub fn show<'p>(
        &self,
        (image, applied): (&Image, u64),
        parts: impl ExactSizeIterator<Item = (&'p TopicPartition, Shown<'p>)>,
    ) {
        let mut state = self.0.state.lock();
        let mut news = state.applied != applied || parts.len() != state.parts.len();
        if news {
            (state.image, state.applied) = (image.clone(), applied);
            state.wanted.retain(|name, _| image.topic_by_name(name).is_none());
            state.parts.clear();
        }
        for (id, shown) in parts {
            let marks = shown.marks();
            if state.parts.get(id).is_none_or(|before| before.marks != marks) {
                state.parts.insert(*id, Known { log: Arc::clone(shown.log), marks });
                news = true;
            }
        }
        drop(state);
        if news {
            self.stir();
            self.0.changed.send_replace(());
        }
    }

    /// Tasks have something to do.
    pub fn stir(&self) {
        self.0.stirred.store(true, Ordering::Relaxed);
    }

    /// Whether they had since this was asked last.
    pub fn settle(&self) -> bool {
        self.0.stirred.swap(false, Ordering::Relaxed)
    }

    /// What was appended since this was asked for last.
    pub fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut self.0.state.lock().taken)
    }

    /// Topics that somebody waits for, with the number of their partitions.
    pub fn wanted(&self) -> Vec<(String, i32)> {
        self.0.state.lock().wanted.iter().map(|(name, partitions)| (name.clone(), *partitions)).collect()
    }

    /// The newest epoch that is known of a partition, whoever leads it.
    pub fn epoch_of(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.0.state.lock().parts.get(&partition).map(|known| known.marks.standing.leader_epoch())
    }

    fn led(&self, partition: TopicPartition) -> Option<(LeaderEpoch, Known)> {
        let state = self.0.state.lock();
        // One whose topic is deleted is nowhere.
        let known = state.parts.get(&partition).filter(|_| state.image.partition(&partition).is_some())?;
        let standing = known.marks.standing;
        standing.check_leader(LeaderEpoch::UNKNOWN).ok()?;
        Some((standing.leader_epoch(), known.clone()))
    }

    /// Waits until `look` finds something.
    fn wait<R: Send + 'static>(
        &self,
        mut look: impl FnMut(&Self) -> Option<R> + Send + 'static,
    ) -> BoxFuture<'static, R> {
        let (this, mut changed) = (self.clone(), self.0.changed.subscribe());
        async move {
            loop {
                changed.borrow_and_update();
                if let Some(found) = look(&this) {
                    return found;
                }
                // The sender is held right here.
                let _ = changed.changed().await;
            }
        }
        .boxed()
    }

    fn append_in(
        &self,
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure> {
        let (led, known) = self.led(partition).ok_or(AppendFailure::NotHere)?;
        let stale = self.0.mutant == Some(Mutant::KeepTheCoordinator);
        if !stale && epoch.is_some_and(|epoch| epoch != led) {
            return Err(AppendFailure::NotHere);
        }
        known.marks.standing.check_in_sync().map_err(passing)?;
        let appended = known.log.append(batches, led, AppendOrigin::Producer);
        let appended = appended.map_err(|error| match error {
            AppendError::Fenced { .. } | AppendError::Closed => AppendFailure::NotHere,
            AppendError::Stalled(_) | AppendError::Failed(_) => AppendFailure::Passing(error.to_string()),
            refused => AppendFailure::Refused(refused.to_string()),
        })?;
        let (end, base_offset) = (appended.last_offset + 1, appended.base_offset);
        let (told, outcome) = oneshot::channel();
        let labels = batches.iter().flat_map(seen).map(|seen| seen.label).collect();
        self.0.state.lock().taken.push(Taken { partition, epoch: led, base_offset, end, labels, told });
        let acknowledged = match self.0.mutant {
            Some(Mutant::AnswerCommitsEarly) => async { Ok(()) }.boxed(),
            _ => async { outcome.await.unwrap_or(Err(AppendFailure::NotHere)) }.boxed(),
        };
        Ok(Appended { next_offset: end, acknowledged })
    }
}

fn passing(refused: Refused) -> AppendFailure {
    AppendFailure::Passing(refused.to_string())
}

impl Partitions for Port {
    fn leadership(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        let (epoch, _) = self.led(partition)?;
        match self.0.mutant {
            Some(Mutant::KeepTheCoordinator) => {
                Some(*self.0.state.lock().first_led.entry(partition).or_insert(epoch))
            }
            _ => Some(epoch),
        }
    }

    fn leadership_beyond(
        &self,
        partition: TopicPartition,
        seen: Option<LeaderEpoch>,
    ) -> BoxFuture<'static, Option<LeaderEpoch>> {
        let stale = self.0.mutant == Some(Mutant::KeepTheCoordinator);
        self.wait(move |this| {
            let now = this.leadership(partition);
            (now != seen && !(stale && seen.is_some())).then_some(now)
        })
    }

    fn bounds(&self, partition: TopicPartition) -> Option<Bounds> {
        let (_, Known { log, .. }) = self.led(partition)?;
        let end = match self.0.mutant {
            Some(Mutant::TellUncommittedOffsets) => log.log_end_offset(),
            _ => log.high_watermark(),
        };
        Some(Bounds { start: log.log_start_offset(), end })
    }

    fn log_end(&self, partition: TopicPartition) -> Option<Offset> {
        let (_, Known { log, .. }) = self.led(partition)?;
        Some(match self.0.mutant {
            Some(Mutant::LoadToHighWatermark) => log.high_watermark(),
            _ => log.log_end_offset(),
        })
    }

    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>> {
        let read = || {
            let bounds = self.bounds(partition).ok_or(ReadFailure::NotHere)?;
            let (_, Known { log, .. }) = self.led(partition).ok_or(ReadFailure::NotHere)?;
            if from < bounds.start || from > log.log_end_offset() {
                return Err(ReadFailure::OutOfRange { offset: from, bounds });
            }
            if from >= bounds.end {
                return Ok(Vec::new());
            }
            let storage = |error: &dyn std::fmt::Display| ReadFailure::Storage(error.to_string());
            let read = log.read(from, bounds.end, max_bytes, true).map_err(|error| storage(&error))?;
            let bytes = read.payload.read_to_bytes().map_err(|error| storage(&error))?;
            split_batches(bytes, usize::MAX).map_err(|error| storage(&error))
        };
        let read = read();
        async { read }.boxed()
    }

    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        self.wait(move |this| this.bounds(partition).is_none_or(|bounds| bounds.end > offset).then_some(()))
    }

    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, ReadFailure>> {
        let find = || {
            let (_, Known { log, .. }) = self.led(partition).ok_or(ReadFailure::NotHere)?;
            let end = log.high_watermark();
            let found = log.offset_for_timestamp(timestamp_ms, end);
            let found = found.map_err(|error| ReadFailure::Storage(error.to_string()))?;
            Ok(found.map_or(end, |found| found.offset))
        };
        let found = find();
        async { found }.boxed()
    }

    fn admit(&self, _: usize) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn check(&self, _: TopicPartition, _: &[Batch]) -> Result<(), AppendFailure> {
        Ok(())
    }

    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure> {
        Ok(self.append_in(partition, None, batches)?.acknowledged)
    }

    fn append_as_leader(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure> {
        self.append_in(partition, Some(epoch), batches)
    }

    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        _: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicShape, TopicFailure>> {
        let name = name.to_owned();
        if partitions <= 0 {
            let reason = format!("{partitions} partitions are none");
            return async { Err(TopicFailure { topic: name, reason, passing: false }) }.boxed();
        }
        self.wait(move |this| {
            let mut state = this.0.state.lock();
            let topic = state.image.topic_by_name(&name);
            match topic.map(|topic| TopicShape { id: topic.id, partitions: topic.partition_count() }) {
                Some(shape) => Some(Ok(shape)),
                None => {
                    state.wanted.insert(name.clone(), partitions);
                    None
                }
            }
        })
    }

    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>> {
        let trim = || {
            let (_, Known { log, .. }) = self.led(partition).ok_or(ReadFailure::NotHere)?;
            let to = before.min(log.high_watermark());
            if to > log.log_start_offset() {
                log.delete_records(to).map_err(|error| ReadFailure::Storage(error.to_string()))?;
            }
            self.0.changed.send_replace(());
            Ok(())
        };
        let trimmed = trim();
        async { trimmed }.boxed()
    }
}
