//! CreateTopics (2 to 7).

use std::collections::BTreeMap;

use hashbrown::HashMap;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_topics_request::CreatableTopic;
use millrace_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use millrace_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::topic_settings::{described, wire_value};
use crate::call::Call;
use crate::change::Refusal;
use crate::topic_creation::{Created, NewTopic, check_name, create_checked};

/// From this version on the response describes the new topic (KIP-525).
const DESCRIBES_TOPIC: i16 = 5;
/// From this version on it tells the topic's id (KIP-516).
const TELLS_ID: i16 = 7;
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
