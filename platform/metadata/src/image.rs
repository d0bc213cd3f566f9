//! The cluster as it stood after one command: immutable, read without locks, cheap to derive the next from.
//!
//! Every piece is behind an `Arc`; the next image shares all that its command did not change. A broker that
//! follows the changes compares two images with [`Image::delta_since`] at the cost of what changed.

mod deployments;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_base::{BrokerId, LeaderEpoch, ProducerId, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::command::BrokerRegistration;
use crate::deployment::Deployment;
use crate::shards::ShardedMap;
use crate::topic_name::collision_key;

/// Deleted topics that are remembered: far more than are deleted while a broker is down, in 160 KB.
pub(crate) const DELETED_TOPICS_KEPT: usize = 10_000;

/// Overrides of settings, by name.
pub type Configs = BTreeMap<String, String>;

/// A broker that has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    pub registration: BrokerRegistration,
    /// Index of the command that registered it: a later registration has a greater one.
    pub epoch: i64,
}

/// Who holds a partition and who leads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    /// In order of preference for leadership.
    pub replicas: Vec<BrokerId>,
    /// Never empty, always out of `replicas`.
    pub isr: Vec<BrokerId>,
    /// Grows with every change of the partition.
    pub partition_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// Partition `n` is at `n`; never empty.
    pub partitions: Vec<Arc<Partition>>,
    pub configs: Arc<Configs>,
}

impl Topic {
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("bounded by limits::PARTITIONS_PER_TOPIC_MAX")
    }

    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// See the module's text.
#[derive(Clone, Default)]
pub struct Image {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) brokers: Arc<BTreeMap<BrokerId, Arc<Broker>>>,
    pub(crate) topics: ShardedMap<TopicId, Arc<Topic>>,
    pub(crate) by_name: ShardedMap<Arc<str>, Arc<Topic>>,
    /// Names under their collision key, only of topics whose name has a '.' or a '_'.
    pub(crate) collisions: ShardedMap<Arc<str>, Arc<str>>,
    /// The topics that were deleted last, the oldest first, at most [`DELETED_TOPICS_KEPT`].
    pub(crate) deleted_topics: Arc<VecDeque<TopicId>>,
    pub(crate) partition_count: usize,
    pub(crate) broker_configs: Arc<BTreeMap<Option<BrokerId>, Arc<Configs>>>,
    pub(crate) next_producer_id: i64,
    pub(crate) deployments: ShardedMap<Arc<str>, Arc<Deployment>>,
    /// Names of the deployments that are partitioners, paused ones too, by the topic that they serve.
    pub(crate) partitioners: ShardedMap<Arc<str>, Arc<str>>,
    pub(crate) applied_index: u64,
}

impl Image {
    /// Empty until the first broker of the cluster has started.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn brokers(&self) -> &BTreeMap<BrokerId, Arc<Broker>> {
        &self.brokers
    }

    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// Topics that are known to have been deleted. One that is neither here nor among the topics was never known,
    /// or was deleted long ago: it must not be taken for deleted.
    pub fn deleted_topics(&self) -> impl Iterator<Item = TopicId> {
        self.deleted_topics.iter().copied()
    }

    /// In no particular order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    pub const fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Over all topics.
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn partition(&self, partition: &TopicPartition) -> Option<&Arc<Partition>> {
        self.topics.get(&partition.topic)?.partition(partition.partition)
    }

    /// Overrides for one broker, or the default of all brokers (`None`).
    pub fn broker_configs(&self, broker: Option<BrokerId>) -> Option<&Arc<Configs>> {
        self.broker_configs.get(&broker)
    }

    /// First producer id that no broker has been given.
    pub const fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// Index of the last Raft log entry that this image reflects; 0 before the first.
    pub const fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// What changed since an earlier image. Topics that neither image changed cost nothing.
    pub fn delta_since(&self, earlier: &Self) -> ImageDelta {
        let mut delta = ImageDelta {
            changed: Vec::new(),
            deleted: Vec::new(),
            deployments_changed: Vec::new(),
            deployments_deleted: Vec::new(),
            brokers_changed: !Arc::ptr_eq(&self.brokers, &earlier.brokers),
            broker_configs_changed: !Arc::ptr_eq(&self.broker_configs, &earlier.broker_configs),
        };
        self.topics.diff(
            &earlier.topics,
            Arc::ptr_eq,
            |topic| delta.changed.push(Arc::clone(topic)),
            |topic| delta.deleted.push(Arc::clone(topic)),
        );
        self.deployments.diff(
            &earlier.deployments,
            Arc::ptr_eq,
            |deployment| delta.deployments_changed.push(Arc::clone(deployment)),
            |deployment| delta.deployments_deleted.push(Arc::clone(deployment)),
        );
        delta
    }
}

/// The changes, for the state machine alone.
impl Image {
    /// Adds a topic, or replaces the one with its id (which has the same name).
    pub(crate) fn put_topic(&mut self, topic: impl Into<Arc<Topic>>) {
        let topic = topic.into();
        self.partition_count += topic.partitions.len();
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        if needs_collision_key(&topic.name) {
            self.collisions.insert(collision_key(&topic.name).into(), Arc::clone(&topic.name));
        }
        if let Some(before) = self.topics.insert(topic.id, topic) {
            self.partition_count -= before.partitions.len();
        }
    }

    pub(crate) fn remove_topic(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.topics.remove(&id)?;
        self.partition_count -= topic.partitions.len();
        self.by_name.remove(&*topic.name);
        if needs_collision_key(&topic.name) {
            self.collisions.remove(&*collision_key(&topic.name));
        }
        let deleted = Arc::make_mut(&mut self.deleted_topics);
        deleted.push_back(id);
        if deleted.len() > DELETED_TOPICS_KEPT {
            deleted.pop_front();
        }
        Some(topic)
    }

    /// The name of a topic that cannot exist beside one called `name`.
    pub(crate) fn colliding_name(&self, name: &str) -> Option<&Arc<str>> {
        if needs_collision_key(name) { self.collisions.get(&*collision_key(name)) } else { None }
    }
}

/// Names without these characters collide with no other.
fn needs_collision_key(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The difference between two images.
#[derive(Clone, Debug)]
pub struct ImageDelta {
    /// New topics, and topics of which anything changed.
    pub changed: Vec<Arc<Topic>>,
    /// Topics that are gone, as they were.
    pub deleted: Vec<Arc<Topic>>,
    /// New deployments, and deployments of which anything changed. One that was deleted and made again in
    /// between is among them, with another [`Deployment::created`].
    pub deployments_changed: Vec<Arc<Deployment>>,
    /// Deployments that are gone, as they were.
    pub deployments_deleted: Vec<Arc<Deployment>>,
    pub brokers_changed: bool,
    pub broker_configs_changed: bool,
}
