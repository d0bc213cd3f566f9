//! What every implementation of the port does.
//!
//! The tests of an implementation call [`run`] with a [`Fixture`] that does to its partitions what only it can.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use millrace_base::{LeaderEpoch, TopicId, TopicPartition};
use millrace_coordinator::{AppendFailure, Bounds, Partitions, ReadFailure};
use millrace_protocol::batch::Batch;

use crate::PATIENCE;
use crate::records::{batch_of, records_of};

const ROOM: usize = 1 << 20;

/// A broker whose partitions are tested.
pub trait Fixture {
    fn partitions(&self) -> Arc<dyn Partitions>;

    /// Makes a topic of one partition, of which this broker has the only replica.
    fn topic(&self, name: &str) -> impl Future<Output = TopicPartition>;

    /// As [`topic`](Self::topic), with another replica that is in sync and has nothing yet.
    fn lagging_topic(&self, name: &str) -> impl Future<Output = TopicPartition>;

    /// What was appended to a lagging topic is replicated, and what will be is at once.
    fn catch_up(&self, partition: TopicPartition) -> impl Future<Output = ()>;

    /// The leadership of a lagging topic that has not caught up goes to the other replica, or comes back.
    fn lead(&self, partition: TopicPartition, here: bool) -> impl Future<Output = ()>;

    fn delete_topic(&self, name: &str) -> impl Future<Output = ()>;

    /// A time of which records are taken, in milliseconds.
    fn now_ms(&self) -> i64;
}

/// Runs the suite.
pub async fn run(fixture: &impl Fixture) {
    let suite = Suite { fixture, partitions: fixture.partitions() };
    // First, while there is no other broker that a partition of them could be placed on.
    suite.internal_topics_are_made_once_and_open_at_once().await;
    suite.what_is_appended_is_acknowledged_and_read_back().await;
    suite.what_is_nowhere_is_not_here().await;
    suite.a_reader_stops_where_records_are_replicated().await;
    suite.a_leader_appends_in_its_epoch_only().await;
    suite.waiting_ends_with_records_and_with_the_topic().await;
    suite.records_are_found_by_time_and_trimmed().await;
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it is in time")
}

struct Suite<'f, F> {
    fixture: &'f F,
    partitions: Arc<dyn Partitions>,
}

impl<F: Fixture> Suite<'_, F> {
    fn batch(&self, values: &[&str]) -> [Batch; 1] {
        [batch_of(self.fixture.now_ms(), values)]
    }

    async fn append(&self, partition: TopicPartition, values: &[&str]) {
        in_time(self.partitions.append(partition, &self.batch(values)).unwrap()).await.unwrap();
    }

    async fn read(&self, partition: TopicPartition, from: i64, max_bytes: usize) -> Vec<(i64, String)> {
        let batches = self.partitions.read(partition, from, max_bytes).await.unwrap();
        records_of(&batches).iter().map(|record| (record.offset, record.value_text())).collect()
    }

    async fn what_is_appended_is_acknowledged_and_read_back(&self) {
        let (partitions, id) = (&self.partitions, self.fixture.topic("read-back").await);
        assert_eq!(partitions.bounds(id), Some(Bounds { start: 0, end: 0 }));
        in_time(partitions.admit(1_000)).await;
        self.append(id, &["a", "b"]).await;
        self.append(id, &["c"]).await;
        assert_eq!(partitions.bounds(id), Some(Bounds { start: 0, end: 3 }));
        assert_eq!(partitions.log_end(id), Some(3));
        let all = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
        assert_eq!(self.read(id, 0, ROOM).await, all);
        assert_eq!(self.read(id, 1, ROOM).await, all, "the batch that holds 1 is whole");
        assert_eq!(self.read(id, 0, 1).await, all[..2], "one batch of any size");
        assert_eq!(self.read(id, 3, ROOM).await, []);
        let bounds = Bounds { start: 0, end: 3 };
        assert_eq!(partitions.read(id, 4, ROOM).await, Err(ReadFailure::OutOfRange { offset: 4, bounds }));
        let two = [self.batch(&["d"]), self.batch(&["e"])].concat();
        in_time(partitions.append(id, &two).unwrap()).await.unwrap();
        assert_eq!(self.read(id, 3, ROOM).await, [(3, "d".to_owned()), (4, "e".to_owned())]);
        assert!(matches!(partitions.append(id, &[]).err(), Some(AppendFailure::Refused(_))));
    }

    async fn what_is_nowhere_is_not_here(&self) {
        let (partitions, id) = (&self.partitions, TopicPartition::new(TopicId::random(), 0));
        assert_eq!(
            (partitions.leadership(id), partitions.bounds(id), partitions.log_end(id)),
            (None, None, None)
        );
        assert_eq!(partitions.read(id, 0, ROOM).await, Err(ReadFailure::NotHere));
        assert_eq!(partitions.append(id, &self.batch(&["a"])).err(), Some(AppendFailure::NotHere));
        assert_eq!(partitions.check(id, &self.batch(&["a"])), Ok(()));
        let led = partitions.append_as_leader(id, LeaderEpoch(0), &self.batch(&["a"]));
        assert_eq!(led.err(), Some(AppendFailure::NotHere));
        assert_eq!(partitions.trim(id, 1).await, Err(ReadFailure::NotHere));
        assert_eq!(partitions.offset_for_time(id, 0).await, Err(ReadFailure::NotHere));
        assert!(partitions.wait_for(id, 0).now_or_never().is_some());
        assert!(partitions.leadership_beyond(id, None).now_or_never().is_none());
    }

    async fn a_reader_stops_where_records_are_replicated(&self) {
        let (partitions, id) = (&self.partitions, self.fixture.lagging_topic("lagging").await);
        let mut acknowledged = partitions.append(id, &self.batch(&["a"])).unwrap();
        let mut more = partitions.wait_for(id, 0);
        assert!((&mut more).now_or_never().is_none());
        assert_eq!(
            (partitions.bounds(id), partitions.log_end(id)),
            (Some(Bounds { start: 0, end: 0 }), Some(1))
        );
        assert_eq!(self.read(id, 0, ROOM).await, []);
        assert_eq!(self.read(id, 1, ROOM).await, [], "it is in the log, and not readable");
        let bounds = Bounds { start: 0, end: 0 };
        assert_eq!(partitions.read(id, 2, ROOM).await, Err(ReadFailure::OutOfRange { offset: 2, bounds }));
        assert!((&mut acknowledged).now_or_never().is_none(), "not all replicas in sync have it");
        self.fixture.catch_up(id).await;
        in_time(acknowledged).await.unwrap();
        in_time(more).await;
        assert_eq!(self.read(id, 0, ROOM).await, [(0, "a".to_owned())]);
    }

    async fn a_leader_appends_in_its_epoch_only(&self) {
        let (partitions, id) = (&self.partitions, self.fixture.lagging_topic("led").await);
        let first = in_time(partitions.leadership_beyond(id, None)).await.unwrap();
        assert_eq!(partitions.leadership(id), Some(first));
        for other in [first.0 - 1, first.0 + 1] {
            let refused = partitions.append_as_leader(id, LeaderEpoch(other), &self.batch(&["x"]));
            assert_eq!(refused.err(), Some(AppendFailure::NotHere));
        }
        assert_eq!(partitions.log_end(id), Some(0), "nothing of another epoch is appended");
        let two = [self.batch(&["a", "b"]), self.batch(&["c"])].concat();
        let appended = partitions.append_as_leader(id, first, &two).unwrap();
        assert_eq!((appended.next_offset, partitions.log_end(id)), (3, Some(3)));

        let (waiting, gone) = (partitions.wait_for(id, 0), partitions.leadership_beyond(id, Some(first)));
        self.fixture.lead(id, false).await;
        assert_eq!(in_time(gone).await, None);
        in_time(waiting).await;
        let failure = in_time(appended.acknowledged).await.unwrap_err();
        assert!(failure == AppendFailure::NotHere && failure.retryable());
        assert_eq!(
            (partitions.leadership(id), partitions.bounds(id), partitions.log_end(id)),
            (None, None, None)
        );
        assert_eq!(partitions.read(id, 0, ROOM).await, Err(ReadFailure::NotHere));

        let back = partitions.leadership_beyond(id, None);
        self.fixture.lead(id, true).await;
        let second = in_time(back).await.unwrap();
        assert!(second > first, "{second} after {first}");
        let late = partitions.append_as_leader(id, first, &self.batch(&["late"]));
        assert_eq!(late.err(), Some(AppendFailure::NotHere));
        let appended = partitions.append_as_leader(id, second, &self.batch(&["d"])).unwrap();
        assert_eq!(appended.next_offset, 4);
        self.fixture.catch_up(id).await;
        in_time(appended.acknowledged).await.unwrap();
        let values = self.read(id, 0, ROOM).await.into_iter().map(|(_, value)| value);
        assert_eq!(
            values.collect::<Vec<_>>(),
            ["a", "b", "c", "d"],
            "what was not acknowledged may be there"
        );
    }

    async fn waiting_ends_with_records_and_with_the_topic(&self) {
        let (partitions, id) = (&self.partitions, self.fixture.topic("waited-for").await);
        let (waiting, mut beyond) = (partitions.wait_for(id, 0), partitions.wait_for(id, 2));
        self.append(id, &["a"]).await;
        in_time(waiting).await;
        assert!(partitions.wait_for(id, 0).now_or_never().is_some(), "there is something already");
        assert!((&mut beyond).now_or_never().is_none(), "there is nothing at 2 yet");
        self.append(id, &["b", "c"]).await;
        in_time(beyond).await;

        let waiting = partitions.wait_for(id, 3);
        let gone = partitions.leadership_beyond(id, partitions.leadership(id));
        self.fixture.delete_topic("waited-for").await;
        in_time(waiting).await;
        assert_eq!(in_time(gone).await, None);
        assert_eq!(partitions.read(id, 3, ROOM).await, Err(ReadFailure::NotHere));
    }

    async fn records_are_found_by_time_and_trimmed(&self) {
        let (partitions, id, now) =
            (&self.partitions, self.fixture.topic("timed").await, self.fixture.now_ms());
        for number in 0..3 {
            let batch = batch_of(now + number * 10, &["a"]);
            in_time(partitions.append(id, &[batch]).unwrap()).await.unwrap();
        }
        for (timestamp_ms, offset) in [(0, 0), (now + 1, 1), (now + 20, 2), (now + 21, 3)] {
            assert_eq!(partitions.offset_for_time(id, timestamp_ms).await, Ok(offset));
        }
        partitions.trim(id, 2).await.unwrap();
        let bounds = Bounds { start: 2, end: 3 };
        assert_eq!(partitions.bounds(id), Some(bounds));
        assert_eq!(partitions.read(id, 1, ROOM).await, Err(ReadFailure::OutOfRange { offset: 1, bounds }));
        partitions.trim(id, -1).await.unwrap();
        assert_eq!(partitions.bounds(id), Some(bounds), "nothing is below -1");
        partitions.trim(id, 100).await.unwrap();
        assert_eq!(
            partitions.bounds(id),
            Some(Bounds { start: 3, end: 3 }),
            "no further than there are records"
        );
    }

    async fn internal_topics_are_made_once_and_open_at_once(&self) {
        let made = (0..8).map(|_| self.partitions.ensure_topic("__made", 3, BTreeMap::new()));
        let made = in_time(futures::future::try_join_all(made)).await.unwrap();
        assert!(made.iter().all(|shape| *shape == made[0] && shape.partitions == 3), "{made:?}");
        for partition in 0..3 {
            self.append(TopicPartition::new(made[0].id, partition), &["a"]).await;
        }
        let refused = self.partitions.ensure_topic("__none", 0, BTreeMap::new()).await.unwrap_err();
        assert!(refused.topic == "__none" && !refused.retryable(), "{refused}");
    }
}
