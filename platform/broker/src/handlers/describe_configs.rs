//! DescribeConfigs (1 to 4): the settings of topics and of this broker.
//!
//! A resource that is named several times is answered once. Kafka answers it each time; its clients name it once.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use millrace_config::kafka_broker::KafkaBrokerSetting;
use millrace_config::topic_defaults::{Given, Origin, changeable};
use millrace_config::{BrokerConfig, KAFKA_BROKER_SETTINGS, Kind, Setting, TopicConfig, TopicDefaults};
use millrace_metadata::Image;
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millrace_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millrace_protocol::{ErrorCode, StrBytes};

use super::lookup;
use super::topic_settings::{Described, described, source, wire_type, wire_value};
use crate::call::Call;
use crate::change::Refusal;

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
    let image = call.state.metadata.image();
    let defaults = call.state.topic_defaults(&image);
    match asked.resource_type {
        resource::TOPIC => {
            let overrides = topic_overrides(&image, &asked.resource_name)?;
            let settings =
                described(&defaults, &overrides).filter(|described| wanted(described.setting.name));
            Ok(settings.map(|described| topic_setting(described, detail)).collect())
        }
        resource::BROKER => {
            check_broker(call, &asked.resource_name)?;
            let of_all = asked.resource_name.is_empty();
            let changeable = changeable().filter(|(name, _)| wanted(name));
            let mut described: Vec<_> = changeable
                .filter_map(|(name, setting)| changeable_setting(name, setting, &defaults, of_all, detail))
                .collect();
            if !of_all {
                let fixed = KAFKA_BROKER_SETTINGS.iter().filter(|setting| wanted(setting.name));
                described.extend(fixed.map(|setting| fixed_setting(setting, &defaults.file, detail)));
            }
            Ok(described)
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

fn topic_overrides(image: &Image, name: &str) -> Result<BTreeMap<String, String>, Refusal> {
    if let Ok(topic) = lookup::by_name(image, name) {
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

fn wire_synonyms(given: Vec<Given>) -> Vec<DescribeConfigsSynonym> {
    let synonym = |given: Given| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(given.name))
            .with_value(wire_value(&given.value))
            .with_source(source(given.origin))
    };
    given.into_iter().filter(Given::is_listed).map(synonym).collect()
}

/// A setting as a response carries it: what counts is the first of the values that it was given.
fn wire_setting(
    name: &'static str,
    kind: Kind,
    doc: &'static str,
    given: Vec<Given>,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(given.first().and_then(|given| wire_value(&given.value)))
        .with_config_source(source(given.first().map_or(Origin::Default, |given| given.origin)))
        .with_documentation(detail.documentation.then(|| StrBytes::from_static_str(doc)));
    if detail.synonyms {
        result.synonyms = wire_synonyms(given);
    }
    if detail.types {
        result.config_type = wire_type(kind);
    }
    result
}

fn topic_setting(described: Described, detail: Detail) -> DescribeConfigsResourceResult {
    let Described { setting, given, .. } = described;
    wire_setting(setting.name, setting.kind, setting.doc, given, detail)
}

/// A setting of this broker that can be changed, or what is set for all of them, if anything is.
fn changeable_setting(
    name: &'static str,
    setting: &'static Setting<TopicConfig>,
    defaults: &TopicDefaults,
    of_all: bool,
    detail: Detail,
) -> Option<DescribeConfigsResourceResult> {
    let given = if of_all { vec![defaults.of_all_brokers(setting)?] } else { defaults.of_broker(setting) };
    Some(wire_setting(name, setting.kind, setting.doc, given, detail))
}

/// A setting that only a restart changes.
fn fixed_setting(
    setting: &'static KafkaBrokerSetting,
    file: &BrokerConfig,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let (name, value) = (setting.name, (setting.value)(file));
    let is_default = value == (setting.value)(&BrokerConfig::default());
    let origin = if is_default { Origin::Default } else { Origin::File };
    // As in Kafka, what is not set has no value, not an empty one.
    let given = if value.is_empty() { Vec::new() } else { vec![Given { name, value, origin }] };
    wire_setting(name, setting.kind, setting.doc, given, detail).with_read_only(true)
}
