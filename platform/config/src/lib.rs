//! Settings of topics and brokers: their names, types, defaults, limits and documentation.
//!
//! Two tables say everything there is to say about a setting once: [`TOPIC_SETTINGS`] (Kafka's topic
//! settings, by Kafka's names) and [`BROKER_SETTINGS`] (the configuration file). Parsing, defaults, error
//! messages, Kafka's DescribeConfigs and `REFERENCE.md` are all derived from them.
//!
//! This crate reads at most one file, the one that [`BrokerConfig::load`] is given. A value that it hands
//! out is valid: nobody downstream checks it again.

pub mod broker;
pub mod kafka_broker;
pub mod reference;
pub mod setting;
pub mod topic;
pub mod topic_defaults;
mod topic_settings;
pub mod units;
pub mod value;

pub use broker::{BROKER_SETTINGS, BrokerConfig, LoadError};
pub use kafka_broker::KAFKA_BROKER_SETTINGS;
pub use reference::reference_markdown;
pub use setting::{Check, Effect, Kind, Setting, SettingError};
pub use topic::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};
pub use topic_defaults::TopicDefaults;
pub use topic_settings::{TOPIC_SETTINGS, topic_setting, validate_override};
