//! A partition whose leadership ends, and one with too few replicas in sync: who waits is answered at once.

use millrace_base::{SystemClock, TopicId};
use millrace_disk::RealDisk;
use millrace_log::{LogManager, LogOptions};
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_replication::{Identity, Member};

use super::*;
use crate::metrics::Metrics;

const LOCAL: BrokerId = BrokerId(1);

fn assignment(leader: i32, epoch: i32, isr: &[i32]) -> Assignment {
    let member = |id| Member { id: BrokerId(id), identity: Identity::default() };
    Assignment {
        leader: Some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: epoch,
        replicas: vec![member(1), member(2)],
        isr: isr.iter().map(|id| BrokerId(*id)).collect(),
        min_insync_replicas: 2,
    }
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::default();
    builder.append(0, None, Some(b"v"), &[]);
    Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap()
}

/// Runs `test` on a partition that broker 1 leads in epoch 1, with broker 2, which never fetches, in sync.
fn with_partition(test: impl FnOnce(&Partition)) {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions { wal_bytes: 32 << 20, ..LogOptions::default() };
    let (log, _) =
        LogManager::open(Arc::new(RealDisk), directory.path(), options, Arc::new(SystemClock)).unwrap();
    let id = TopicPartition::new(TopicId::ZERO, 0);
    let config = Arc::new(TopicConfig::default());
    let traffic = Metrics::register(&prometheus::Registry::new()).unwrap().traffic("t");
    let partition_log = log.create(id, config.clone()).unwrap();
    let assigned = (assignment(1, 1, &[1, 2]), config);
    test(&Partition::open(id, LOCAL, partition_log, traffic, assigned, Monotonic::system()));
    log.close().unwrap();
}

/// Appends a record as the leader of `epoch`, and how far its producer's waiting has come.
fn wait_for(partition: &Partition, (epoch, end): (i32, Offset), safe: Safe) -> Arc<PendingAcks> {
    let acks = PendingAcks::new(1);
    partition.acknowledge_at((LeaderEpoch(epoch), end), safe, &acks, 0);
    acks
}

fn outcome(acks: &PendingAcks) -> Option<ErrorCode> {
    acks.outcome(0).and_then(ErrorCode::try_from_code)
}

#[test]
fn an_append_that_races_with_the_loss_of_leadership_is_answered_at_once() {
    with_partition(|partition| {
        let appended = partition.append(LeaderEpoch(1), &[batch()], AppendOrigin::Producer).unwrap();
        let end = appended.last_offset + 1;
        let early = wait_for(partition, (1, end), Safe::Replicated);
        assert_eq!(early.outcome(0), None);
        partition.apply(assignment(2, 2, &[1, 2]), Arc::new(TopicConfig::default()));
        assert_eq!(outcome(&early), Some(ErrorCode::NotLeaderOrFollower));
        for safe in [Safe::Replicated, Safe::Here] {
            let late = wait_for(partition, (1, end), safe);
            assert_eq!(outcome(&late), Some(ErrorCode::NotLeaderOrFollower), "{safe:?}");
        }
        assert_eq!(partition.check_leader(LeaderEpoch::UNKNOWN), Err(ErrorCode::NotLeaderOrFollower));
        assert!(matches!(
            partition.append(LeaderEpoch(1), &[batch()], AppendOrigin::Producer),
            Err(AppendError::Fenced { .. })
        ));
        partition.apply(assignment(1, 3, &[1, 2]), Arc::new(TopicConfig::default()));
        let late = wait_for(partition, (1, end), Safe::Replicated);
        assert_eq!(outcome(&late), Some(ErrorCode::NotLeaderOrFollower), "of an earlier leadership");
        assert_eq!(wait_for(partition, (3, end), Safe::Replicated).outcome(0), None);
    });
}

#[test]
fn who_waits_for_more_replicas_than_are_in_sync_is_answered_at_once() {
    with_partition(|partition| {
        let end =
            partition.append(LeaderEpoch(1), &[batch()], AppendOrigin::Producer).unwrap().last_offset + 1;
        let early = wait_for(partition, (1, end), Safe::Replicated);
        let alone = Assignment { partition_epoch: 2, ..assignment(1, 1, &[1]) };
        partition.apply(alone, Arc::new(TopicConfig::default()));
        let late = wait_for(partition, (1, end), Safe::Replicated);
        for acks in [early, late] {
            assert_eq!(outcome(&acks), Some(ErrorCode::NotEnoughReplicasAfterAppend));
        }
        let refused = partition.role().standing.check_in_sync().map_err(|refused| refused.to_error_code());
        assert_eq!(refused, Err(ErrorCode::NotEnoughReplicas));
        assert_ne!(outcome(&wait_for(partition, (1, end), Safe::Here)), Some(ErrorCode::NotLeaderOrFollower));
        assert_eq!(partition.high_watermark(), 0, "nothing is committed");
    });
}

#[test]
fn a_reader_that_comes_to_wait_after_the_leadership_looks_again() {
    use futures::FutureExt;

    with_partition(|partition| {
        let fetch = WaitingFetch::new();
        partition.notify_beyond(0, &fetch, 0);
        assert_eq!(fetch.moved().now_or_never(), None);
        partition.apply(assignment(2, 2, &[1, 2]), Arc::new(TopicConfig::default()));
        assert_eq!(fetch.moved().now_or_never(), Some(vec![0]));
        let late = WaitingFetch::new();
        partition.notify_beyond(0, &late, 0);
        assert_eq!(late.moved().now_or_never(), Some(vec![0]));
    });
}
