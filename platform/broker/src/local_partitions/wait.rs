//! Waiting for records without asking again and again.

use std::sync::Arc;

use millrace_base::Offset;

use super::Isolation;
use crate::partition::{Partition, Registered};

/// Completes when a look at `offset` is worth it, or `is_draining` says that nobody shall wait any more.
pub(super) async fn wait_for(
    partition: Arc<Partition>,
    isolation: Isolation,
    offset: Offset,
    is_draining: impl Fn() -> bool + Send,
) {
    // Before the first look, so that nothing that happens between the two is missed.
    let waiting = Registered::new([(0, partition.clone(), offset)].into_iter());
    while isolation.end_of(&partition) <= offset && !partition.is_over() && !is_draining() {
        waiting.fetch.moved().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use millrace_base::{BrokerId, LeaderEpoch, Monotonic, SystemClock, TopicId, TopicPartition};
    use millrace_config::TopicConfig;
    use millrace_disk::RealDisk;
    use millrace_log::{LogManager, LogOptions};
    use millrace_replication::{Assignment, Identity, Member};

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn nothing_is_left_of_one_who_does_not_wait_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { wal_bytes: 32 << 20, ..LogOptions::default() };
        let (log, _) =
            LogManager::open(Arc::new(RealDisk), dir.path(), options, Arc::new(SystemClock)).unwrap();
        let id = TopicPartition::new(TopicId::random(), 0);
        let local = BrokerId(1);
        let config = Arc::new(TopicConfig::default());
        let assignment = Assignment {
            leader: Some(local),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            replicas: vec![Member { id: local, identity: Identity::default() }],
            isr: vec![local],
            min_insync_replicas: 1,
        };
        let traffic = Metrics::register(&prometheus::Registry::new()).unwrap().traffic("t");
        let partition_log = log.create(id, config.clone()).unwrap();
        let partition =
            Partition::open(id, local, partition_log, traffic, (assignment, config), Monotonic::system());
        let mut given_up = Box::pin(wait_for(partition.clone(), Isolation::Committed, 0, || false));
        let mut patient = Box::pin(wait_for(partition.clone(), Isolation::Committed, 0, || false));
        assert!((&mut given_up).now_or_never().is_none() && (&mut patient).now_or_never().is_none());
        assert_eq!(partition.waiting_fetches(), 2);
        drop(given_up);
        assert_eq!(partition.waiting_fetches(), 1);
        partition.wake_fetches();
        assert!((&mut patient).now_or_never().is_none(), "a wake-up alone is no news");
        partition.close();
        assert!((&mut patient).now_or_never().is_some());
        assert_eq!(partition.waiting_fetches(), 0);
        log.close().unwrap();
    }
}
