//! One fetch session: what its client reads, and what it was last told (KIP-227).
//!
//! A pure core. Partitions keep their order, and one that had records goes to the back, so that a reader
//! of many partitions with a small `max_bytes` gets to all of them.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use millrace_base::{LeaderEpoch, Offset, TopicId};
use millrace_protocol::StrBytes;

/// How requests name a topic: by its name up to Fetch version 12, by its id from then on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(StrBytes),
    Id(TopicId),
}

/// A partition as a session knows it.
pub(crate) type PartitionKey = (TopicKey, i32);

/// What a client wants of one partition. It is kept for as long as the client waits or has a session, so it holds on
/// to no part of a request's buffer.
#[derive(Clone, Debug)]
pub(crate) struct FetchTarget {
    pub(crate) key: PartitionKey,
    pub(crate) fetch_offset: Offset,
    pub(crate) max_bytes: usize,
    /// The epoch that the client takes for the current one.
    pub(crate) current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that a replica has.
    pub(crate) last_fetched_epoch: LeaderEpoch,
}

/// What decides whether a partition is worth mentioning again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) error: i16,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
    /// There are records, or a diverging epoch.
    pub(crate) has_news: bool,
    pub(crate) has_records: bool,
}

#[derive(Debug)]
struct Cached {
    target: FetchTarget,
    /// -1: the client is to be told next time whatever it is.
    high_watermark: Offset,
    log_start_offset: Offset,
}

/// The state of one session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The epoch that the next request must carry.
    epoch: i32,
    uses_topic_ids: bool,
    partitions: BTreeMap<u64, Cached>,
    positions: HashMap<PartitionKey, u64>,
    next_position: u64,
}

/// A request that does not follow from the last one of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionMismatch {
    Epoch,
    TopicIds,
}

impl Session {
    pub(crate) fn new(uses_topic_ids: bool, targets: impl IntoIterator<Item = FetchTarget>) -> Self {
        let mut session = Self {
            epoch: 1,
            uses_topic_ids,
            partitions: BTreeMap::new(),
            positions: HashMap::new(),
            next_position: 0,
        };
        session.upsert(targets);
        session
    }

    /// Takes a request's changes in. On success the session expects the epoch after `epoch`.
    pub(crate) fn update(
        &mut self,
        epoch: i32,
        uses_topic_ids: bool,
        targets: Vec<FetchTarget>,
        forgotten: &[PartitionKey],
    ) -> Result<(), SessionMismatch> {
        if epoch != self.epoch {
            return Err(SessionMismatch::Epoch);
        }
        if uses_topic_ids != self.uses_topic_ids {
            return Err(SessionMismatch::TopicIds);
        }
        self.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.upsert(targets);
        for key in forgotten {
            if let Some(position) = self.positions.remove(key) {
                self.partitions.remove(&position);
            }
        }
        Ok(())
    }

    fn upsert(&mut self, targets: impl IntoIterator<Item = FetchTarget>) {
        for target in targets {
            if let Some(cached) = self.positions.get(&target.key).and_then(|at| self.partitions.get_mut(at)) {
                let key = cached.target.key.clone();
                cached.target = FetchTarget { key, ..target };
                continue;
            }
            self.positions.insert(target.key.clone(), self.next_position);
            let cached = Cached { target, high_watermark: -1, log_start_offset: -1 };
            self.partitions.insert(self.next_position, cached);
            self.next_position += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Everything the session reads, in the order in which it is to be read.
    pub(crate) fn targets(&self) -> Vec<FetchTarget> {
        self.partitions.values().map(|cached| cached.target.clone()).collect()
    }

    /// Notes what the client is told about a partition; whether there is anything new in it.
    pub(crate) fn tell(&mut self, key: &PartitionKey, told: Told) -> bool {
        let Some(position) = self.positions.get(key).copied() else { return false };
        let Some(cached) = self.partitions.get_mut(&position) else { return false };
        let changed = told.error != 0
            || told.has_news
            || told.high_watermark != cached.high_watermark
            || told.log_start_offset != cached.log_start_offset;
        cached.high_watermark = if told.error == 0 { told.high_watermark } else { -1 };
        cached.log_start_offset = told.log_start_offset;
        if told.has_records
            && let Some(cached) = self.partitions.remove(&position)
        {
            self.positions.insert(key.clone(), self.next_position);
            self.partitions.insert(self.next_position, cached);
            self.next_position += 1;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(partition: i32, fetch_offset: Offset) -> FetchTarget {
        FetchTarget {
            key: key(partition),
            fetch_offset,
            max_bytes: 1,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
        }
    }

    fn key(partition: i32) -> PartitionKey {
        (TopicKey::Name(StrBytes::from_static_str("t")), partition)
    }

    fn told(high_watermark: Offset, has_records: bool) -> Told {
        Told { error: 0, high_watermark, log_start_offset: 0, has_news: has_records, has_records }
    }

    fn order(session: &Session) -> Vec<i32> {
        session.targets().iter().map(|target| target.key.1).collect()
    }

    #[test]
    fn a_request_changes_adds_and_forgets() {
        let mut session = Session::new(false, [target(0, 0), target(1, 0)]);
        session.update(1, false, vec![target(1, 7), target(2, 0)], &[key(0)]).unwrap();
        assert_eq!(order(&session), [1, 2]);
        assert_eq!(session.targets()[0].fetch_offset, 7);
    }

    #[test]
    fn epochs_must_follow_each_other() {
        let mut session = Session::new(false, [target(0, 0)]);
        assert_eq!(session.update(2, false, vec![], &[]), Err(SessionMismatch::Epoch));
        assert_eq!(session.update(1, true, vec![], &[]), Err(SessionMismatch::TopicIds));
        assert_eq!(session.update(1, false, vec![], &[]), Ok(()));
        session.epoch = i32::MAX;
        assert_eq!(session.update(i32::MAX, false, vec![], &[]), Ok(()));
        assert_eq!(session.epoch, 1, "0 would open a new session");
    }

    #[test]
    fn only_what_changed_is_told_again() {
        let mut session = Session::new(false, [target(0, 0)]);
        assert!(session.tell(&key(0), told(5, false)));
        assert!(!session.tell(&key(0), told(5, false)));
        assert!(session.tell(&key(0), told(6, false)));
        let failed = Told { error: 3, ..told(-1, false) };
        assert!(session.tell(&key(0), failed) && session.tell(&key(0), failed), "errors always");
        assert!(session.tell(&key(0), told(6, false)), "after an error the client knows nothing");
    }

    #[test]
    fn who_had_records_goes_to_the_back() {
        let mut session = Session::new(false, [target(0, 0), target(1, 0), target(2, 0)]);
        session.tell(&key(0), told(1, true));
        session.tell(&key(1), told(1, false));
        assert_eq!(order(&session), [1, 2, 0]);
        session.update(1, false, vec![target(0, 1)], &[]).unwrap();
        assert_eq!(order(&session), [1, 2, 0], "an update keeps the place");
    }
}
