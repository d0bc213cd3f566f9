//! How far each deployment is: committed offsets in the internal topic `__consumer_offsets`, in the format of
//! consumer groups and under the group `plugin.<deployment>`, so that its lag shows where lag shows.
//!
//! Everything committed is also in memory, read back at the first use. As the topic is not compacted by the
//! log, a partition that has grown by [`REWRITE_BYTES`] gets all its offsets written once more, and what is
//! before them is deleted.
//!
//! An offset means nothing in another topic of the same name, so the id of its topic is committed with it.
//!
//! Invariant: memory and records change together, under one lock for each partition of the topic, so that a
//! restart finds what was committed last.

mod format;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all};
use millrace_base::limits::MIB;
use millrace_base::{Clock, Offset, TopicId, TopicPartition};
use millrace_coordinator::{Acknowledged, AppendFailure, Partitions, ReadFailure, TopicFailure};
use millrace_metadata::Metadata;
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

pub(crate) use format::partition_of_group;
pub(crate) use format::{Committed, OffsetKey};

pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Kafka's `offsets.topic.num.partitions`.
const OFFSETS_PARTITIONS: i32 = 50;
/// Bytes of commits after which a partition of the topic is rewritten.
const REWRITE_BYTES: usize = 16 * MIB;
/// Bytes that one read of the topic asks for.
const LOAD_BYTES: usize = MIB;
/// Offsets that one batch holds when all are rewritten.
const OFFSETS_PER_BATCH: usize = 5_000;
/// What a batch may hold.
const RECORDS_BYTES_MAX: usize = 64 * MIB;

/// Offsets that cannot be read back.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum OffsetsFailure {
    #[error(transparent)]
    Topic(#[from] TopicFailure),
    #[error("read '{OFFSETS_TOPIC}': {0}")]
    Read(#[from] ReadFailure),
    #[error("a batch of '{OFFSETS_TOPIC}' is damaged: {0}")]
    Damaged(#[from] millrace_protocol::batch::BatchError),
}

/// One partition of the topic.
#[derive(Default)]
struct Slot {
    offsets: BTreeMap<OffsetKey, Committed>,
    bytes_since_rewrite: usize,
}

struct Loaded {
    topic: TopicId,
    slots: Vec<Mutex<Slot>>,
}

/// See the module's text.
pub(crate) struct Offsets {
    partitions: Arc<dyn Partitions>,
    metadata: Metadata,
    clock: Arc<dyn Clock>,
    loaded: OnceCell<Loaded>,
}

impl Offsets {
    pub fn new(partitions: Arc<dyn Partitions>, metadata: Metadata, clock: Arc<dyn Clock>) -> Self {
        Self { partitions, metadata, clock, loaded: OnceCell::new() }
    }

    /// Where the group is in a partition; `None` if it has committed nothing there, or only in an earlier topic
    /// of that name.
    pub async fn committed(&self, key: &OffsetKey, topic: TopicId) -> Result<Option<Offset>, OffsetsFailure> {
        let loaded = self.loaded.get_or_try_init(|| self.load()).await?;
        let slot = loaded.slot(&key.group).1.lock();
        let committed = slot.offsets.get(key).filter(|committed| committed.metadata == topic.to_string());
        Ok(committed.map(|committed| committed.offset))
    }

    /// Commits; the answer completes when the commit is on all replicas.
    pub async fn commit(
        &self,
        key: &OffsetKey,
        topic: TopicId,
        offset: Offset,
        leader_epoch: i32,
    ) -> Result<Acknowledged, AppendFailure> {
        let loaded = self.loaded.get_or_try_init(|| self.load()).await;
        let loaded = loaded.map_err(|error| AppendFailure::Passing(error.to_string()))?;
        let now_ms = self.clock.now_ms();
        let metadata = topic.to_string();
        let committed = Committed { offset, leader_epoch, metadata, timestamp_ms: now_ms };
        let (place, slot) = loaded.slot(&key.group);
        let batch = records(now_ms, [(key, Some(&committed))])?;
        let (acknowledged, rewrite) = {
            let mut slot = slot.lock();
            let acknowledged = self.partitions.append(place, std::slice::from_ref(&batch))?;
            slot.offsets.insert(key.clone(), committed);
            slot.bytes_since_rewrite += batch.bytes.len();
            (acknowledged, slot.bytes_since_rewrite >= REWRITE_BYTES)
        };
        if rewrite && let Some(rewriting) = self.rewrite(place, slot) {
            tokio::spawn(rewriting);
        }
        Ok(acknowledged)
    }

    /// Rewrites the partition that holds the group, whatever its size.
    #[cfg(test)]
    pub async fn rewrite_now(&self, group: &str) {
        let loaded = self.loaded.get_or_try_init(|| self.load()).await.expect("the offsets are read");
        let (place, slot) = loaded.slot(group);
        self.rewrite(place, slot).expect("the partition is here").await;
    }

    /// The same without waiting; `None` as well if nothing was read back yet.
    pub fn known(&self, key: &OffsetKey) -> Option<Offset> {
        let (_, slot) = self.loaded.get()?.slot(&key.group);
        slot.lock().offsets.get(key).map(|committed| committed.offset)
    }

    /// Forgets what the group has committed, as far as `which` says so. What cannot be written down now is
    /// forgotten when the broker starts again and no deployment has it any more.
    pub async fn forget(&self, group: &str, which: impl Fn(&OffsetKey) -> bool) {
        if !self.exists() {
            return;
        }
        if let Err(error) = self.try_forget(group, which).await {
            tracing::warn!(group, error, "cannot forget a plugin's committed offsets");
        }
    }

    async fn try_forget(&self, group: &str, which: impl Fn(&OffsetKey) -> bool) -> Result<(), String> {
        let loaded = self.loaded.get_or_try_init(|| self.load()).await;
        let (place, slot) = loaded.map_err(|error| error.to_string())?.slot(group);
        let appended = {
            let mut slot = slot.lock();
            let keys = slot.offsets.keys().filter(|key| key.group == group && which(key));
            let keys: Vec<OffsetKey> = keys.cloned().collect();
            if keys.is_empty() {
                return Ok(());
            }
            for key in &keys {
                slot.offsets.remove(key);
            }
            records(self.clock.now_ms(), keys.iter().map(|key| (key, None)))
                .and_then(|batch| self.partitions.append(place, &[batch]))
        };
        let acknowledged = appended.map_err(|error| error.to_string())?;
        acknowledged.await.map_err(|error| error.to_string())
    }

    /// All groups that have committed anything.
    pub async fn groups(&self) -> Result<Vec<String>, OffsetsFailure> {
        let loaded = self.loaded.get_or_try_init(|| self.load()).await?;
        let mut groups: Vec<String> = Vec::new();
        for slot in &loaded.slots {
            // Sorted by group within a slot, and no group is in two of them.
            for key in slot.lock().offsets.keys() {
                if groups.last() != Some(&key.group) {
                    groups.push(key.group.clone());
                }
            }
        }
        Ok(groups)
    }

    /// Whether the topic exists, without which nothing was ever committed.
    pub fn exists(&self) -> bool {
        self.metadata.image().topic_by_name(OFFSETS_TOPIC).is_some()
    }

    async fn load(&self) -> Result<Loaded, OffsetsFailure> {
        let settings = [("cleanup.policy", "compact"), ("segment.bytes", "104857600")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.partitions.ensure_topic(OFFSETS_TOPIC, OFFSETS_PARTITIONS, settings.into()).await?;
        let image = self.metadata.image();
        let missing = || TopicFailure {
            topic: OFFSETS_TOPIC.to_owned(),
            reason: "it is gone again".to_owned(),
            passing: true,
        };
        let topic = image.topic_by_name(OFFSETS_TOPIC).ok_or_else(missing)?;
        let count = topic.partition_count();
        let mut slots = Vec::new();
        for index in 0..count {
            slots.push(self.load_partition(TopicPartition::new(topic.id, index)).await?);
        }
        rehome(&mut slots, count);
        Ok(Loaded { topic: topic.id, slots: slots.into_iter().map(Mutex::new).collect() })
    }

    async fn load_partition(&self, place: TopicPartition) -> Result<Slot, OffsetsFailure> {
        let mut slot = Slot::default();
        let bounds = self.partitions.bounds(place).ok_or(ReadFailure::NotHere)?;
        let mut at = bounds.start;
        while at < bounds.end {
            let batches = self.partitions.read(place, at, LOAD_BYTES).await?;
            let Some(last) = batches.last() else { break };
            at = last.header.next_offset();
            for batch in batches.iter().filter(|batch| !batch.header.attributes.is_control()) {
                slot.bytes_since_rewrite += batch.bytes.len();
                slot.take(batch)?;
            }
        }
        Ok(slot)
    }

    /// Writes all offsets of a partition once more, and returns what deletes those before when it is done.
    fn rewrite(&self, place: TopicPartition, slot: &Mutex<Slot>) -> Option<BoxFuture<'static, ()>> {
        let mut slot = slot.lock();
        // Whatever can be read by now is before what is written below.
        let bounds = self.partitions.bounds(place)?;
        let offsets: Vec<_> = slot.offsets.iter().collect();
        let mut waits = Vec::new();
        for some in offsets.chunks(OFFSETS_PER_BATCH) {
            let batch = records(self.clock.now_ms(), some.iter().map(|(key, value)| (*key, Some(*value))));
            match batch.and_then(|batch| self.partitions.append(place, &[batch])) {
                Ok(acknowledged) => waits.push(acknowledged),
                Err(error) => {
                    tracing::warn!(%error, "cannot rewrite committed offsets, it is tried again later");
                    return None;
                }
            }
        }
        slot.bytes_since_rewrite = 0;
        let partitions = Arc::clone(&self.partitions);
        let trim = async move {
            let trimmed = match try_join_all(waits).await {
                Ok(_) => partitions.trim(place, bounds.end).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = trimmed {
                tracing::warn!(%error, "cannot drop committed offsets that were superseded");
            }
        };
        Some(trim.boxed())
    }
}

/// Moves what was committed while the topic had fewer partitions to where its group is now. Where a group has
/// committed in both, the later commit counts.
fn rehome(slots: &mut [Slot], count: i32) {
    for index in 0..count {
        let moved: Vec<_> = slots[index as usize]
            .offsets
            .extract_if(.., |key, _| partition_of_group(&key.group, count) != index)
            .collect();
        for (key, committed) in moved {
            let home = &mut slots[partition_of_group(&key.group, count) as usize].offsets;
            if home.get(&key).is_none_or(|known| known.timestamp_ms < committed.timestamp_ms) {
                home.insert(key, committed);
            }
        }
    }
}

impl Loaded {
    fn slot(&self, group: &str) -> (TopicPartition, &Mutex<Slot>) {
        let index = partition_of_group(group, i32::try_from(self.slots.len()).unwrap_or(i32::MAX));
        (TopicPartition::new(self.topic, index), &self.slots[index as usize])
    }
}

impl Slot {
    fn take(&mut self, batch: &Batch) -> Result<(), OffsetsFailure> {
        let records = batch.records(RECORDS_BYTES_MAX)?;
        for record in &records {
            let record = record?;
            let Some(key) = record.key.and_then(OffsetKey::decode) else { continue };
            match record.value.map(Committed::decode) {
                Some(Some(committed)) => {
                    self.offsets.insert(key, committed);
                }
                // A value of a version that is not known says nothing.
                Some(None) => {}
                None => {
                    self.offsets.remove(&key);
                }
            }
        }
        Ok(())
    }
}

fn records<'a>(
    now_ms: i64,
    commits: impl IntoIterator<Item = (&'a OffsetKey, Option<&'a Committed>)>,
) -> Result<Batch, AppendFailure> {
    let mut builder = BatchBuilder::default();
    for (key, committed) in commits {
        let value = committed.map(Committed::encode);
        builder.append(now_ms, Some(&key.encode()), value.as_deref(), &[]);
    }
    let refused = |error: String| AppendFailure::Refused(error);
    let bytes =
        builder.finish(Codec::None, ProducerState::NONE).map_err(|error| refused(error.to_string()))?;
    Batch::parse(bytes).map_err(|error| refused(error.to_string()))
}
