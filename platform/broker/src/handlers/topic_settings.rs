//! A topic's settings as Kafka describes them: value, where it comes from, type.

use std::collections::BTreeMap;

use millrace_config::topic_defaults::{Given, Origin};
use millrace_config::{Kind, Setting, TOPIC_SETTINGS, TopicConfig, TopicDefaults};
use millrace_protocol::StrBytes;

/// One setting of a topic or a broker.
pub(crate) struct Described {
    pub(crate) setting: &'static Setting<TopicConfig>,
    pub(crate) value: String,
    /// Who gave the value, by Kafka's numbers.
    pub(crate) source: i8,
    /// Everyone who gave one, the one that counts first.
    pub(crate) given: Vec<Given>,
}

impl Described {
    fn new(setting: &'static Setting<TopicConfig>, given: Vec<Given>) -> Self {
        let counts = given.first();
        let value = counts.map_or(setting.default, |given| &given.value).to_owned();
        let source = counts.map_or(source(Origin::Default), |given| source(given.origin));
        Self { setting, value, source, given }
    }

    pub(crate) fn wire_name(&self) -> StrBytes {
        StrBytes::from_static_str(self.setting.name)
    }
}

/// All settings of a topic with `overrides`.
pub(crate) fn described<'a>(
    defaults: &'a TopicDefaults,
    overrides: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Described> + 'a {
    TOPIC_SETTINGS.iter().map(move |setting| Described::new(setting, defaults.of_topic(overrides, setting)))
}

/// Kafka's number for who gave a setting its value.
pub(crate) const fn source(origin: Origin) -> i8 {
    match origin {
        Origin::Topic => 1,
        Origin::Broker => 2,
        Origin::AllBrokers => 3,
        Origin::File => 4,
        Origin::Default => 5,
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
