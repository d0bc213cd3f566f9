//! AlterConfigs (0 to 2): the settings given become all that a topic or a broker overrides.
//!
//! Kafka keeps it for old tools; [`incremental_alter_configs`](super::incremental_alter_configs) does not
//! undo what somebody else has set.

use std::sync::Arc;

use hashbrown::HashMap;
use millrace_config::KAFKA_BROKER_SETTINGS;
use millrace_config::topic_defaults::{MIN_INSYNC_REPLICAS, topic_setting_of};
use millrace_metadata::{Command, ConfigChange, ConfigResource, Configs, Image, Rejection, SubmitError};
use millrace_protocol::messages::alter_configs_request::AlterConfigsResource;
use millrace_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use millrace_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::describe_configs::{check_broker, resource, unsupported};
use super::lookup;
use crate::call::Call;
use crate::change::{Refusal, change, submit};

/// How often a change is made anew because another one of the same setting was quicker.
const ATTEMPTS_MAX: usize = 16;

pub(crate) async fn handle(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut named: HashMap<_, usize> = HashMap::new();
    for asked in &request.resources {
        *named.entry((asked.resource_type, asked.resource_name.clone())).or_default() += 1;
    }
    let mut response = AlterConfigsResponse::default();
    for asked in request.resources {
        let mut answer = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
            .with_error_message(None);
        let altered = if named[&(asked.resource_type, asked.resource_name.clone())] > 1 {
            Err(repeated_resource())
        } else {
            replace(call, asked, request.validate_only).await
        };
        if let Err(refusal) = altered {
            answer.error_code = call.fail(refusal.code);
            answer.error_message = refusal.wire_message();
        }
        response.responses.push(answer);
    }
    response
}

pub(super) fn repeated_resource() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "the request names this resource more than once")
}

async fn replace(call: &Call, asked: AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut values = Configs::new();
    for config in asked.configs {
        let Some(value) = config.value else {
            let message = format!("setting '{}' has no value", &*config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        };
        if values.insert(config.name.to_string(), value.to_string()).is_some() {
            let message = format!("setting '{}' is given twice", &*config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let replaced = |_: &Configs| Ok(values.clone());
    alter(call, asked.resource_type, &asked.resource_name, &[], replaced, validate_only).await
}

/// Gives a resource the overrides that `next` makes of those it has; `based_on` names those whose new values are made
/// from the present ones.
pub(super) async fn alter(
    call: &Call,
    resource_type: i8,
    resource_name: &StrBytes,
    based_on: &[String],
    next: impl Fn(&Configs) -> Result<Configs, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let mut attempts_left = ATTEMPTS_MAX;
    loop {
        let image = call.state.metadata.image();
        let (resource, before) = find(call, &image, resource_type, resource_name)?;
        let next = next(&before)?;
        check(call, &image, resource, &next)?;
        let changes = changes(&before, next);
        if changes.is_empty() {
            return Ok(());
        }
        check_internal(resource_type, resource_name, &changes)?;
        let seen = |name: &String| (name.clone(), before.get(name).cloned());
        let command =
            Command::AlterConfigs { resource, changes, based_on: based_on.iter().map(seen).collect() };
        if validate_only {
            return change(&call.state, command, true).await;
        }
        attempts_left -= 1;
        match submit(&call.state, command).await {
            Err(SubmitError::Rejected(Rejection::ConfigChanged { .. })) if attempts_left > 0 => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// What is to be changed, and the settings that it overrides now.
fn find(
    call: &Call,
    image: &Image,
    resource_type: i8,
    name: &str,
) -> Result<(ConfigResource, Arc<Configs>), Refusal> {
    match resource_type {
        resource::TOPIC => {
            if name.is_empty() {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "a topic's name is not empty"));
            }
            millrace_metadata::topic_name::validate(name)
                .map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
            let topic = lookup::by_name(image, name)
                .map_err(|code| Refusal::new(code, format!("there is no topic '{name}'")))?;
            Ok((ConfigResource::Topic(topic.id), Arc::clone(&topic.configs)))
        }
        resource::BROKER => {
            check_broker(call, name)?;
            let broker = (!name.is_empty()).then_some(call.state.node_id);
            let configs = image.broker_configs(broker).cloned().unwrap_or_default();
            Ok((ConfigResource::Broker(broker), configs))
        }
        other => Err(unsupported(other)),
    }
}

/// Whether a resource may have those overrides.
fn check(call: &Call, image: &Image, resource: ConfigResource, next: &Configs) -> Result<(), Refusal> {
    let mut defaults = call.state.topic_defaults(image);
    match resource {
        ConfigResource::Topic(_) => {
            defaults.topic_config(next)?;
        }
        ConfigResource::Broker(broker) => {
            for (name, value) in next {
                check_broker_setting(name, value)?;
            }
            if broker.is_some() && next.contains_key(MIN_INSYNC_REPLICAS) {
                let message = format!("'{MIN_INSYNC_REPLICAS}' is set for all brokers together, not for one");
                return Err(Refusal::new(ErrorCode::InvalidConfig, message));
            }
            let changed =
                if broker.is_some() { &mut defaults.of_broker } else { &mut defaults.of_all_brokers };
            *changed = Arc::new(next.clone());
            defaults.topic_config(&Configs::new())?;
            // A topic's own settings must go with its new defaults, too.
            for topic in image.topics() {
                defaults.topic_config(&topic.configs).map_err(|error| {
                    let message = format!("topic '{}' would not be valid: {error}", topic.name);
                    Refusal::new(ErrorCode::InvalidConfig, message)
                })?;
            }
        }
    }
    Ok(())
}

/// Whether a setting of brokers can be changed while they run, and to this.
fn check_broker_setting(name: &str, value: &str) -> Result<(), Refusal> {
    if let Some(setting) = topic_setting_of(name) {
        return match setting.parse(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::new(ErrorCode::InvalidRequest, format!("'{name}': {error}"))),
        };
    }
    if KAFKA_BROKER_SETTINGS.iter().any(|setting| setting.name == name) {
        let message =
            format!("'{name}' stands in the broker's configuration file and changes with a restart");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    Err(Refusal::new(ErrorCode::InvalidConfig, format!("brokers have no setting '{name}'")))
}

/// The brokers rely on how they made the internal topics.
fn check_internal(resource_type: i8, topic: &str, changes: &[ConfigChange]) -> Result<(), Refusal> {
    if resource_type != resource::TOPIC {
        return Ok(());
    }
    match changes.iter().find(|change| !lookup::may_change(topic, &change.name)) {
        None => Ok(()),
        Some(change) => {
            let message = format!(
                "topic '{topic}' is internal, and a change of its setting '{}' could lose what the brokers keep in it",
                change.name
            );
            Err(Refusal::new(ErrorCode::InvalidTopicException, message))
        }
    }
}

fn changes(before: &Configs, next: Configs) -> Vec<ConfigChange> {
    let removed = before.keys().filter(|name| !next.contains_key(*name)).cloned();
    let mut changes: Vec<_> = removed.map(|name| ConfigChange { name, value: None }).collect();
    let set = next.into_iter().filter(|(name, value)| before.get(name) != Some(value));
    changes.extend(set.map(|(name, value)| ConfigChange { name, value: Some(value) }));
    changes
}
