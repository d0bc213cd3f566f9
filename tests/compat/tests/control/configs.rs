//! Settings: described, replaced, changed one by one.

use millrace_compat_tests::control::Pair;
use millrace_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::incremental_alter_configs_request as incremental;
use millrace_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};

use crate::support::{create_in, text};

pub const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Good, bad and odd values of settings that both know.
const VALUES: [(&str, Option<&str>); 24] = [
    ("retention.ms", Some("5000")),
    ("retention.ms", Some("-1")),
    ("retention.ms", Some("-2")),
    ("retention.ms", Some("")),
    ("retention.ms", Some("1e3")),
    ("retention.ms", None),
    ("retention.bytes", Some("9223372036854775808")),
    ("segment.bytes", Some("13")),
    ("segment.bytes", Some("2147483648")),
    ("max.message.bytes", Some("-1")),
    ("max.message.bytes", Some(" 1000 ")),
    ("cleanup.policy", Some("compact")),
    ("cleanup.policy", Some("")),
    ("cleanup.policy", Some("delete,compact")),
    ("cleanup.policy", Some("keep")),
    ("compression.type", Some("producer")),
    ("compression.type", Some("brotli")),
    ("message.timestamp.type", Some("LogAppendTime")),
    ("message.timestamp.type", Some("never")),
    ("min.cleanable.dirty.ratio", Some("0.25")),
    ("min.cleanable.dirty.ratio", Some("1.5")),
    ("unclean.leader.election.enable", Some("TRUE")),
    ("unclean.leader.election.enable", Some("yes")),
    ("no.such.setting", Some("1")),
];

pub fn compare(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(peer, &[("set", 1, &[("retention.ms", Some("77"))])]);
    }
    describe(pair);
    change_one_by_one(pair);
    replace(pair);
    broker(pair);
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

fn describe(pair: &mut Pair) {
    let keys: Option<&[&str]> = Some(&["retention.ms", "segment.bytes", "cleanup.policy", "no.such.setting"]);
    let cases = [
        (TOPIC, "set", keys),
        (TOPIC, "set", None),
        (TOPIC, "set", Some(&[][..])),
        (TOPIC, "missing", None),
        (TOPIC, "", None),
        (TOPIC, "a b", None),
        (BROKER, "1", Some(&["message.max.bytes", "log.retention.ms", "min.insync.replicas", "broker.rack"])),
        (BROKER, "1", Some(&["no.such.setting"])),
        (BROKER, "", Some(&["message.max.bytes"])),
        (BROKER, "9", None),
        (BROKER, "one", None),
        (0, "set", None),
        (99, "set", None),
    ];
    for (kind, name, keys) in cases {
        for synonyms in [false, true] {
            for documentation in [false, true] {
                let what = format!("describe {kind} '{name}' {keys:?} {synonyms} {documentation}");
                pair.compare_all(&what, |_, version| {
                    let request = DescribeConfigsRequest::default()
                        .with_resources(vec![resource(kind, name, keys)])
                        .with_include_synonyms(synonyms);
                    if version >= 3 { request.with_include_documentation(documentation) } else { request }
                });
            }
        }
    }
    pair.compare_all("describe one twice", |_, _| {
        let asked = || resource(TOPIC, "set", Some(&["retention.ms"]));
        DescribeConfigsRequest::default().with_resources(vec![
            asked(),
            asked(),
            resource(TOPIC, "missing", None),
        ])
    });
    pair.compare_all("describe nothing", |_, _| DescribeConfigsRequest::default());
}

pub fn change(
    kind: i8,
    name: &str,
    changes: &[(i8, &str, Option<&str>)],
) -> incremental::AlterConfigsResource {
    let one = |(operation, name, value): &(i8, &str, Option<&str>)| {
        incremental::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(one).collect())
}

fn change_one_by_one(pair: &mut Pair) {
    // An operation that does not exist makes Kafka's controller resign for a second or two: once is enough.
    for operation in 0..=4 {
        let values = if operation == 4 { &VALUES[..1] } else { &VALUES[..] };
        for (name, value) in values.iter().copied() {
            for validate_only in [true, false] {
                let what = format!("change {operation} {name} {value:?} {validate_only}");
                pair.compare_all(&what, |_, _| {
                    IncrementalAlterConfigsRequest::default()
                        .with_resources(vec![change(TOPIC, "set", &[(operation, name, value)])])
                        .with_validate_only(validate_only)
                });
            }
        }
        overrides(pair, "set", &format!("after operations {operation}"));
    }
    for (kind, name) in
        [(TOPIC, "missing"), (TOPIC, ""), (TOPIC, "a b"), (0, "set"), (BROKER, "9"), (99, "x")]
    {
        pair.compare_all(&format!("change of {kind} '{name}'"), |_, _| {
            IncrementalAlterConfigsRequest::default().with_resources(vec![change(
                kind,
                name,
                &[(0, "retention.ms", Some("1"))],
            )])
        });
    }
    pair.compare_all("change one setting twice", |_, _| {
        let changes = [(0, "retention.ms", Some("1")), (1, "retention.ms", None)];
        IncrementalAlterConfigsRequest::default().with_resources(vec![change(TOPIC, "set", &changes)])
    });
    pair.compare_all("change one topic twice", |_, _| {
        let one = || change(TOPIC, "set", &[(0, "retention.ms", Some("1"))]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![one(), one()])
    });
    pair.compare_all("change nothing", |_, _| {
        IncrementalAlterConfigsRequest::default().with_resources(vec![change(TOPIC, "set", &[])])
    });
    overrides(pair, "set", "after all changes");
}

pub fn replacement(kind: i8, name: &str, values: &[(&str, Option<&str>)]) -> AlterConfigsResource {
    let one = |(name, value): &(&str, Option<&str>)| {
        AlterableConfig::default().with_name(text(name)).with_value(value.map(text))
    };
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(values.iter().map(one).collect())
}

fn replace(pair: &mut Pair) {
    for (name, value) in VALUES {
        for validate_only in [true, false] {
            pair.compare_all(&format!("replace by {name} {value:?} {validate_only}"), |_, _| {
                AlterConfigsRequest::default()
                    .with_resources(vec![replacement(TOPIC, "set", &[(name, value)])])
                    .with_validate_only(validate_only)
            });
        }
    }
    overrides(pair, "set", "after replacements");
    for (kind, name) in [(TOPIC, "missing"), (TOPIC, ""), (0, "set"), (BROKER, "9"), (99, "x")] {
        pair.compare_all(&format!("replacement of {kind} '{name}'"), |_, _| {
            AlterConfigsRequest::default().with_resources(vec![replacement(
                kind,
                name,
                &[("retention.ms", Some("1"))],
            )])
        });
    }
    // Kafka never answers a replacement that names one topic twice.
    pair.compare_all("replace by nothing", |_, _| {
        AlterConfigsRequest::default().with_resources(vec![replacement(TOPIC, "set", &[])])
    });
    overrides(pair, "set", "after all replacements");
}

/// What both take for changed by now.
pub fn overrides(pair: &mut Pair, topic: &str, when: &str) -> bool {
    pair.compare_settled(when, 4, |_, _| {
        DescribeConfigsRequest::default().with_resources(vec![resource(TOPIC, topic, None)])
    })
}

/// Settings of brokers, and of what stands for all of them.
fn broker(pair: &mut Pair) {
    for name in ["1", ""] {
        for (setting, value) in [
            ("message.max.bytes", Some("2000000")),
            ("message.max.bytes", Some("-3")),
            ("log.retention.ms", Some("123456789")),
            ("min.insync.replicas", Some("1")),
            ("log.retention.ms", Some("soon")),
            ("broker.id", Some("3")),
            ("listeners", Some("PLAINTEXT://:1")),
            ("num.partitions", Some("4")),
            ("no.such.setting", Some("1")),
        ] {
            for operation in [0, 1, 2] {
                pair.compare_all(
                    &format!("change of broker '{name}': {operation} {setting} {value:?}"),
                    |_, _| {
                        IncrementalAlterConfigsRequest::default().with_resources(vec![change(
                            BROKER,
                            name,
                            &[(operation, setting, value)],
                        )])
                    },
                );
                let keys: &[&str] = &["message.max.bytes", "log.retention.ms", "min.insync.replicas"];
                for described in ["1", ""] {
                    pair.compare_settled(
                        &format!("broker '{name}' after {operation} {setting} {value:?}"),
                        4,
                        |_, _| {
                            DescribeConfigsRequest::default()
                                .with_resources(vec![resource(BROKER, described, Some(keys))])
                                .with_include_synonyms(true)
                        },
                    );
                }
            }
        }
    }
    overrides(pair, "set", "after changes of brokers");
}
