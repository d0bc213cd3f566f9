//! The state machine: one image and one command in, the next image and an outcome out.
//!
//! Pure and deterministic: no clock, no randomness, no settings of this broker. A refused command leaves the
//! image as it was; so each rule is checked before the first change.

mod deployments;
mod partitions;
mod topics;

#[cfg(test)]
mod deployments_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_base::{BrokerId, ProducerId};

use crate::command::{BrokerRegistration, Command, ConfigChange, ConfigResource};
use crate::image::{Broker, Configs, Image};
use crate::outcome::{Outcome, Rejection};

pub use deployments::DEPLOYMENTS_MAX;

/// Producer ids that one command may reserve; brokers ask for blocks of 1000, as in Kafka.
pub const PRODUCER_IDS_MAX: i64 = 1_000_000;

/// Applies the command of log entry `index`.
pub fn apply(image: &mut Image, index: u64, command: &Command) -> Result<Outcome, Rejection> {
    match command {
        Command::InitCluster { cluster_id } => Ok(init_cluster(image, cluster_id)),
        Command::RegisterBroker { registration } => Ok(register_broker(image, index, registration)),
        Command::CreateTopic { name, id, partitions, configs } => {
            topics::create(image, name, *id, partitions, configs)
        }
        Command::DeleteTopic { id } => topics::delete(image, *id),
        Command::AddPartitions { topic_id, current, new } => {
            topics::add_partitions(image, *topic_id, *current, new)
        }
        Command::AlterConfigs { resource, changes, based_on } => {
            alter_configs(image, *resource, changes, based_on)
        }
        Command::AllocateProducerIds { broker, count } => allocate_producer_ids(image, *broker, *count),
        Command::AlterPartition { partition, change } => partitions::alter(image, partition, change),
        Command::StartLeaderEpochs { broker } => partitions::start_leader_epochs(image, *broker),
        Command::PutDeployment { name, definition, created_ms } => {
            deployments::put(image, index, name, definition, *created_ms)
        }
        Command::SetDeploymentPaused { name, paused } => deployments::set_paused(image, name, *paused),
        Command::RollBackDeployment { name, version } => deployments::roll_back(image, name, *version),
        Command::ReplayDeployment { name, topic, until } => deployments::replay(image, name, topic, until),
        Command::DeleteDeployment { name } => deployments::delete(image, name),
    }
}

fn init_cluster(image: &mut Image, cluster_id: &str) -> Outcome {
    if image.cluster_id.is_empty() {
        image.cluster_id = cluster_id.into();
    }
    Outcome::Cluster { cluster_id: image.cluster_id.to_string() }
}

fn register_broker(image: &mut Image, index: u64, registration: &BrokerRegistration) -> Outcome {
    let epoch = i64::try_from(index).unwrap_or(i64::MAX);
    let broker = Broker { registration: registration.clone(), epoch };
    Arc::make_mut(&mut image.brokers).insert(registration.id, Arc::new(broker));
    Outcome::BrokerRegistered { epoch }
}

fn alter_configs(
    image: &mut Image,
    resource: ConfigResource,
    changes: &[ConfigChange],
    based_on: &BTreeMap<String, Option<String>>,
) -> Result<Outcome, Rejection> {
    match resource {
        ConfigResource::Topic(id) => {
            let mut topic = image.topics.get(&id).ok_or(Rejection::UnknownTopic { id })?.as_ref().clone();
            check_unchanged(Some(&topic.configs), based_on)?;
            change_configs(Arc::make_mut(&mut topic.configs), changes);
            image.put_topic(topic);
        }
        // Not only of registered brokers: one may be configured before its first start.
        ConfigResource::Broker(broker) => {
            check_unchanged(image.broker_configs.get(&broker), based_on)?;
            let all = Arc::make_mut(&mut image.broker_configs);
            let configs = all.entry(broker).or_default();
            change_configs(Arc::make_mut(configs), changes);
            if configs.is_empty() {
                all.remove(&broker);
            }
        }
    }
    Ok(Outcome::ConfigsAltered)
}

fn check_unchanged(
    configs: Option<&Arc<Configs>>,
    based_on: &BTreeMap<String, Option<String>>,
) -> Result<(), Rejection> {
    let now = |name: &str| configs.and_then(|configs| configs.get(name));
    match based_on.iter().find(|(name, value)| now(name) != value.as_ref()) {
        Some((name, _)) => Err(Rejection::ConfigChanged { name: name.clone() }),
        None => Ok(()),
    }
}

fn change_configs(configs: &mut Configs, changes: &[ConfigChange]) {
    for ConfigChange { name, value } in changes {
        match value {
            Some(value) => configs.insert(name.clone(), value.clone()),
            None => configs.remove(name),
        };
    }
}

fn allocate_producer_ids(image: &mut Image, broker: BrokerId, count: i64) -> Result<Outcome, Rejection> {
    known_broker(image, broker)?;
    if !(1..=PRODUCER_IDS_MAX).contains(&count) {
        return Err(Rejection::InvalidProducerIdCount { count, max: PRODUCER_IDS_MAX });
    }
    let first = image.next_producer_id;
    image.next_producer_id = first.checked_add(count).ok_or(Rejection::ProducerIdsExhausted)?;
    Ok(Outcome::ProducerIds { first: ProducerId(first), count })
}

fn known_broker(image: &Image, id: BrokerId) -> Result<(), Rejection> {
    if image.brokers.contains_key(&id) { Ok(()) } else { Err(Rejection::UnknownBroker { id }) }
}
