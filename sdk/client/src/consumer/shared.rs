//! What a consumer and its fetchers share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::admin::{OffsetSpec, list_offsets};
use crate::cluster::Cluster;
use crate::consumer::assignment::{Key, Source, State};
use crate::consumer::config::{ConsumerBuilder, Isolation, OnOutOfRange, StartAt};
use crate::consumer::fetcher::Fetcher;
use crate::error::{FetchError, RequestError};

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
            cluster: Arc::clone(&settings.cluster),
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
    pub(crate) fn generations<'a>(&self, sources: impl Iterator<Item = &'a Source>) -> HashMap<Source, u64> {
        let state = self.state.lock();
        sources
            .filter_map(|source| Some((source.clone(), state.assigned.get(&source.key)?.generation)))
            .collect()
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
        let mut recreated = Vec::new();
        {
            let mut state = self.state.lock();
            for ((name, partition), assigned) in &mut state.assigned {
                let Some(topic) = image.topics.get(name) else { continue };
                let index = usize::try_from(*partition).unwrap_or(usize::MAX);
                let now = topic.partitions.get(index);
                // A partition that is not there has no leader that could be asked.
                let leader = now.and_then(|now| now.leader);
                moved |= assigned.leader != leader;
                assigned.leader = leader;
                assigned.leader_epoch = now.map_or(-1, |now| now.leader_epoch);
                leaders.extend(leader);
                if assigned.topic_id != topic.id {
                    recreated.push(((Arc::clone(name), *partition), topic.id));
                }
            }
            for (key, topic_id) in recreated {
                moved = true;
                self.begin_anew(&mut state, key, topic_id);
            }
        }
        if moved {
            self.wanted.send_replace(());
        }
        self.start_fetchers(&leaders);
    }

    /// The topic is another one than that which the position is of: the settings say where to go on.
    fn begin_anew(self: &Arc<Self>, state: &mut State, key: Key, topic_id: TopicId) {
        let Some(former) = state.assigned.get(&key).map(|former| former.position) else { return };
        // What was fetched of the former topic, or is on its way, is not wanted any more.
        state.start_at(key.clone(), topic_id, former);
        let Some(assigned) = state.assigned.get_mut(&key) else { return };
        assigned.halted = true;
        assigned.high_watermark = None;
        if self.settings.on_out_of_range == OnOutOfRange::Fail {
            let (topic, partition) = (key.0.to_string(), key.1);
            state.halt(&key, former, FetchError::Recreated { topic, partition, offset: former });
            if let Some(reader) = state.take_reader() {
                reader.wake();
            }
            return;
        }
        let generation = assigned.generation;
        tokio::spawn(Arc::clone(self).move_into_range(key, generation));
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
