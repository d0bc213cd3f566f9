//! AlterConfigs (0 to 2): the settings given become all that a topic overrides.
//!
//! Kafka keeps it for old tools; [`incremental_alter_configs`](super::incremental_alter_configs) does not
//! undo what somebody else has set.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use millrace_metadata::{Command, ConfigChange, ConfigResource, Rejection, SubmitError};
use millrace_protocol::messages::alter_configs_request::AlterConfigsResource;
use millrace_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use millrace_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::change::{Refusal, change, submit};
use super::describe_configs::{check_broker, resource, unsupported};
use super::lookup;
use crate::dispatch::Call;

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
            .with_resource_name(asked.resource_name.clone());
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
    let mut values = BTreeMap::new();
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
    let names: Vec<_> = values.keys().cloned().collect();
    let replaced = |_: &BTreeMap<String, String>| Ok(values.clone());
    let touched = Touched { names: &names, based_on: &[] };
    alter(call, asked.resource_type, &asked.resource_name, touched, replaced, validate_only).await
}

/// The settings that a change is about.
pub(super) struct Touched<'a> {
    pub(super) names: &'a [String],
    /// Those whose new values are made from the present ones.
    pub(super) based_on: &'a [String],
}

/// Gives a resource the overrides that `next` makes of those it has.
pub(super) async fn alter(
    call: &Call,
    resource_type: i8,
    resource_name: &StrBytes,
    touched: Touched<'_>,
    next: impl Fn(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    match resource_type {
        resource::TOPIC => alter_topic(call, resource_name, touched.based_on, next, validate_only).await,
        resource::BROKER => {
            check_broker(call, resource_name)?;
            if touched.names.is_empty() {
                return Ok(());
            }
            let message = format!(
                "a broker's settings stand in its configuration file and change with a restart: {}",
                touched.names.join(", ")
            );
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
        other => Err(unsupported(other)),
    }
}

async fn alter_topic(
    call: &Call,
    name: &StrBytes,
    based_on: &[String],
    next: impl Fn(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let mut attempts_left = ATTEMPTS_MAX;
    loop {
        let image = call.state.metadata.image();
        let topic = lookup::by_name(&image, name)
            .map_err(|code| Refusal::new(code, format!("there is no topic '{}'", &**name)))?;
        let next = next(&topic.configs)?;
        call.state.config.topic_config(&next)?;
        let changes = changes(&topic.configs, next);
        if changes.is_empty() {
            return Ok(());
        }
        let seen = |name: &String| (name.clone(), topic.configs.get(name).cloned());
        let command = Command::AlterConfigs {
            resource: ConfigResource::Topic(topic.id),
            changes,
            based_on: based_on.iter().map(seen).collect(),
        };
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

fn changes(before: &BTreeMap<String, String>, next: BTreeMap<String, String>) -> Vec<ConfigChange> {
    let removed = before.keys().filter(|name| !next.contains_key(*name)).cloned();
    let mut changes: Vec<_> = removed.map(|name| ConfigChange { name, value: None }).collect();
    let set = next.into_iter().filter(|(name, value)| before.get(name) != Some(value));
    changes.extend(set.map(|(name, value)| ConfigChange { name, value: Some(value) }));
    changes
}
