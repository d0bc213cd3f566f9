//! CreateTopics (2 to 7).

use std::collections::BTreeMap;

use hashbrown::HashMap;
use millrace_base::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_base::{BrokerId, TopicId};
use millrace_config::BrokerConfig;
use millrace_metadata::placement::{PlacementError, Request, place_in};
use millrace_metadata::{Command, Image, PartitionAssignment};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use millrace_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use millrace_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use uuid::Uuid;

use super::change::{Refusal, change};
use super::topic_settings::{described, wire_value};
use crate::broker::State;
use crate::dispatch::Call;

/// From this version on the response describes the new topic (KIP-525).
const DESCRIBES_TOPIC: i16 = 5;
/// From this version on it tells the topic's id (KIP-516).
const TELLS_ID: i16 = 7;
/// What a creator leaves to the broker.
const DEFAULT: i32 = -1;
/// Kafka's own metadata log; tools take a topic of that name for it.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// A topic as its creator wants it.
pub(crate) struct NewTopic {
    name: String,
    /// [`DEFAULT`]: as the broker's settings say.
    partitions: i32,
    replication_factor: i16,
    /// Empty: the cluster chooses.
    assignments: Vec<CreatableReplicaAssignment>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of which only the name is known.
    pub(super) fn with_defaults(name: String) -> Self {
        let (partitions, replication_factor) = (DEFAULT, DEFAULT as i16);
        Self { name, partitions, replication_factor, assignments: Vec::new(), configs: BTreeMap::new() }
    }

    /// A topic that a broker makes for itself, with as many replicas as others have.
    pub(crate) fn internal(name: String, partitions: i32, configs: BTreeMap<String, String>) -> Self {
        Self { partitions, configs, ..Self::with_defaults(name) }
    }
}

/// A topic as it came to be, or would have.
struct Created {
    id: TopicId,
    partitions: i32,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

pub(crate) async fn handle(call: &Call, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<_, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreateTopicsResponse::default();
    for topic in request.topics {
        let name = topic.name.clone();
        let created = match named.remove(&name) {
            Some(1) => create_wire(call, topic, request.validate_only).await,
            // Kafka answers a repeated name once.
            Some(_) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic more than once"))
            }
            None => continue,
        };
        response.topics.push(result(call, created).with_name(name));
    }
    response
}

fn result(call: &Call, created: Result<Created, Refusal>) -> CreatableTopicResult {
    match created {
        Err(refusal) => {
            let mut result = CreatableTopicResult::default().with_error_code(call.fail(refusal.code));
            result.error_message = refusal.wire_message();
            if call.version >= DESCRIBES_TOPIC {
                result =
                    result.with_num_partitions(-1).with_replication_factor(-1).with_configs(Some(Vec::new()));
            }
            result
        }
        Ok(created) => {
            let mut result = CreatableTopicResult::default().with_error_message(None);
            if call.version >= TELLS_ID {
                result.topic_id = created.id.0;
            }
            if call.version >= DESCRIBES_TOPIC {
                result.num_partitions = created.partitions;
                result.replication_factor = created.replication_factor;
                let setting = |described: super::topic_settings::Described| {
                    CreatableTopicConfigs::default()
                        .with_name(described.wire_name())
                        .with_value(wire_value(&described.value))
                        .with_config_source(described.source)
                };
                let defaults = call.state.topic_defaults(&call.state.metadata.image());
                result.configs = Some(described(&defaults, &created.configs).map(setting).collect());
            }
            result
        }
    }
}

async fn create_wire(call: &Call, topic: CreatableTopic, validate_only: bool) -> Result<Created, Refusal> {
    check_name(call.state.metadata.image().as_ref(), &topic.name)?;
    let mut configs = BTreeMap::new();
    for config in topic.configs {
        let Some(value) = config.value else {
            let message = format!("setting '{}' has no value", &*config.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let new = NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments,
        configs,
    };
    create_checked(&call.state, new, validate_only).await
}

/// Creates a topic.
pub(crate) async fn create(state: &State, new: NewTopic) -> Result<(), Refusal> {
    create_checked(state, new, false).await.map(|_| ())
}

async fn create_checked(state: &State, new: NewTopic, validate_only: bool) -> Result<Created, Refusal> {
    let image = state.metadata.image();
    check_name(&image, &new.name)?;
    state.topic_defaults(&image).topic_config(&new.configs)?;
    let partitions = assign(&state.config, &image, &new)?;
    let created = Created {
        id: TopicId::random(),
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
fn check_name(image: &Image, name: &str) -> Result<(), Refusal> {
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
fn assign(config: &BrokerConfig, image: &Image, new: &NewTopic) -> Result<Vec<PartitionAssignment>, Refusal> {
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
    Ok(place_in(image, Request { first_partition: 0, count, replication_factor, seed: seed() })?)
}

/// A random number for the placement.
pub(super) fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
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
