//! Committed offsets in their topic, over partitions in memory.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use millrace_base::{ManualClock, TopicId, TopicPartition};
use millrace_coordinator::{
    AppendFailure, CommittedOffsets, OFFSETS_TOPIC, OffsetKey, Partitions as _, partition_of,
};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_test_partitions::{MemoryPartitions, MemoryTopics};

struct Bench {
    topics: Arc<MemoryTopics>,
    partitions: MemoryPartitions,
}

impl Bench {
    fn new() -> Self {
        let topics = Arc::<MemoryTopics>::default();
        Self { partitions: MemoryPartitions::new(topics.clone()), topics }
    }

    /// As a broker has them after a start.
    fn offsets(&self) -> CommittedOffsets {
        CommittedOffsets::new(Arc::new(self.partitions.clone()), Arc::new(ManualClock::at_ms(5)))
    }

    async fn offset(&self, offsets: &CommittedOffsets, key: &OffsetKey, topic: TopicId) -> Option<i64> {
        offsets.committed(key, topic).await.unwrap().map(|committed| committed.offset)
    }

    fn home(&self, group: &str) -> TopicPartition {
        self.partitions.partition(OFFSETS_TOPIC, partition_of(group, 50))
    }
}

fn key(group: &str, partition: i32) -> OffsetKey {
    OffsetKey { group: group.into(), topic: "in".into(), partition }
}

async fn commit(offsets: &CommittedOffsets, key: &OffsetKey, topic: TopicId, offset: i64) {
    offsets.commit(key, topic, offset, 0).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn the_last_commit_counts_also_after_a_start() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    let offsets = bench.offsets();
    assert_eq!(offsets.known(&key("g", 0), topic), None);
    assert_eq!(bench.offset(&offsets, &key("g", 0), topic).await, None);
    for (partition, offset) in [(0, 5), (1, 7), (0, 9)] {
        commit(&offsets, &key("g", partition), topic, offset).await;
    }
    for offsets in [offsets, bench.offsets()] {
        assert_eq!(bench.offset(&offsets, &key("g", 0), topic).await, Some(9));
        assert_eq!(bench.offset(&offsets, &key("g", 1), topic).await, Some(7));
        assert_eq!(bench.offset(&offsets, &key("other", 0), topic).await, None);
        assert_eq!(offsets.known(&key("g", 0), topic).unwrap().timestamp_ms, 5);
        assert_eq!(offsets.groups().await.unwrap(), ["g"]);
    }
}

#[tokio::test]
async fn a_topic_made_again_has_no_offset_from_the_former_one() {
    let (bench, former, again) = (Bench::new(), TopicId::random(), TopicId::random());
    let offsets = bench.offsets();
    commit(&offsets, &key("g", 0), former, 5).await;
    for offsets in [&offsets, &bench.offsets()] {
        assert_eq!(bench.offset(offsets, &key("g", 0), again).await, None);
        assert_eq!(offsets.known(&key("g", 0), again), None);
    }
    commit(&offsets, &key("g", 0), again, 1).await;
    offsets.forget("g", |_, committed| committed.is_of(former)).await.unwrap();
    assert_eq!(
        bench.offset(&offsets, &key("g", 0), again).await,
        Some(1),
        "only the former one's are forgotten"
    );
    assert_eq!(bench.offset(&offsets, &key("g", 0), former).await, None);
}

#[tokio::test]
async fn a_commit_is_seen_when_it_is_acknowledged() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    let offsets = bench.offsets();
    commit(&offsets, &key("g", 0), topic, 5).await;
    bench.partitions.hold_acknowledgements(bench.home("g"), true);
    let acknowledged = offsets.commit(&key("g", 0), topic, 9, 0).await.unwrap();
    assert_eq!(bench.offset(&offsets, &key("g", 0), topic).await, Some(5));
    bench.partitions.set_led(bench.home("g"), false);
    bench.partitions.truncate(bench.home("g"));
    assert_eq!(acknowledged.await, Err(AppendFailure::NotHere));
    let failure = offsets.committed(&key("g", 0), topic).await.unwrap_err();
    assert!(failure.retryable() && failure.to_string().contains("does not lead"), "{failure}");
    let refused = offsets.commit(&key("g", 0), topic, 9, 0).await.err();
    assert_eq!(refused, Some(AppendFailure::NotHere));
    bench.partitions.hold_acknowledgements(bench.home("g"), false);
    bench.partitions.set_led(bench.home("g"), true);
    assert_eq!(bench.offset(&bench.offsets(), &key("g", 0), topic).await, Some(5));
}

#[tokio::test]
async fn what_is_forgotten_is_so_after_a_start() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    let offsets = bench.offsets();
    for partition in 0..3 {
        commit(&offsets, &key("g", partition), topic, 5).await;
    }
    commit(&offsets, &key("h", 0), topic, 5).await;
    offsets.forget("g", |key, _| key.partition != 1).await.unwrap();
    offsets.forget("nobody", |_, _| true).await.unwrap();
    for offsets in [offsets, bench.offsets()] {
        let mut found = Vec::new();
        for partition in 0..3 {
            found.push(bench.offset(&offsets, &key("g", partition), topic).await);
        }
        assert_eq!(found, [None, Some(5), None]);
        assert_eq!(offsets.groups().await.unwrap(), ["g", "h"]);
    }
}

#[tokio::test]
async fn offsets_are_found_although_their_topic_has_grown() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    let offsets = bench.offsets();
    let groups: Vec<String> = (0..20).map(|number| format!("g{number:02}")).collect();
    for (offset, group) in (0..).zip(&groups) {
        commit(&offsets, &key(group, 0), topic, offset).await;
    }
    // No client is allowed to; a topic that an older broker let grow is still read.
    bench.topics.grow(OFFSETS_TOPIC, 51);
    let again = bench.offsets();
    for (offset, group) in (0..).zip(&groups) {
        assert_eq!(bench.offset(&again, &key(group, 0), topic).await, Some(offset), "{group}");
    }
    assert_eq!(again.groups().await.unwrap(), groups);
    // They are committed where the groups are now, which counts, and forgotten wherever they are.
    for group in &groups {
        commit(&again, &key(group, 0), topic, 99).await;
        assert_eq!(bench.offset(&bench.offsets(), &key(group, 0), topic).await, Some(99));
    }
    again.forget(&groups[0], |_, _| true).await.unwrap();
    assert_eq!(bench.offset(&bench.offsets(), &key(&groups[0], 0), topic).await, None);
}

#[tokio::test]
async fn a_topic_that_is_made_anew_is_used() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    let offsets = bench.offsets();
    commit(&offsets, &key("g", 0), topic, 5).await;
    bench.topics.delete(OFFSETS_TOPIC);
    assert_eq!(bench.offset(&offsets, &key("g", 0), topic).await, None);
    commit(&offsets, &key("g", 0), topic, 7).await;
    assert_eq!(bench.offset(&bench.offsets(), &key("g", 0), topic).await, Some(7));
}

/// What version 0.1.0 wrote: no topic's id but in the metadata.
#[tokio::test]
async fn commits_of_former_versions_are_read() {
    let (bench, topic) = (Bench::new(), TopicId::random());
    bench.offsets().groups().await.unwrap();
    let mut builder = BatchBuilder::default();
    let metadata = topic.to_string();
    let mut value = b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x00\x20".to_vec();
    value.extend_from_slice(metadata.as_bytes());
    value.extend_from_slice(&[0; 8]);
    builder.append(5, Some(b"\x00\x01\x00\x01g\x00\x02in\x00\x00\x00\x00"), Some(&value), &[]);
    let batch = Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap();
    bench.partitions.append(bench.home("g"), &[batch]).unwrap().await.unwrap();
    let offsets = bench.offsets();
    let committed = offsets.committed(&key("g", 0), topic).await.unwrap().unwrap();
    assert_eq!((committed.offset, committed.leader_epoch, committed.topic), (42, 3, None));
    assert_eq!(committed.metadata, metadata);
}
