//! A topic's settings as Kafka describes them: value, where it comes from, type.

use std::collections::BTreeMap;

use millrace_config::{BrokerConfig, Kind, Setting, TOPIC_SETTINGS, TopicConfig};
use millrace_protocol::StrBytes;

/// Where a value comes from, by Kafka's numbers.
pub(crate) mod source {
    pub(crate) const TOPIC: i8 = 1;
    pub(crate) const STATIC_BROKER: i8 = 4;
    pub(crate) const DEFAULT: i8 = 5;
}

/// One setting of one topic.
pub(crate) struct Described {
    pub(crate) setting: &'static Setting<TopicConfig>,
    pub(crate) value: String,
    pub(crate) source: i8,
}

impl Described {
    pub(crate) fn wire_name(&self) -> StrBytes {
        StrBytes::from_static_str(self.setting.name)
    }

    /// Every place that gives the setting a value, the one that counts first: name there, value, source.
    pub(crate) fn synonyms(
        &self,
        config: &BrokerConfig,
        overrides: &BTreeMap<String, String>,
    ) -> Vec<(&'static str, String, i8)> {
        let name = self.setting.name;
        let of_topic = overrides.get(name).map(|value| (name, value.clone(), source::TOPIC));
        let broker_name = broker_name(name);
        let of_broker = config.topic_overrides.get(name);
        let of_broker = of_broker.map(|value| (broker_name, value.clone(), source::STATIC_BROKER));
        let default = (broker_name, self.setting.default.to_owned(), source::DEFAULT);
        of_topic.into_iter().chain(of_broker).chain([default]).collect()
    }
}

/// All settings of a topic with `overrides`.
pub(crate) fn described<'a>(
    config: &'a BrokerConfig,
    overrides: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Described> + 'a {
    TOPIC_SETTINGS.iter().map(move |setting| {
        let (value, source) = effective(config, overrides, setting);
        Described { setting, value: value.to_owned(), source }
    })
}

/// The value of one setting, and its source.
pub(crate) fn effective<'a>(
    config: &'a BrokerConfig,
    overrides: &'a BTreeMap<String, String>,
    setting: &Setting<TopicConfig>,
) -> (&'a str, i8) {
    if let Some(value) = overrides.get(setting.name) {
        return (value, source::TOPIC);
    }
    match config.topic_overrides.get(setting.name) {
        Some(value) => (value, source::STATIC_BROKER),
        None => (setting.default, source::DEFAULT),
    }
}

/// A value as a response carries it.
pub(crate) fn wire_value(value: &str) -> Option<StrBytes> {
    Some(StrBytes::from_string(value.to_owned()))
}

/// Kafka's number for a type of value.
pub(crate) const fn wire_type(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String | Kind::Address | Kind::Path => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long | Kind::Size | Kind::Duration => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}

/// Kafka's name for the broker setting that is the default of a topic setting.
fn broker_name(name: &'static str) -> &'static str {
    match name {
        "cleanup.policy" => "log.cleanup.policy",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        other => other,
    }
}
