//! DeleteTopics (1 to 6): by name, and from version 6 on by name or id.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use millrace_base::TopicId;
use millrace_metadata::{Command, Topic};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::delete_topics_request::DeleteTopicState;
use millrace_protocol::messages::delete_topics_response::DeletableTopicResult;
use millrace_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::lookup::{self, wire_name};
use crate::call::Call;
use crate::change::{Refusal, change};

/// From this version on topics are named by name or id (KIP-516).
const NAMES_TOPICS_BY_ID: i16 = 6;
/// From this version on an error has a text.
const HAS_MESSAGE: i16 = 5;

pub(crate) async fn handle(call: &Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let asked: Vec<_> = if call.version < NAMES_TOPICS_BY_ID {
        request.topic_names.into_iter().map(by_name).collect()
    } else {
        request.topics
    };
    let mut response = DeleteTopicsResponse::default();
    let mut deleted = HashSet::new();
    let mut named: HashMap<_, usize> = HashMap::new();
    for asked in &asked {
        *named.entry((asked.name.clone(), asked.topic_id)).or_default() += 1;
    }
    for asked in asked {
        let found = match named.remove(&(asked.name.clone(), asked.topic_id)) {
            Some(1) => find(call, &asked),
            // Kafka answers a repeated topic once.
            Some(_) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic more than once"))
            }
            None => continue,
        };
        let mut result = DeletableTopicResult::default().with_name(asked.name.clone());
        if call.version >= NAMES_TOPICS_BY_ID {
            result.topic_id = asked.topic_id;
        }
        if let Ok(topic) = &found {
            result.name = Some(wire_name(&topic.name));
            if call.version >= NAMES_TOPICS_BY_ID {
                result.topic_id = topic.id.0;
            }
        }
        if let Err(refusal) = delete(call, found, &mut deleted).await {
            result.error_code = call.fail(refusal.code);
            if call.version >= HAS_MESSAGE {
                result.error_message = refusal.wire_message();
            }
        }
        response.responses.push(result);
    }
    response
}

fn find(call: &Call, asked: &DeleteTopicState) -> Result<Arc<Topic>, Refusal> {
    let image = call.state.metadata.image();
    let found = match &asked.name {
        Some(_) if !asked.topic_id.is_nil() => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "a topic is named by its name or its id, not both",
            ));
        }
        Some(name) => lookup::by_name(&image, name),
        None if asked.topic_id.is_nil() => {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "a topic has neither a name nor an id"));
        }
        None => lookup::by_id(&image, asked.topic_id),
    };
    found.cloned().map_err(|code| Refusal::new(code, "there is no such topic"))
}

async fn delete(
    call: &Call,
    found: Result<Arc<Topic>, Refusal>,
    deleted: &mut HashSet<TopicId>,
) -> Result<(), Refusal> {
    let topic = found?;
    if lookup::is_written_by_brokers_only(&topic.name) {
        let message = format!("topic '{}' holds the state of coordinators and cannot be deleted", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    if !deleted.insert(topic.id) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic more than once"));
    }
    change(&call.state, Command::DeleteTopic { id: topic.id }, false).await?;
    tracing::info!(topic = %topic.name, id = %topic.id, "deleted a topic");
    Ok(())
}
