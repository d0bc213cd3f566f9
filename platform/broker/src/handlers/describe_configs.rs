//! DescribeConfigs (1 to 4): the settings of topics and of this broker.
//!
//! A resource that is named several times is answered once. Kafka answers it each time; its clients name it once.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use millrace_config::KAFKA_BROKER_SETTINGS;
use millrace_config::kafka_broker::KafkaBrokerSetting;
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millrace_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::change::Refusal;
use super::lookup;
use super::topic_settings::{Described, described, source, wire_type, wire_value};
use crate::dispatch::Call;

/// What settings may belong to, by Kafka's numbers.
pub(super) mod resource {
    pub(crate) const TOPIC: i8 = 2;
    pub(crate) const BROKER: i8 = 4;
}

/// Resources in one request: each is answered with some kilobytes.
const RESOURCES_MAX: usize = 10_000;
/// From this version on types and documentation are told (KIP-226, KIP-569).
const TELLS_TYPE: i16 = 3;

/// How much the client wants to hear.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
    types: bool,
}

pub(crate) async fn handle(call: &Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let types = call.version >= TELLS_TYPE;
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: types && request.include_documentation,
        types,
    };
    let mut response = DescribeConfigsResponse::default();
    // Each once: an answer is a hundred times as long as a name that is repeated.
    let mut seen = HashSet::new();
    let once =
        |asked: &DescribeConfigsResource| seen.insert((asked.resource_type, asked.resource_name.clone()));
    for (position, asked) in request.resources.into_iter().filter(once).enumerate() {
        let mut result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        let described = if position < RESOURCES_MAX {
            describe(call, &asked, detail)
        } else {
            let message = format!("one request may ask for {RESOURCES_MAX} resources");
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        };
        match described {
            Ok(configs) => result.configs = configs,
            Err(refusal) => {
                result.error_code = call.fail(refusal.code);
                result.error_message = refusal.wire_message();
            }
        }
        response.results.push(result);
    }
    response
}

fn describe(
    call: &Call,
    asked: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let keys = asked.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| &**key == name));
    match asked.resource_type {
        resource::TOPIC => {
            let overrides = topic_overrides(call, &asked.resource_name)?;
            let config = &call.state.config;
            let settings = described(config, &overrides).filter(|described| wanted(described.setting.name));
            Ok(settings
                .map(|described| {
                    let synonyms = if detail.synonyms {
                        described.synonyms(config, &overrides).into_iter().map(wire_synonym).collect()
                    } else {
                        Vec::new()
                    };
                    topic_setting(&described, detail).with_synonyms(synonyms)
                })
                .collect())
        }
        resource::BROKER => {
            check_broker(call, &asked.resource_name)?;
            // The empty name is the default of all brokers; it is set nowhere.
            let settings = if asked.resource_name.is_empty() { &[] } else { KAFKA_BROKER_SETTINGS };
            let settings = settings.iter().filter(|setting| wanted(setting.name));
            Ok(settings.map(|setting| broker_setting(call, setting, detail)).collect())
        }
        other => Err(unsupported(other)),
    }
}

pub(super) fn unsupported(resource_type: i8) -> Refusal {
    let message = format!(
        "settings of resource type {resource_type} are not served here, only of topics (2) and brokers (4)"
    );
    Refusal::new(ErrorCode::InvalidRequest, message)
}

fn topic_overrides(call: &Call, name: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let image = call.state.metadata.image();
    if let Ok(topic) = lookup::by_name(&image, name) {
        return Ok(topic.configs.as_ref().clone());
    }
    Err(match millrace_metadata::topic_name::validate(name) {
        Ok(()) => Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic '{name}'")),
        Err(error) => Refusal::new(ErrorCode::InvalidTopicException, error.to_string()),
    })
}

/// A broker answers for itself and for the default of all.
pub(super) fn check_broker(call: &Call, name: &str) -> Result<(), Refusal> {
    let local = call.state.node_id;
    if name.is_empty() || name.parse() == Ok(local.0) {
        return Ok(());
    }
    let message = format!("this is broker {local}, its settings were asked for as those of '{name}'");
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

fn wire_synonym((name, value, source): (&'static str, String, i8)) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(wire_value(&value))
        .with_source(source)
}

fn topic_setting(described: &Described, detail: Detail) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(described.wire_name())
        .with_value(wire_value(&described.value))
        .with_config_source(described.source);
    if detail.types {
        result.config_type = wire_type(described.setting.kind);
    }
    if detail.documentation {
        result.documentation = Some(StrBytes::from_static_str(described.setting.doc));
    }
    result
}

fn broker_setting(
    call: &Call,
    setting: &'static KafkaBrokerSetting,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let value = (setting.value)(&call.state.config);
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(setting.name))
        .with_read_only(true)
        .with_config_source(source::STATIC_BROKER);
    if detail.synonyms {
        result.synonyms = vec![wire_synonym((setting.name, value.clone(), source::STATIC_BROKER))];
    }
    if detail.types {
        result.config_type = wire_type(setting.kind);
    }
    if detail.documentation {
        result.documentation = Some(StrBytes::from_static_str(setting.doc));
    }
    result.with_value(wire_value(&value))
}
