//! Topics come, grow and go.

use std::sync::Arc;

use millrace_base::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_base::{LeaderEpoch, TopicId};

use crate::command::PartitionAssignment;
use crate::image::{Configs, Image, Partition, Topic};
use crate::outcome::{Outcome, Rejection};
use crate::topic_name;

pub(super) fn create(
    image: &mut Image,
    name: &str,
    id: TopicId,
    assignments: &[PartitionAssignment],
    configs: &Configs,
) -> Result<Outcome, Rejection> {
    topic_name::validate(name)?;
    if let Some(existing) = image.topic_by_name(name) {
        // A command that is submitted again, its first answer being lost, has succeeded.
        return if existing.id == id {
            Ok(Outcome::TopicCreated { id })
        } else {
            Err(Rejection::TopicExists { name: name.to_owned() })
        };
    }
    if let Some(existing) = image.colliding_name(name) {
        return Err(Rejection::TopicNameCollision { name: name.to_owned(), existing: existing.to_string() });
    }
    if image.topics.get(&id).is_some() {
        return Err(Rejection::TopicIdInUse { id });
    }
    check_count(assignments.len())?;
    let factor = assignments[0].replicas.len();
    check_assignments(image, 0, factor, assignments)?;

    let partitions = assignments.iter().map(new_partition).collect();
    image.put_topic(Topic { id, name: name.into(), partitions, configs: Arc::new(configs.clone()) });
    Ok(Outcome::TopicCreated { id })
}

pub(super) fn delete(image: &mut Image, id: TopicId) -> Result<Outcome, Rejection> {
    image.remove_topic(id).ok_or(Rejection::UnknownTopic { id })?;
    Ok(Outcome::TopicDeleted)
}

pub(super) fn add_partitions(
    image: &mut Image,
    id: TopicId,
    current: i32,
    new: &[PartitionAssignment],
) -> Result<Outcome, Rejection> {
    let topic = image.topics.get(&id).ok_or(Rejection::UnknownTopic { id })?;
    let actual = topic.partition_count();
    if current != actual {
        return Err(Rejection::PartitionCountChanged { expected: current, actual });
    }
    check_count(topic.partitions.len().saturating_add(new.len()))?;
    let factor = topic.partitions[0].replicas.len();
    check_assignments(image, actual, factor, new)?;

    let mut topic = Topic::clone(topic);
    topic.partitions.extend(new.iter().map(new_partition));
    let count = topic.partition_count();
    image.put_topic(topic);
    Ok(Outcome::PartitionsAdded { count })
}

fn new_partition(assignment: &PartitionAssignment) -> Arc<Partition> {
    Arc::new(Partition {
        leader: assignment.replicas.first().copied(),
        leader_epoch: LeaderEpoch(0),
        replicas: assignment.replicas.clone(),
        isr: assignment.replicas.clone(),
        partition_epoch: 0,
    })
}

fn check_count(count: usize) -> Result<(), Rejection> {
    let max = PARTITIONS_PER_TOPIC_MAX;
    match i32::try_from(count) {
        Ok(fits) if (1..=max).contains(&fits) => Ok(()),
        _ => Err(Rejection::InvalidPartitionCount { count: i64::try_from(count).unwrap_or(i64::MAX), max }),
    }
}

/// Every partition of a topic has the same number of replicas, each another registered broker.
fn check_assignments(
    image: &Image,
    first: i32,
    factor: usize,
    assignments: &[PartitionAssignment],
) -> Result<(), Rejection> {
    for (partition, PartitionAssignment { replicas }) in (first..).zip(assignments) {
        let refuse = |reason: String| Err(Rejection::InvalidReplicaAssignment { partition, reason });
        if replicas.is_empty() {
            return refuse("there are none".into());
        }
        if replicas.len() != factor {
            return refuse(format!("there are {}, other partitions have {factor}", replicas.len()));
        }
        for (position, replica) in replicas.iter().enumerate() {
            if replicas[..position].contains(replica) {
                return refuse(format!("broker {replica} is named twice"));
            }
            if image.broker(*replica).is_none() {
                return refuse(format!("there is no broker {replica}"));
            }
        }
    }
    Ok(())
}
