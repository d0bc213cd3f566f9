//! Partitions in memory.
//!
//! [`MemoryPartitions`] keeps real batches, stamped as a broker stamps them. It leads every partition that its topics
//! have, until it is told otherwise. Reads and appends can be made to fail, acknowledgements to wait, to fail, or to
//! take their records with them, and the leadership to go, with or without what was not acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::{LeaderEpoch, Offset, TopicId, TopicPartition};
use millrace_coordinator::{
    Acknowledged, AppendFailure, Appended, Bounds, Partitions, ReadFailure, TopicFailure, TopicShape,
};
use millrace_protocol::batch::Batch;
use parking_lot::Mutex;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::watch;

use crate::PATIENCE;
use crate::log::MemoryLog;
use crate::records::{Stored, batch_of, records_of};
use crate::topics::Topics;

/// What becomes of an append whose acknowledgement fails.
#[derive(Clone, Debug)]
pub enum AcknowledgementFault {
    /// Its records are gone, as with a leader that died; the partition is led in a new epoch.
    Lost(AppendFailure),
    /// Its records are in the log, and readable as soon as any are.
    Stored(AppendFailure),
}

struct Inner {
    topics: Arc<dyn Topics>,
    logs: Mutex<HashMap<TopicPartition, MemoryLog>>,
    changed: watch::Sender<u64>,
}

/// See the module's text. Clones share everything.
#[derive(Clone)]
pub struct MemoryPartitions(Arc<Inner>);

impl MemoryPartitions {
    pub fn new(topics: Arc<dyn Topics>) -> Self {
        Self(Arc::new(Inner { topics, logs: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// The partition of a topic that exists.
    pub fn partition(&self, topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(self.0.topics.find(topic).unwrap().id, partition)
    }

    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> Result<TopicId, TopicFailure> {
        self.0.topics.create(name.to_owned(), partitions, settings).await
    }

    /// Appends records without keys as one batch, and returns the first one's offset.
    pub fn produce<V: AsRef<[u8]>>(&self, partition: TopicPartition, values: &[V]) -> Offset {
        self.produce_batch(partition, &batch_of(1_000, values))
    }

    pub fn produce_batch(&self, partition: TopicPartition, batch: &Batch) -> Offset {
        self.change(partition, |log| {
            let base = log.push(batch);
            log.end = log.log_end;
            base
        })
    }

    /// Every record that may be read.
    pub fn records(&self, partition: TopicPartition) -> Vec<Stored> {
        let logs = self.0.logs.lock();
        let Some(log) = logs.get(&partition) else { return Vec::new() };
        let batches: Vec<Batch> = log.batches.iter().cloned().collect();
        let mut records = records_of(&batches);
        records.retain(|record| record.offset >= log.start && record.offset < log.end);
        records
    }

    /// The values of [`Self::records`] as text.
    pub fn values(&self, partition: TopicPartition) -> Vec<String> {
        self.records(partition).iter().map(Stored::value_text).collect()
    }

    /// How often somebody appended or tried to.
    pub fn appends(&self, partition: TopicPartition) -> usize {
        self.0.logs.lock().get(&partition).map_or(0, |log| log.appends)
    }

    /// The next appends to the partition fail, each with one of these.
    pub fn fail_appends(&self, partition: TopicPartition, failures: impl IntoIterator<Item = AppendFailure>) {
        self.change(partition, |log| log.append_failures.extend(failures));
    }

    /// The next reads of the partition fail, each with one of these.
    pub fn fail_reads(&self, partition: TopicPartition, failures: impl IntoIterator<Item = ReadFailure>) {
        self.change(partition, |log| log.read_failures.extend(failures));
    }

    /// The partition refuses, for good, batches with a value that holds this text.
    pub fn refuse_text(&self, partition: TopicPartition, text: &str) {
        self.change(partition, |log| log.refused_text = Some(text.to_owned()));
    }

    /// The next appends are taken, but their acknowledgements fail, and their records are gone.
    pub fn fail_acknowledgements(
        &self,
        partition: TopicPartition,
        failures: impl IntoIterator<Item = AppendFailure>,
    ) {
        self.fault(partition, failures.into_iter().map(AcknowledgementFault::Lost));
    }

    /// The acknowledgements of the next appends fail.
    pub fn fault(&self, partition: TopicPartition, faults: impl IntoIterator<Item = AcknowledgementFault>) {
        self.change(partition, |log| log.acknowledgement_faults.extend(faults));
    }

    /// Holds back all acknowledgements of a partition, or gives them, the held ones too.
    pub fn hold_acknowledgements(&self, partition: TopicPartition, held: bool) {
        self.change(partition, |log| {
            log.held = held;
            if !held {
                log.end = log.log_end;
            }
        });
    }

    /// Whether this broker is to lead the partition.
    pub fn set_led(&self, partition: TopicPartition, led: bool) {
        self.change(partition, |log| {
            if log.led_elsewhere == led {
                log.led_elsewhere = !led;
                log.begin_epoch();
            }
        });
    }

    /// What was not acknowledged is gone, as where another leader did not have it.
    pub fn truncate(&self, partition: TopicPartition) {
        self.change(partition, MemoryLog::truncate);
    }

    /// Only the newest record of each key is left of those that may be read, as the log of a compacted topic has it.
    pub fn compact(&self, partition: TopicPartition) {
        self.change(partition, MemoryLog::compact);
    }

    /// Waits until `condition` holds of the partitions; fails the test if it does not.
    pub async fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.0.changed.subscribe();
        let waiting = changed.wait_for(|_| condition(self));
        tokio::time::timeout(PATIENCE, waiting).await.expect(what).unwrap();
    }

    /// Waits until the partition holds at least `count` records, and returns their values.
    pub async fn eventually_values(&self, partition: TopicPartition, count: usize) -> Vec<String> {
        let what = format!("{count} records in {partition}");
        self.eventually(&what, |partitions| partitions.records(partition).len() >= count).await;
        self.values(partition)
    }

    fn change<R>(&self, partition: TopicPartition, change: impl FnOnce(&mut MemoryLog) -> R) -> R {
        let mut logs = self.0.logs.lock();
        let log = logs.entry(partition).or_default();
        let changed = change(log);
        log.settle();
        drop(logs);
        self.0.changed.send_modify(|version| *version += 1);
        changed
    }

    /// Looks at a partition's log; `None` unless it is led here.
    fn look<R>(&self, partition: TopicPartition, look: impl FnOnce(&mut MemoryLog) -> R) -> Option<R> {
        let exists = self.0.topics.has(partition);
        let mut logs = self.0.logs.lock();
        let log = logs.entry(partition).or_default();
        (exists && !log.led_elsewhere).then(|| look(log))
    }

    /// Waits until `look` finds something.
    fn wait<R: Send + 'static>(
        &self,
        mut look: impl FnMut(&Self) -> Option<R> + Send + 'static,
    ) -> BoxFuture<'static, R> {
        let this = self.clone();
        let mut changed = this.0.changed.subscribe();
        async move {
            loop {
                // Before the look, so that nothing that happens between the two is missed.
                let topics_changed = this.0.topics.changed();
                changed.borrow_and_update();
                if let Some(found) = look(&this) {
                    return found;
                }
                tokio::select! {
                    changed = changed.changed() => changed.unwrap(),
                    () = topics_changed => {}
                }
            }
        }
        .boxed()
    }
}

impl Partitions for MemoryPartitions {
    fn leadership(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.look(partition, |log| LeaderEpoch(log.epoch))
    }

    fn leadership_beyond(
        &self,
        partition: TopicPartition,
        seen: Option<LeaderEpoch>,
    ) -> BoxFuture<'static, Option<LeaderEpoch>> {
        self.wait(move |this| Some(this.leadership(partition)).filter(|now| *now != seen))
    }

    fn bounds(&self, partition: TopicPartition) -> Option<Bounds> {
        self.look(partition, |log| log.bounds())
    }

    fn log_end(&self, partition: TopicPartition) -> Option<Offset> {
        self.look(partition, |log| log.log_end)
    }

    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>> {
        let read = self.look(partition, |log| log.read(from, max_bytes));
        async { read.unwrap_or(Err(ReadFailure::NotHere)) }.boxed()
    }

    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        self.wait(move |this| this.bounds(partition).is_none_or(|bounds| bounds.end > offset).then_some(()))
    }

    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, ReadFailure>> {
        async move {
            let bounds = self.bounds(partition).ok_or(ReadFailure::NotHere)?;
            let records = self.records(partition);
            let first = records.iter().find(|record| record.timestamp_ms >= timestamp_ms);
            Ok(first.map_or(bounds.end, |record| record.offset))
        }
        .boxed()
    }

    fn admit(&self, _: usize) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), AppendFailure> {
        self.look(partition, |log| log.check(batches)).unwrap_or(Ok(()))
    }

    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure> {
        let epoch = self.leadership(partition).ok_or(AppendFailure::NotHere)?;
        Ok(self.append_as_leader(partition, epoch, batches)?.acknowledged)
    }

    fn append_as_leader(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        batches: &[Batch],
    ) -> Result<Appended, AppendFailure> {
        let appended = self.look(partition, |log| match log.epoch == epoch.0 {
            true => log.append(batches),
            false => Err(AppendFailure::NotHere),
        });
        let (next_offset, mut outcome) = appended.ok_or(AppendFailure::NotHere)??;
        self.0.changed.send_modify(|version| *version += 1);
        let acknowledged = self.wait(move |this| match outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) if this.0.topics.has(partition) => None,
            Err(_) => Some(Err(AppendFailure::NotHere)),
        });
        Ok(Appended { next_offset, acknowledged })
    }

    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicShape, TopicFailure>> {
        let name = name.to_owned();
        async move {
            if let Some(shape) = self.0.topics.find(&name) {
                return Ok(shape);
            }
            match self.create_topic(&name, partitions, settings).await {
                Ok(id) => Ok(TopicShape { id, partitions }),
                // Another was quicker.
                Err(failure) => self.0.topics.find(&name).ok_or(failure),
            }
        }
        .boxed()
    }

    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>> {
        let trimmed = self.look(partition, |log| log.trim(before));
        self.0.changed.send_modify(|version| *version += 1);
        async move { trimmed.ok_or(ReadFailure::NotHere) }.boxed()
    }
}
