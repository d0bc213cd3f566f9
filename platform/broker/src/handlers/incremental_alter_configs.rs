//! IncrementalAlterConfigs (0 and 1): sets, removes, appends to and subtracts from single settings (KIP-339).

use hashbrown::{HashMap, HashSet};
use millrace_config::setting::find;
use millrace_config::topic_defaults::topic_setting_of;
use millrace_config::{Kind, TOPIC_SETTINGS, TopicDefaults};
use millrace_metadata::Configs;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use millrace_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use millrace_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{alter, repeated_resource};
use super::describe_configs::resource;
use crate::call::Call;
use crate::change::Refusal;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut named: HashMap<_, usize> = HashMap::new();
    for asked in &request.resources {
        *named.entry((asked.resource_type, asked.resource_name.clone())).or_default() += 1;
    }
    let mut response = IncrementalAlterConfigsResponse::default();
    for asked in request.resources {
        let mut answer = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
            .with_error_message(None);
        let altered = if named[&(asked.resource_type, asked.resource_name.clone())] > 1 {
            Err(repeated_resource())
        } else {
            alter_one(call, asked, request.validate_only).await
        };
        if let Err(refusal) = altered {
            answer.error_code = call.fail(refusal.code);
            answer.error_message = refusal.wire_message();
        }
        response.responses.push(answer);
    }
    response
}

async fn alter_one(call: &Call, asked: AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for config in &asked.configs {
        if !names.insert(config.name.to_string()) {
            let message = format!("setting '{}' is given twice", &*config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let next = |before: &Configs| {
        let mut next = before.clone();
        let defaults = call.state.topic_defaults(&call.state.metadata.image());
        for change in &asked.configs {
            carry_out(&defaults, asked.resource_type, &mut next, change)?;
        }
        Ok(next)
    };
    let edits = asked.configs.iter().filter(|change| [APPEND, SUBTRACT].contains(&change.config_operation));
    let edited: Vec<_> = edits.map(|change| change.name.to_string()).collect();
    alter(call, asked.resource_type, &asked.resource_name, &edited, next, validate_only).await
}

fn carry_out(
    defaults: &TopicDefaults,
    resource_type: i8,
    overrides: &mut Configs,
    change: &AlterableConfig,
) -> Result<(), Refusal> {
    let name = &*change.name;
    if change.config_operation == DELETE {
        overrides.remove(name);
        return Ok(());
    }
    let is_broker = resource_type == resource::BROKER;
    // One of brokers' that is not known is refused when everything is checked.
    let setting = if is_broker { topic_setting_of(name) } else { Some(find(TOPIC_SETTINGS, name)?) };
    let Some(value) = change.value.as_deref() else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, format!("setting '{name}' has no value")));
    };
    let value = match change.config_operation {
        SET => value.trim().to_owned(),
        operation @ (APPEND | SUBTRACT) => {
            let Some(setting) = setting.filter(|setting| setting.kind == Kind::List) else {
                let message = format!("setting '{name}' is no list to append to or subtract from");
                return Err(Refusal::new(ErrorCode::InvalidConfig, message));
            };
            let given =
                if is_broker { defaults.of_broker(setting) } else { defaults.of_topic(overrides, setting) };
            let current = overrides.get(name).or(given.first().map(|given| &given.value));
            edit_list(current.map_or("", String::as_str), value, operation == APPEND)
        }
        other => {
            let message = format!("there is no operation {other} on settings");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    };
    overrides.insert(name.to_owned(), value);
    Ok(())
}

/// A list with `items` added, those it has already left out, or removed.
fn edit_list(list: &str, items: &str, append: bool) -> String {
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let (mut list, items) = (split(list), split(items));
    if append {
        for item in items {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    } else {
        list.retain(|item| !items.contains(item));
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_appended_to_and_subtracted_from() {
        assert_eq!(edit_list("delete", "compact", true), "delete,compact");
        assert_eq!(edit_list("delete, compact", "compact", true), "delete,compact");
        assert_eq!(edit_list("", "a,b", true), "a,b");
        assert_eq!(edit_list("a,b,c", "b, d", false), "a,c");
    }
}
