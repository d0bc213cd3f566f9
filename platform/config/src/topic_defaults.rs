//! Where a topic's setting comes from when the topic does not say: a setting of this broker that was changed while it
//! runs, one of all brokers, the configuration file, Kafka's default. The first that says something counts.
//!
//! What is changed while brokers run goes by Kafka's names of broker settings; only those that are the default of a
//! topic setting can be. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::BrokerConfig;
use crate::setting::{Setting, SettingError};
use crate::topic::TopicConfig;
use crate::topic_settings::topic_setting;

/// A topic's settings by Kafka's names, and the broker settings that are their defaults.
const BROKER_NAMES: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    (MIN_INSYNC_REPLICAS, MIN_INSYNC_REPLICAS),
    ("preallocate", "log.preallocate"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// All brokers have to agree on it: where nobody has changed it, what the file says is the value for all (KIP-966).
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Broker settings that Kafka leaves empty by default, since it has the same in hours.
const EMPTY_BY_DEFAULT: [&str; 4] =
    ["log.flush.interval.ms", "log.retention.ms", "log.roll.jitter.ms", "log.roll.ms"];

type Configs = BTreeMap<String, String>;

/// The topic setting whose default is the broker setting of that name.
pub fn topic_setting_of(broker_name: &str) -> Option<&'static Setting<TopicConfig>> {
    let (name, _) = BROKER_NAMES.iter().find(|(_, broker)| *broker == broker_name)?;
    topic_setting(name)
}

/// Every broker setting that can be changed while brokers run, with the topic setting that it is the default of.
pub fn changeable() -> impl Iterator<Item = (&'static str, &'static Setting<TopicConfig>)> {
    BROKER_NAMES.iter().filter_map(|(topic, broker)| Some((*broker, topic_setting(topic)?)))
}

fn broker_name(topic_name: &str) -> Option<&'static str> {
    BROKER_NAMES.iter().find(|(topic, _)| *topic == topic_name).map(|(_, broker)| *broker)
}

/// Who gave a setting its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Topic,
    /// This broker, changed while running.
    Broker,
    /// All brokers, changed while running.
    AllBrokers,
    File,
    Default,
}

/// A value, who gave it, and by what name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
}

/// What a broker's topics have when they do not say.
#[derive(Clone, Debug, Default)]
pub struct TopicDefaults {
    pub file: Arc<BrokerConfig>,
    pub of_broker: Arc<Configs>,
    pub of_all_brokers: Arc<Configs>,
}

impl TopicDefaults {
    /// The settings of a topic with `overrides`.
    pub fn topic_config(&self, overrides: &Configs) -> Result<TopicConfig, SettingError> {
        let mut merged = Configs::new();
        for changed in [&self.of_all_brokers, &self.of_broker] {
            let settings = changed.iter().filter_map(|(name, value)| Some((topic_setting_of(name)?, value)));
            merged.extend(settings.map(|(setting, value)| (setting.name.to_owned(), value.clone())));
        }
        merged.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.file.topic_config(&merged)
    }

    /// Everyone who gives a topic's setting a value, the one that counts first. Never empty.
    pub fn of_topic(&self, overrides: &Configs, setting: &'static Setting<TopicConfig>) -> Vec<Given> {
        let own = overrides.get(setting.name);
        let own = own.map(|value| Given { name: setting.name, value: value.clone(), origin: Origin::Topic });
        own.into_iter().chain(self.below(setting)).collect()
    }

    /// Everyone who gives a broker's setting a value, the one that counts first: the default of `setting`.
    pub fn of_broker(&self, setting: &'static Setting<TopicConfig>) -> Vec<Given> {
        self.below(setting)
    }

    /// What is set for all brokers at once.
    pub fn of_all_brokers(&self, setting: &'static Setting<TopicConfig>) -> Option<Given> {
        self.below(setting).into_iter().find(|given| given.origin == Origin::AllBrokers)
    }

    fn below(&self, setting: &'static Setting<TopicConfig>) -> Vec<Given> {
        let Some(name) = broker_name(setting.name) else {
            let name = setting.name;
            return vec![Given { name, value: setting.default.to_owned(), origin: Origin::Default }];
        };
        let given =
            |value: Option<&String>, origin| value.map(|value| Given { name, value: value.clone(), origin });
        let file = self.file.topic_overrides.get(setting.name);
        let default = setting.default.to_owned();
        let (all, file) = if setting.name == MIN_INSYNC_REPLICAS {
            (Some(self.of_all_brokers.get(name).or(file).unwrap_or(&default)), None)
        } else {
            (self.of_all_brokers.get(name), file)
        };
        let layers = [
            given(self.of_broker.get(name), Origin::Broker),
            given(all, Origin::AllBrokers),
            given(file, Origin::File),
            given(Some(&default), Origin::Default),
        ];
        layers.into_iter().flatten().collect()
    }
}

impl Given {
    /// Whether Kafka lists it among the synonyms of a setting: not a default that it has under another name.
    pub fn is_listed(&self) -> bool {
        self.origin != Origin::Default
            || (!EMPTY_BY_DEFAULT.contains(&self.name) && topic_setting_of(self.name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_settings::TOPIC_SETTINGS;

    fn configs(values: &[(&str, &str)]) -> Arc<Configs> {
        Arc::new(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn every_name_is_that_of_a_setting() {
        for (topic, broker) in BROKER_NAMES {
            assert_eq!(topic_setting_of(broker).map(|setting| setting.name), Some(*topic));
        }
        assert!(EMPTY_BY_DEFAULT.iter().all(|name| topic_setting_of(name).is_some()));
        let without: Vec<_> =
            TOPIC_SETTINGS.iter().map(|it| it.name).filter(|name| broker_name(name).is_none()).collect();
        let expected = [
            "follower.replication.throttled.replicas",
            "leader.replication.throttled.replicas",
            "remote.log.copy.disable",
            "remote.log.delete.on.disable",
            "remote.storage.enable",
        ];
        assert_eq!(without, expected, "Kafka has no defaults of these on its brokers");
    }

    #[test]
    fn the_nearest_value_counts_and_the_others_are_told_in_their_order() {
        let mut file = BrokerConfig::default();
        file.topic_overrides.insert("retention.ms".to_owned(), "1".to_owned());
        let defaults = TopicDefaults {
            file: Arc::new(file),
            of_all_brokers: configs(&[("log.retention.ms", "2"), ("log.retention.bytes", "20")]),
            of_broker: configs(&[("log.retention.ms", "3")]),
        };
        let own = configs(&[("retention.ms", "4")]);
        let setting = topic_setting("retention.ms").unwrap();
        let told: Vec<_> = defaults
            .of_topic(&own, setting)
            .into_iter()
            .map(|given| (given.name, given.value, given.origin))
            .collect();
        let name = "log.retention.ms";
        let expected = [
            ("retention.ms", "4".to_owned(), Origin::Topic),
            (name, "3".to_owned(), Origin::Broker),
            (name, "2".to_owned(), Origin::AllBrokers),
            (name, "1".to_owned(), Origin::File),
            (name, setting.default.to_owned(), Origin::Default),
        ];
        assert_eq!(told, expected);
        let config = defaults.topic_config(&own).unwrap();
        assert_eq!((config.retention_ms, config.retention_bytes), (Some(4), Some(20)));
        let config = defaults.topic_config(&Configs::new()).unwrap();
        assert_eq!((config.retention_ms, config.retention_bytes), (Some(3), Some(20)));
    }
}
