//! Topic settings: Kafka's defaults, what overrides change, and what is refused with which words.

use std::collections::{BTreeMap, BTreeSet};

use millrace_config::{
    CleanupPolicy, SettingError, TOPIC_SETTINGS, TimestampType, TopicConfig, validate_override,
};

fn overridden(pairs: &[(&str, &str)]) -> Result<TopicConfig, SettingError> {
    let overrides: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicConfig::from_overrides(&TopicConfig::default(), &overrides)
}

#[test]
fn every_default_of_the_table_is_allowed() {
    for setting in TOPIC_SETTINGS {
        setting.parse(setting.default).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_table_is_sorted_and_names_nothing_twice() {
    let names: Vec<&str> = TOPIC_SETTINGS.iter().map(|setting| setting.name).collect();
    let sorted: Vec<&str> = names.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(names, sorted);
}

#[test]
fn defaults_are_kafkas_but_durable() {
    let config = TopicConfig::default();
    assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
    assert_eq!(config.retention_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.message_timestamp_after_max_ms, 3_600_000);
    assert_eq!(config.local_retention_ms, None);
    assert_eq!((config.flush_messages, config.flush_ms), (Some(1), None));
    assert!(config.sync_before_ack());
}

#[test]
fn overrides_reach_their_fields() {
    let config = overridden(&[
        ("cleanup.policy", "compact, delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "1000"),
        ("flush.messages", "9223372036854775807"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.25"),
        ("preallocate", "TRUE"),
        ("local.retention.bytes", "-1"),
    ])
    .unwrap();
    assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
    assert_eq!((config.retention_ms, config.retention_bytes), (None, Some(1000)));
    assert_eq!(config.flush_messages, None);
    assert!(!config.sync_before_ack());
    assert_eq!(config.message_timestamp_type, TimestampType::LogAppendTime);
    assert!((config.min_cleanable_dirty_ratio - 0.25).abs() < f64::EPSILON);
    assert!(config.preallocate);
    assert_eq!(config.local_retention_bytes, Some(-1));
}

#[test]
fn a_refusal_names_the_setting_the_value_and_what_is_allowed() {
    for (name, value, message) in [
        ("retention.ms", "week", "'retention.ms' cannot be 'week': allowed is a whole number, at least -1"),
        ("retention.ms", "-2", "'retention.ms' cannot be '-2': allowed is a whole number, at least -1"),
        (
            "segment.bytes",
            "14",
            "'segment.bytes' cannot be '14': allowed is a whole number from 1048576 to 2147483647",
        ),
        (
            "cleanup.policy",
            "burn",
            "'cleanup.policy' cannot be 'burn': allowed is one or more of delete, compact",
        ),
        ("cleanup.policy", "", "'cleanup.policy' cannot be '': allowed is one or more of delete, compact"),
        (
            "compression.type",
            "brotli",
            "'compression.type' cannot be 'brotli': allowed is producer or uncompressed or gzip or snappy or lz4 or zstd",
        ),
        (
            "compression.gzip.level",
            "0",
            "'compression.gzip.level' cannot be '0': allowed is -1 or a whole number from 1 to 9",
        ),
        ("preallocate", "yes", "'preallocate' cannot be 'yes': allowed is true or false"),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "'min.cleanable.dirty.ratio' cannot be '1.5': allowed is a number from 0 to 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "'min.cleanable.dirty.ratio' cannot be 'NaN': allowed is a number from 0 to 1",
        ),
        (
            "min.insync.replicas",
            "0",
            "'min.insync.replicas' cannot be '0': allowed is a whole number from 1 to 2147483647",
        ),
        (
            "index.interval.bytes",
            "99999999999",
            "'index.interval.bytes' cannot be '99999999999': allowed is a whole number from 0 to 2147483647",
        ),
        ("retention.sm", "1", "there is no setting 'retention.sm': did you mean 'retention.ms'?"),
        ("retention_ms", "1", "there is no setting 'retention_ms': did you mean 'retention.ms'?"),
        ("colour", "red", "there is no setting 'colour'"),
    ] {
        let error = validate_override(name, value).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.name(), name);
        assert_eq!(overridden(&[(name, value)]), Err(error));
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let error = overridden(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]).unwrap_err();
    let message =
        "'min.compaction.lag.ms' cannot be '10': allowed is at most max.compaction.lag.ms, which is 9";
    assert_eq!(error.to_string(), message);
}
