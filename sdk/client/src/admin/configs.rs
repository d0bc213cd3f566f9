//! Reading and changing settings of topics and brokers.

use std::sync::Arc;

use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use millrace_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use millrace_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{Admin, ConfigChange, ConfigEntry, ConfigResource, only, text};
use crate::cluster::Broker;
use crate::error::{RequestError, check};

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// Kafka's `ConfigSource.DEFAULT_CONFIG`.
const SOURCE_DEFAULT: i8 = 5;

impl Admin {
    /// Settings of a topic or broker; `names` empty means all.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        names: &[&str],
    ) -> Result<Vec<ConfigEntry>, RequestError> {
        let (kind, name) = wire_name(resource);
        let keys = (!names.is_empty()).then(|| names.iter().map(|name| text(name)).collect());
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(&name))
            .with_configuration_keys(keys);
        let request =
            DescribeConfigsRequest::default().with_resources(vec![wanted]).with_include_documentation(true);
        let response = self.broker_for(resource).request(request).await?;
        let result = only("DescribeConfigs", &response.results)?;
        let what = || describe(resource);
        check("DescribeConfigs", what, result.error_code, result.error_message.as_deref())?;
        Ok(result.configs.iter().map(entry).collect())
    }

    /// Changes some settings and leaves the others as they are (KIP-339).
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
    ) -> Result<(), RequestError> {
        let (kind, name) = wire_name(resource);
        let wanted = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(&name))
            .with_configs(changes.iter().map(alterable).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![wanted]);
        let response = match resource {
            ConfigResource::Topic(_) => self.cluster().controller().request(request).await?,
            ConfigResource::Broker(_) => self.broker_for(resource).request(request).await?,
        };
        let result = only("IncrementalAlterConfigs", &response.responses)?;
        let what = || describe(resource);
        check("IncrementalAlterConfigs", what, result.error_code, result.error_message.as_deref())
    }

    /// A broker's settings are asked of itself, a topic's of anyone.
    fn broker_for(&self, resource: &ConfigResource) -> Arc<Broker> {
        let broker = match resource {
            ConfigResource::Broker(id) => self.cluster().broker(*id),
            ConfigResource::Topic(_) => None,
        };
        broker.unwrap_or_else(|| self.cluster().controller())
    }
}

fn wire_name(resource: &ConfigResource) -> (i8, String) {
    match resource {
        ConfigResource::Topic(name) => (RESOURCE_TOPIC, name.clone()),
        ConfigResource::Broker(id) => (RESOURCE_BROKER, id.to_string()),
    }
}

fn describe(resource: &ConfigResource) -> String {
    match resource {
        ConfigResource::Topic(name) => format!("topic '{name}'"),
        ConfigResource::Broker(id) => format!("broker {id}"),
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let (name, operation, value) = match change {
        ConfigChange::Set { name, value } => (name, 0, Some(value)),
        ConfigChange::Delete { name } => (name, 1, None),
        ConfigChange::Append { name, value } => (name, 2, Some(value)),
        ConfigChange::Subtract { name, value } => (name, 3, Some(value)),
    };
    AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(|value| text(value)))
}

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        is_default: config.config_source == SOURCE_DEFAULT,
        read_only: config.read_only,
        sensitive: config.is_sensitive,
        source: source_name(config.config_source).to_owned(),
        documentation: config.documentation.as_ref().map(ToString::to_string),
    }
}

/// Kafka's `ConfigSource`.
const fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        SOURCE_DEFAULT => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "CLIENT_METRICS_CONFIG",
        8 => "GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}
