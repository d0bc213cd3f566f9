//! How topics come to be: for clients that create them or only name them, and for the broker itself.

use std::collections::BTreeMap;

use millrace_base::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_base::{BrokerId, TopicId};
use millrace_metadata::placement::{PlacementError, Request, place_in};
use millrace_metadata::{Command, Image, PartitionAssignment};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_topics_request::CreatableReplicaAssignment;

use crate::change::{Refusal, change};
use crate::state::State;

/// What a creator leaves to the broker.
const DEFAULT: i32 = -1;
/// Kafka's own metadata log; tools take a topic of that name for it.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// A topic as its creator wants it.
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// [`DEFAULT`]: as the broker's settings say.
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    /// Empty: the cluster chooses.
    pub(crate) assignments: Vec<CreatableReplicaAssignment>,
    pub(crate) configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of which only the name is known.
    pub(crate) fn with_defaults(name: String) -> Self {
        let (partitions, replication_factor) = (DEFAULT, DEFAULT as i16);
        Self { name, partitions, replication_factor, assignments: Vec::new(), configs: BTreeMap::new() }
    }

    /// A topic that a broker makes for itself, with as many replicas as others have.
    pub(crate) fn internal(name: String, partitions: i32, configs: BTreeMap<String, String>) -> Self {
        Self { partitions, configs, ..Self::with_defaults(name) }
    }
}

/// A topic as it came to be, or would have.
pub(crate) struct Created {
    pub(crate) id: TopicId,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: BTreeMap<String, String>,
}

/// Creates a topic.
pub(crate) async fn create(state: &State, new: NewTopic) -> Result<(), Refusal> {
    create_checked(state, new, false).await.map(|_| ())
}

/// As [`create`], or only tried; returns what came of it, or would have.
pub(crate) async fn create_checked(
    state: &State,
    new: NewTopic,
    validate_only: bool,
) -> Result<Created, Refusal> {
    let image = state.metadata.image();
    check_name(&image, &new.name)?;
    state.topic_defaults(&image).topic_config(&new.configs)?;
    let partitions = assign(state, &image, &new)?;
    let created = Created {
        id: TopicId::new(&state.random),
        partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication_factor: partitions.first().map_or(0, |first| first.replicas.len() as i16),
        configs: new.configs.clone(),
    };
    let command = Command::CreateTopic { name: new.name, id: created.id, partitions, configs: new.configs };
    change(state, command, validate_only).await?;
    Ok(created)
}

/// Whether a topic may come to be under `name`. Asked before the settings are looked at, as in Kafka: that a topic
/// exists is the better answer.
pub(crate) fn check_name(image: &Image, name: &str) -> Result<(), Refusal> {
    if name == CLUSTER_METADATA {
        let message = format!("'{CLUSTER_METADATA}' is a name that Kafka keeps for itself");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    millrace_metadata::topic_name::validate(name)
        .map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if image.topic_by_name(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("topic '{name}' exists already")));
    }
    Ok(())
}

/// Which brokers hold the partitions: as the creator says, or as the cluster chooses.
fn assign(state: &State, image: &Image, new: &NewTopic) -> Result<Vec<PartitionAssignment>, Refusal> {
    let config = &state.config;
    if !new.assignments.is_empty() {
        if new.partitions != DEFAULT || i32::from(new.replication_factor) != DEFAULT {
            let message = "a request that assigns replicas leaves partitions and replication factor at -1";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        return assign_by_hand(&new.assignments);
    }
    let replication_factor = if i32::from(new.replication_factor) == DEFAULT {
        config.topics.default_replication_factor
    } else {
        new.replication_factor
    };
    if replication_factor < 1 {
        return Err(PlacementError::InvalidFactor { factor: replication_factor }.into());
    }
    let count = if new.partitions == DEFAULT { config.topics.num_partitions } else { new.partitions };
    if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&count) {
        let message =
            format!("a topic of {count} partitions is refused: allowed are 1 to {PARTITIONS_PER_TOPIC_MAX}");
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let seed = state.random.bits();
    Ok(place_in(image, Request { first_partition: 0, count, replication_factor, seed })?)
}

fn assign_by_hand(assignments: &[CreatableReplicaAssignment]) -> Result<Vec<PartitionAssignment>, Refusal> {
    let mut by_index = BTreeMap::new();
    for assignment in assignments {
        let replicas = assignment.broker_ids.iter().map(|id| BrokerId(id.0)).collect();
        if by_index.insert(assignment.partition_index, PartitionAssignment { replicas }).is_some() {
            let message = format!("partition {} is assigned twice", assignment.partition_index);
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
    }
    if !by_index.keys().copied().eq(0..by_index.len() as i32) {
        let message = "partitions are to be assigned from 0 on without a gap";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(by_index.into_values().collect())
}
