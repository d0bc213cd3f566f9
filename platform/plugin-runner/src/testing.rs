//! What the tests of this crate run on: the metadata of one broker, and its partitions in memory.
//!
//! [`MemoryPartitions`] keeps real batches, stamped as a broker stamps them. It leads every partition that the
//! metadata has, until it is told otherwise. Appends can be made to fail, and their acknowledgements to wait.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

pub(crate) mod guests;
mod host;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use millrace_base::{BrokerId, Offset, TopicId, TopicPartition};
use millrace_metadata::{
    BrokerRegistration, Command, Metadata, MetadataOptions, NoPeers, PartitionAssignment,
};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState, stamp};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use host::TestHost;

use crate::{Acknowledged, AppendFailure, Bounds, Partitions, ReadFailure, TopicFailure};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that any batch of a test may decompress to.
const DECOMPRESSED_MAX: usize = 1 << 26;

/// One broker's metadata in a directory that goes with it, and its partitions.
pub(crate) struct TestCluster {
    pub metadata: Metadata,
    pub partitions: MemoryPartitions,
    pub dir: tempfile::TempDir,
}

impl TestCluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registration =
            BrokerRegistration { id: BrokerId(1), host: "localhost".into(), port: 9092, rack: None };
        let options = MetadataOptions::single(dir.path().join("metadata"), registration);
        let metadata = Metadata::start(options, Arc::new(NoPeers)).await.unwrap();
        let partitions = MemoryPartitions::new(metadata.clone());
        Self { metadata, partitions, dir }
    }

    /// Makes a topic.
    pub async fn topic(&self, name: &str, partitions: i32) -> TopicId {
        self.partitions.create_topic(name, partitions, BTreeMap::new()).await.unwrap()
    }
}

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Stored {
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// A batch of records without keys, all of `timestamp_ms`.
pub(crate) fn batch_of<V: AsRef<[u8]>>(timestamp_ms: i64, values: &[V]) -> Batch {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.append(timestamp_ms, None, Some(value.as_ref()), &[]);
    }
    Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap()
}

/// The records of `batches`.
pub(crate) fn records_of(batches: &[Batch]) -> Vec<Stored> {
    let mut stored = Vec::new();
    for batch in batches {
        for record in &batch.records(DECOMPRESSED_MAX).unwrap() {
            let record = record.unwrap();
            let owned = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
            stored.push(Stored {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: owned(record.key),
                value: owned(record.value),
                headers: record
                    .headers
                    .iter()
                    .map(|header| (header.key_text().into_owned(), owned(header.value)))
                    .collect(),
            });
        }
    }
    stored
}

/// One partition's log.
#[derive(Default)]
struct MemoryLog {
    start: Offset,
    /// Of what was appended.
    log_end: Offset,
    /// Of what was acknowledged, and may be read.
    end: Offset,
    batches: VecDeque<Batch>,
    /// Acknowledgements wait until this is lifted.
    held: bool,
    /// What the next appends fail with, the first first.
    append_failures: VecDeque<AppendFailure>,
    /// What the next acknowledgements fail with; their records are not kept.
    acknowledgement_failures: VecDeque<AppendFailure>,
    appends: usize,
    /// Values that hold this text are refused.
    refused_text: Option<String>,
}

#[derive(Default)]
struct State {
    logs: HashMap<TopicPartition, MemoryLog>,
    led_elsewhere: HashSet<TopicPartition>,
}

struct Inner {
    metadata: Metadata,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// See the module's text. Clones share everything.
#[derive(Clone)]
pub(crate) struct MemoryPartitions(Arc<Inner>);

impl MemoryPartitions {
    pub fn new(metadata: Metadata) -> Self {
        Self(Arc::new(Inner { metadata, state: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// The partition of a topic that exists.
    pub fn partition(&self, topic: &str, partition: i32) -> TopicPartition {
        let image = self.0.metadata.image();
        TopicPartition::new(image.topic_by_name(topic).unwrap().id, partition)
    }

    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicId, TopicFailure> {
        let id = TopicId::random();
        let assignment = PartitionAssignment { replicas: vec![BrokerId(1)] };
        let partitions = vec![assignment; usize::try_from(partitions).unwrap()];
        let command = Command::CreateTopic { name: name.to_owned(), id, partitions, configs };
        match self.0.metadata.submit(command).await {
            Ok(_) => Ok(id),
            Err(error) => Err(TopicFailure { topic: name.to_owned(), reason: error.to_string() }),
        }
    }

    /// Appends records without keys as one batch, and returns the first one's offset.
    pub fn produce<V: AsRef<[u8]>>(&self, partition: TopicPartition, values: &[V]) -> Offset {
        self.produce_batch(partition, &batch_of(1_000, values))
    }

    pub fn produce_batch(&self, partition: TopicPartition, batch: &Batch) -> Offset {
        let mut state = self.0.state.lock();
        let log = state.logs.entry(partition).or_default();
        let base = log.push(batch);
        log.end = log.log_end;
        drop(state);
        self.bump();
        base
    }

    /// Every record that may be read.
    pub fn records(&self, partition: TopicPartition) -> Vec<Stored> {
        let state = self.0.state.lock();
        let Some(log) = state.logs.get(&partition) else { return Vec::new() };
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
        self.0.state.lock().logs.get(&partition).map_or(0, |log| log.appends)
    }

    /// The next appends to the partition fail, each with one of these.
    pub fn fail_appends(&self, partition: TopicPartition, failures: impl IntoIterator<Item = AppendFailure>) {
        let mut state = self.0.state.lock();
        state.logs.entry(partition).or_default().append_failures.extend(failures);
    }

    /// The partition refuses, for good, batches with a value that holds this text.
    pub fn refuse_text(&self, partition: TopicPartition, text: &str) {
        self.0.state.lock().logs.entry(partition).or_default().refused_text = Some(text.to_owned());
    }

    /// The next appends are taken, but their acknowledgements fail, and their records are gone.
    pub fn fail_acknowledgements(
        &self,
        partition: TopicPartition,
        failures: impl IntoIterator<Item = AppendFailure>,
    ) {
        let mut state = self.0.state.lock();
        state.logs.entry(partition).or_default().acknowledgement_failures.extend(failures);
    }

    /// Holds back all acknowledgements of a partition, or gives them, the held ones too.
    pub fn hold_acknowledgements(&self, partition: TopicPartition, held: bool) {
        let mut state = self.0.state.lock();
        let log = state.logs.entry(partition).or_default();
        log.held = held;
        if !held {
            log.end = log.log_end;
        }
        drop(state);
        self.bump();
    }

    /// Whether this broker is to lead the partition.
    pub fn set_led(&self, partition: TopicPartition, led: bool) {
        let mut state = self.0.state.lock();
        if led {
            state.led_elsewhere.remove(&partition);
        } else {
            state.led_elsewhere.insert(partition);
        }
        drop(state);
        self.bump();
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

    fn bump(&self) {
        self.0.changed.send_modify(|version| *version += 1);
    }

    fn is_led(&self, partition: TopicPartition) -> bool {
        self.0.metadata.image().partition(&partition).is_some()
            && !self.0.state.lock().led_elsewhere.contains(&partition)
    }

    fn try_append(
        &self,
        partition: TopicPartition,
        batches: &[Batch],
    ) -> Result<Result<Offset, AppendFailure>, AppendFailure> {
        if !self.is_led(partition) {
            return Err(AppendFailure::NotHere);
        }
        let mut state = self.0.state.lock();
        let log = state.logs.entry(partition).or_default();
        log.appends += 1;
        if let Some(failure) = log.append_failures.pop_front() {
            return Err(failure);
        }
        log.check(batches)?;
        if let Some(failure) = log.acknowledgement_failures.pop_front() {
            return Ok(Err(failure));
        }
        for batch in batches {
            log.push(batch);
        }
        if !log.held {
            log.end = log.log_end;
        }
        Ok(Ok(log.log_end))
    }

    fn read_now(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadFailure> {
        let bounds = self.bounds(partition).ok_or(ReadFailure::NotHere)?;
        if from < bounds.start || from > bounds.end {
            return Err(ReadFailure::OutOfRange { offset: from, bounds });
        }
        let state = self.0.state.lock();
        let Some(log) = state.logs.get(&partition) else { return Ok(Vec::new()) };
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for batch in &log.batches {
            let unwanted = batch.header.last_offset() < from;
            if unwanted || batch.header.next_offset() > log.end {
                continue;
            }
            if !batches.is_empty() && bytes + batch.bytes.len() > max_bytes {
                break;
            }
            bytes += batch.bytes.len();
            batches.push(batch.clone());
        }
        Ok(batches)
    }
}

impl MemoryLog {
    fn check(&self, batches: &[Batch]) -> Result<(), AppendFailure> {
        let Some(text) = &self.refused_text else { return Ok(()) };
        let values = records_of(batches).into_iter().map(|record| record.value_text());
        match values.into_iter().find(|value| value.contains(text)) {
            Some(value) => Err(AppendFailure::Refused(format!("'{value}' is not taken here"))),
            None => Ok(()),
        }
    }

    /// Adds the batch as the log's next, and returns its base offset.
    fn push(&mut self, batch: &Batch) -> Offset {
        let base = self.log_end;
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        stamp(&mut bytes, base, 0);
        let batch = Batch::parse(bytes.freeze()).unwrap();
        self.log_end = batch.header.next_offset();
        self.batches.push_back(batch);
        base
    }
}

impl Partitions for MemoryPartitions {
    fn bounds(&self, partition: TopicPartition) -> Option<Bounds> {
        if !self.is_led(partition) {
            return None;
        }
        let state = self.0.state.lock();
        let log = state.logs.get(&partition);
        Some(log.map_or(Bounds { start: 0, end: 0 }, |log| Bounds { start: log.start, end: log.end }))
    }

    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, ReadFailure>> {
        Box::pin(async move { self.read_now(partition, from, max_bytes) })
    }

    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let (mut changed, mut image) = (this.0.changed.subscribe(), this.0.metadata.watch());
            while this.bounds(partition).is_some_and(|bounds| bounds.end <= offset) {
                tokio::select! {
                    changed = changed.changed() => changed.unwrap(),
                    changed = image.changed() => if changed.is_err() { return },
                }
            }
        })
    }

    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, ReadFailure>> {
        Box::pin(async move {
            let bounds = self.bounds(partition).ok_or(ReadFailure::NotHere)?;
            let records = self.records(partition);
            let first = records.iter().find(|record| record.timestamp_ms >= timestamp_ms);
            Ok(first.map_or(bounds.end, |record| record.offset))
        })
    }

    fn admit(&self, _: usize) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), AppendFailure> {
        self.0.state.lock().logs.get(&partition).map_or(Ok(()), |log| log.check(batches))
    }

    fn append(&self, partition: TopicPartition, batches: &[Batch]) -> Result<Acknowledged, AppendFailure> {
        let appended = self.try_append(partition, batches)?;
        self.bump();
        let this = self.clone();
        Ok(Box::pin(async move {
            let end = appended?;
            let mut changed = this.0.changed.subscribe();
            while this.bounds(partition).ok_or(AppendFailure::NotHere)?.end < end {
                changed.changed().await.unwrap();
            }
            Ok(())
        }))
    }

    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), TopicFailure>> {
        let name = name.to_owned();
        Box::pin(async move {
            if self.0.metadata.image().topic_by_name(&name).is_none() {
                self.create_topic(&name, partitions, settings).await?;
            }
            Ok(())
        })
    }

    fn trim(&self, partition: TopicPartition, before: Offset) -> BoxFuture<'_, Result<(), ReadFailure>> {
        Box::pin(async move {
            if !self.is_led(partition) {
                return Err(ReadFailure::NotHere);
            }
            let mut state = self.0.state.lock();
            let log = state.logs.entry(partition).or_default();
            log.start = before.min(log.end).max(log.start);
            let start = log.start;
            log.batches.retain(|batch| batch.header.next_offset() > start);
            drop(state);
            self.bump();
            Ok(())
        })
    }
}

mod tests {
    use super::*;

    #[tokio::test]
    async fn partitions_in_memory_behave_as_a_brokers() {
        let cluster = TestCluster::start().await;
        cluster.topic("in", 1).await;
        let (partitions, tp) = (&cluster.partitions, cluster.partitions.partition("in", 0));
        assert_eq!(partitions.bounds(tp), Some(Bounds { start: 0, end: 0 }));
        let waiting = tokio::spawn(partitions.wait_for(tp, 0));
        assert_eq!(partitions.produce(tp, &["a", "b"]), 0);
        assert_eq!(partitions.produce(tp, &["c"]), 2);
        waiting.await.unwrap();
        let read = partitions.read(tp, 1, 1).await.unwrap();
        assert_eq!(read.iter().map(|batch| batch.header.base_offset).collect::<Vec<_>>(), [0]);
        assert!(read[0].verify().is_ok());
        assert!(matches!(partitions.read(tp, 4, 1).await, Err(ReadFailure::OutOfRange { .. })));

        partitions.hold_acknowledgements(tp, true);
        let waiting = tokio::spawn(partitions.append(tp, &[batch_of(5, &["d"])]).unwrap());
        assert_eq!(partitions.values(tp), ["a", "b", "c"]);
        partitions.hold_acknowledgements(tp, false);
        waiting.await.unwrap().unwrap();
        assert_eq!(partitions.values(tp), ["a", "b", "c", "d"]);

        partitions.trim(tp, 2).await.unwrap();
        assert_eq!(partitions.values(tp), ["c", "d"]);
        partitions.fail_appends(tp, [AppendFailure::Passing("full".into())]);
        assert!(partitions.append(tp, &[batch_of(5, &["e"])]).is_err());
        let waiting = tokio::spawn(partitions.wait_for(tp, 9));
        partitions.set_led(tp, false);
        waiting.await.unwrap();
        assert_eq!(partitions.bounds(tp), None);
    }
}
