//! What a consumer and its fetchers share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::admin::{OffsetSpec, list_offsets};
use crate::cluster::Cluster;
use crate::consumer::assignment::{Key, State};
use crate::consumer::config::{ConsumerBuilder, Isolation, OnOutOfRange, StartAt};
use crate::consumer::fetcher::Fetcher;
use crate::error::RequestError;

/// Pause before another attempt to move into range.
const RANGE_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: ConsumerBuilder,
    pub(crate) state: Mutex<State>,
    /// Rings when what is wanted has changed: an answer that a broker holds back is not waited for.
    pub(crate) wanted: watch::Sender<()>,
    /// Rings when there is room for more again.
    pub(crate) room: watch::Sender<()>,
    /// Brokers that have a fetcher.
    fetching: Mutex<HashSet<i32>>,
}

impl Shared {
    pub(crate) fn new(settings: ConsumerBuilder) -> Arc<Self> {
        Arc::new(Self {
            cluster: Arc::clone(settings.client.cluster()),
            settings,
            state: Mutex::default(),
            wanted: watch::Sender::new(()),
            room: watch::Sender::new(()),
            fetching: Mutex::default(),
        })
    }

    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().ahead_bytes < self.settings.prefetch_bytes
    }

    /// Which seek each partition's answer will belong to.
    pub(crate) fn generations<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> HashMap<Key, u64> {
        let state = self.state.lock();
        keys.filter_map(|key| Some((key.clone(), state.assigned.get(key)?.generation))).collect()
    }

    /// The id of a topic that may not be assigned any more.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.cluster.image().topics.get(topic).map(|topic| topic.id)
    }

    /// Looks up the leaders of all assigned partitions and sees to it that each has a fetcher.
    pub(crate) async fn find_leaders(self: &Arc<Self>, seen: Instant) {
        if let Err(error) = self.cluster.refresh(None, seen, false).await {
            tracing::debug!(%error, "look up the leaders of assigned partitions");
        }
        self.adopt_leaders();
    }

    /// Takes over leaders as the cluster's present picture has them.
    pub(crate) fn adopt_leaders(self: &Arc<Self>) {
        let image = self.cluster.image();
        let mut leaders = HashSet::new();
        let mut moved = false;
        {
            let mut state = self.state.lock();
            for ((topic, partition), assigned) in &mut state.assigned {
                let Some(topic) = image.topics.get(topic) else { continue };
                let index = usize::try_from(*partition).unwrap_or(usize::MAX);
                let Some(now) = topic.partitions.get(index) else { continue };
                moved |= assigned.leader != now.leader;
                assigned.topic_id = topic.id;
                assigned.leader = now.leader;
                assigned.leader_epoch = now.leader_epoch;
                leaders.extend(now.leader);
            }
        }
        if moved {
            self.wanted.send_replace(());
        }
        self.start_fetchers(&leaders);
    }

    pub(crate) fn start_fetchers(self: &Arc<Self>, brokers: &HashSet<i32>) {
        let mut fetching = self.fetching.lock();
        for &broker in brokers {
            if fetching.insert(broker) {
                tokio::spawn(Fetcher::new(broker, Arc::clone(self)).run());
            }
        }
    }

    /// The offset that `start` means in each of `partitions`.
    pub(crate) async fn resolve(
        &self,
        topic: &str,
        partitions: &[i32],
        start: StartAt,
    ) -> Result<Vec<(i32, i64)>, RequestError> {
        let committed = self.settings.isolation == Isolation::ReadCommitted;
        let look_up = |spec| list_offsets(&self.cluster, topic, partitions, spec, committed);
        let listed = match start {
            StartAt::Offset(offset) => return Ok(partitions.iter().map(|index| (*index, offset)).collect()),
            StartAt::Beginning => look_up(OffsetSpec::Earliest).await?,
            StartAt::End => look_up(OffsetSpec::Latest).await?,
            StartAt::Timestamp(timestamp) => look_up(OffsetSpec::Timestamp(timestamp)).await?,
        };
        let mut found = Vec::with_capacity(partitions.len());
        for one in listed {
            let offset = match one.offset {
                Some(offset) => offset,
                // No record is that young: read what comes.
                None => {
                    let asked = [one.partition];
                    let end = list_offsets(&self.cluster, topic, &asked, OffsetSpec::Latest, committed);
                    end.await?.first().and_then(|end| end.offset).unwrap_or_default()
                }
            };
            found.push((one.partition, offset));
        }
        Ok(found)
    }

    /// Moves a partition that was read out of range to where the settings say.
    pub(crate) async fn move_into_range(self: Arc<Self>, key: Key, generation: u64) {
        let start = match self.settings.on_out_of_range {
            OnOutOfRange::End => StartAt::End,
            OnOutOfRange::Beginning | OnOutOfRange::Fail => StartAt::Beginning,
        };
        loop {
            let resolved = self.resolve(&key.0, &[key.1], start).await;
            let offset = resolved.ok().and_then(|found| Some(found.first()?.1));
            if self.restart_at(&key, generation, offset) {
                return;
            }
            tokio::time::sleep(RANGE_PAUSE).await;
        }
    }

    /// Moves the partition if the application has not done so itself; true when there is nothing left to do.
    fn restart_at(&self, key: &Key, generation: u64, offset: Option<i64>) -> bool {
        let mut state = self.state.lock();
        let Some(assigned) = state.assigned.get(key).filter(|one| one.generation == generation) else {
            return true;
        };
        let Some(offset) = offset else { return false };
        let topic_id = assigned.topic_id;
        state.start_at(key.clone(), topic_id, offset);
        drop(state);
        self.wanted.send_replace(());
        true
    }
}
