//! Keeps this broker's partitions in step with the metadata image: opens logs, closes and deletes them,
//! hands on new leaders and settings.
//!
//! Images are applied one after the other, each as its difference to the one before. A step that fails
//! leaves the old image in place; every step can be repeated.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use millrace_base::{BrokerId, Monotonic, TopicId, TopicPartition};
use millrace_config::{BrokerConfig, SettingError, TopicConfig, TopicDefaults};
use millrace_log::{LogError, LogManager};
use millrace_metadata::{Image, Topic};
use millrace_protocol::ErrorCode;
use millrace_replication::{Assignment, Identity, Member};
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};

use crate::former_topics::FormerTopics;
use crate::metrics::Metrics;
use crate::partition::Partition;
use crate::topic_defaults::topic_defaults;

/// An image that could not be applied in full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("partition {partition} of topic '{topic}': {source}")]
    Log { topic: Arc<str>, partition: i32, source: LogError },
    #[error("settings of topic '{topic}': {source}")]
    Settings { topic: Arc<str>, source: SettingError },
    #[error("applying the metadata was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The partitions with a log on this broker.
pub(crate) struct PartitionManager {
    shared: Arc<Shared>,
    /// The image that the partitions reflect; held while another is applied.
    applied: Mutex<Option<Arc<Image>>>,
    /// How far that image goes, for those who wait.
    applied_index: watch::Sender<u64>,
}

struct Shared {
    local: BrokerId,
    config: Arc<BrokerConfig>,
    log: LogManager,
    metrics: Arc<Metrics>,
    time: Monotonic,
    open: RwLock<HashMap<TopicPartition, Arc<Partition>>>,
    former: FormerTopics,
}

impl PartitionManager {
    pub(crate) fn new(
        local: BrokerId,
        config: Arc<BrokerConfig>,
        log: LogManager,
        metrics: Arc<Metrics>,
        time: Monotonic,
    ) -> Self {
        let (open, former) = (RwLock::default(), FormerTopics::default());
        let shared = Shared { local, config, log, metrics, time, open, former };
        Self { shared: Arc::new(shared), applied: Mutex::new(None), applied_index: watch::Sender::new(0) }
    }

    /// The partition, if its log is on this broker.
    pub(crate) fn find(&self, topic: TopicId, partition: i32) -> Option<Arc<Partition>> {
        self.shared.open.read().get(&TopicPartition::new(topic, partition)).cloned()
    }

    /// All of them, by their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<_> = self.shared.open.read().values().cloned().collect();
        all.sort_unstable_by_key(|partition| partition.id());
        all
    }

    /// Applies `image` unless it, or a later one, is applied already. Returns when it is.
    pub(crate) async fn catch_up(&self, image: Arc<Image>) -> Result<(), ApplyError> {
        let mut applied = self.applied.lock().await;
        if applied.as_ref().is_some_and(|applied| applied.applied_index() >= image.applied_index()) {
            return Ok(());
        }
        let (shared, before, next) = (self.shared.clone(), applied.clone(), image.clone());
        tokio::task::spawn_blocking(move || shared.apply(before.as_deref(), &next)).await??;
        self.applied_index.send_replace(image.applied_index());
        *applied = Some(image);
        Ok(())
    }

    /// Completes when the partitions reflect the image of that index, or a later one.
    pub(crate) async fn has_applied(&self, index: u64) {
        // The sender is `self`, so there is no end before that.
        let _ = self.applied_index.subscribe().wait_for(|applied| *applied >= index).await;
    }

    /// Changes whenever the partitions have come to reflect another image.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied_index.subscribe()
    }

    /// Has every waiting fetch look again at whether to wait.
    pub(crate) fn wake_fetches(&self) {
        for partition in self.all() {
            partition.wake_fetches();
        }
    }

    /// Tells producers that wait for a partition that they will not be acknowledged.
    pub(crate) fn fail_acks(&self, error: ErrorCode) {
        for partition in self.all() {
            partition.fail_acks(error);
        }
    }

    /// Answers everything that waits on a partition.
    pub(crate) fn stop(&self) {
        for partition in self.all() {
            partition.close();
        }
    }
}

impl Shared {
    fn apply(&self, before: Option<&Image>, image: &Image) -> Result<(), ApplyError> {
        match before {
            Some(before) => {
                let delta = image.delta_since(before);
                for topic in &delta.deleted {
                    self.delete(topic)?;
                }
                let defaults = topic_defaults(&self.config, self.local, image);
                if delta.broker_configs_changed {
                    image.topics().try_for_each(|topic| self.update(topic, &defaults))?;
                } else {
                    delta.changed.iter().try_for_each(|topic| self.update(topic, &defaults))?;
                }
            }
            None => {
                let defaults = topic_defaults(&self.config, self.local, image);
                image.topics().try_for_each(|topic| self.update(topic, &defaults))?;
                self.delete_strays(image);
            }
        }
        self.metrics.topics.set(image.topic_count() as i64);
        self.metrics.partitions.set(self.open.read().len() as i64);
        Ok(())
    }

    /// Opens or updates those of the topic's partitions that this broker has a replica of.
    fn update(&self, topic: &Topic, defaults: &TopicDefaults) -> Result<(), ApplyError> {
        let failed = |source| ApplyError::Settings { topic: topic.name.clone(), source };
        let config: Arc<TopicConfig> = Arc::new(defaults.topic_config(&topic.configs).map_err(failed)?);
        for (index, partition) in (0i32..).zip(&topic.partitions) {
            if !partition.replicas.contains(&self.local) {
                self.remove(topic, index)?;
                continue;
            }
            let assignment = assignment(partition, &config);
            let id = TopicPartition::new(topic.id, index);
            let open = self.open.read().get(&id).cloned();
            if let Some(open) = open {
                open.apply(assignment, config.clone());
                continue;
            }
            let failed = |source| ApplyError::Log { topic: topic.name.clone(), partition: index, source };
            let log = self.log.create(id, config.clone()).map_err(failed)?;
            if self.former.had(&topic.name) {
                // Producers go on numbering as if it were the same topic.
                log.expect_continued_producers();
            }
            let traffic = self.metrics.traffic(&topic.name);
            let partition = Partition::open(
                id,
                self.local,
                log,
                traffic,
                (assignment, config.clone()),
                self.time.clone(),
            );
            self.open.write().insert(id, partition);
        }
        Ok(())
    }

    fn delete(&self, topic: &Topic) -> Result<(), ApplyError> {
        for (index, _) in (0i32..).zip(&topic.partitions) {
            self.remove(topic, index)?;
        }
        self.metrics.forget_topic(&topic.name);
        self.former.note(&topic.name);
        Ok(())
    }

    /// Closes and deletes one partition, if it is here.
    fn remove(&self, topic: &Topic, index: i32) -> Result<(), ApplyError> {
        let id = TopicPartition::new(topic.id, index);
        if let Some(partition) = self.open.write().remove(&id) {
            partition.close();
        }
        match self.log.delete(&id) {
            Ok(()) | Err(LogError::UnknownPartition(_)) => Ok(()),
            Err(source) => Err(ApplyError::Log { topic: topic.name.clone(), partition: index, source }),
        }
    }

    /// Removes logs of topics that were deleted while this broker was down. What the metadata has never known is
    /// no deleted topic but one that is newer than they are, from a backup for instance: it stays as it is.
    fn delete_strays(&self, image: &Image) {
        let deleted: HashSet<TopicId> = image.deleted_topics().collect();
        let is_stray = |id: &TopicPartition| image.partition(id).is_none();
        for id in self.log.partitions().into_iter().filter(is_stray) {
            if !deleted.contains(&id.topic) {
                tracing::warn!(
                    partition = %id,
                    "the data directory holds a partition that the metadata does not know: it is kept in log/topics, \
                     but not served. Restore newer metadata to have it back, or stop the broker and move its \
                     directory away"
                );
                continue;
            }
            match self.log.delete(&id) {
                Ok(()) => tracing::info!(partition = %id, "deleted the log of a topic that is gone"),
                Err(error) => {
                    tracing::warn!(partition = %id, %error, "cannot delete the log of a topic that is gone");
                }
            }
        }
    }
}

/// What the replica core is told of a partition. Brokers do not tell their directories yet, and nobody compares them.
fn assignment(partition: &millrace_metadata::Partition, config: &TopicConfig) -> Assignment {
    let member = |id: &BrokerId| Member { id: *id, identity: Identity::default() };
    Assignment {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.iter().map(member).collect(),
        isr: partition.isr.clone(),
        min_insync_replicas: config.min_insync_replicas as usize,
    }
}
