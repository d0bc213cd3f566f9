//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

mod common;

use std::time::Duration;

use common::requests::*;
use common::{Client, TestBroker};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use millrace_protocol::messages::*;
use millrace_protocol::messages::{
    alter_configs_request as alter, incremental_alter_configs_request as incremental,
};
use millrace_test_wait::eventually_async;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn describe(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

async fn setting(client: &mut Client, topic: &str, name: &str) -> DescribeConfigsResourceResult {
    let request = describe(TOPIC, topic, Some(&[name])).with_include_synonyms(true);
    let mut response = client.call(1, request).await;
    assert_eq!(response.results[0].error_code, 0);
    response.results[0].configs.remove(0)
}

async fn change(client: &mut Client, name: &str, operation: i8, value: Option<&str>) -> i16 {
    try_change(client, TOPIC, "t", name, operation, value, false).await
}

async fn try_change(
    client: &mut Client,
    resource_type: i8,
    resource: &str,
    name: &str,
    operation: i8,
    value: Option<&str>,
    validate_only: bool,
) -> i16 {
    let config = incremental::AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    client.call(1, request).await.responses[0].error_code
}

#[tokio::test]
async fn settings_that_internal_topics_rely_on_stay() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for topic in ["__consumer_offsets", "__plugin_logs", "t"] {
        client.create_topic(topic, 1, &[]).await;
    }
    let refused = ErrorCode::InvalidTopicException.code();
    for (topic, setting, value, expected) in [
        ("__consumer_offsets", "cleanup.policy", "delete", refused),
        ("__consumer_offsets", "retention.ms", "1000", refused),
        ("__consumer_offsets", "max.message.bytes", "100", refused),
        ("__consumer_offsets", "segment.bytes", "2097152", 0),
        ("__plugin_logs", "max.message.bytes", "100", refused),
        ("__plugin_logs", "retention.ms", "86400000", 0),
        ("t", "cleanup.policy", "compact", 0),
    ] {
        let code = try_change(&mut client, TOPIC, topic, setting, 0, Some(value), false).await;
        assert_eq!(code, expected, "{topic}: {setting}");
    }
}

#[tokio::test]
async fn a_topics_settings_are_described_with_their_sources() {
    let broker = TestBroker::start_with(|config| {
        config.topic_overrides.insert("retention.ms".into(), "5000".into());
    })
    .await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "1000")]).await;
    let retention = setting(&mut client, "t", "retention.ms").await;
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
    let synonyms: Vec<_> = retention
        .synonyms
        .iter()
        .map(|synonym| {
            (synonym.name.to_string(), synonym.value.as_deref().unwrap_or_default(), synonym.source)
        })
        .collect();
    // Kafka has the default of this one in hours, and lists no other.
    let expected = [("retention.ms", "1000", 1), ("log.retention.ms", "5000", 4)];
    assert_eq!(synonyms, expected.map(|(name, value, source)| (name.to_owned(), value, source)));

    for version in 1..=4 {
        let request = describe(TOPIC, "t", None).with_include_documentation(version >= 3);
        let response = client.call(version, request).await;
        let result: &DescribeConfigsResult = &response.results[0];
        assert!(result.configs.len() > 30, "every setting that Kafka has");
        let segment = result.configs.iter().find(|config| &*config.name == "segment.bytes").unwrap();
        assert_eq!(segment.config_source, 5);
        if version >= 3 {
            assert_eq!(segment.config_type, 3, "an int");
            assert!(segment.documentation.is_some());
        }
        let response = client.call(version, describe(TOPIC, "t", Some(&["segment.bytes"]))).await;
        // In earlier versions there is no such field.
        let documentation = response.results[0].configs[0].documentation.as_deref();
        assert_eq!(documentation, if version >= 3 { None } else { Some("") }, "it was not asked for");
    }
}

#[tokio::test]
async fn a_brokers_settings_are_described() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let response = client.call(4, describe(BROKER, "1", None)).await;
    let configs = &response.results[0].configs;
    assert!(configs.iter().any(|config| &*config.name == "node.id" && config.value.as_deref() == Some("1")));
    let setting = |name: &str| configs.iter().find(|config| &*config.name == name).unwrap();
    assert!(setting("node.id").read_only);
    assert!(!setting("log.retention.ms").read_only);
    let rack = setting("broker.rack");
    assert_eq!((rack.value.as_deref(), rack.config_source), (None, 5), "what is not set has no value");
    let default = client.call(4, describe(BROKER, "", None)).await;
    let configs = &default.results[0].configs;
    assert_eq!((&*configs[0].name, configs.len()), ("min.insync.replicas", 1), "all brokers agree on it");
    for (resource_type, name) in [(BROKER, "2"), (BROKER, "x"), (99, "y")] {
        let response = client.call(4, describe(resource_type, name, None)).await;
        assert_eq!(response.results[0].error_code, ErrorCode::InvalidRequest.code(), "{name}");
    }
    let code = try_change(&mut client, BROKER, "1", "num.partitions", 0, Some("3"), false).await;
    assert_eq!(code, ErrorCode::InvalidRequest.code());
    let absent = client.call(4, describe(TOPIC, "absent", None)).await;
    assert_eq!(absent.results[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn brokers_settings_change_while_they_run_and_topics_follow() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    client.create_topic("own", 1, &[("max.message.bytes", "5000")]).await;
    let set = async |resource: &str, name: &str, operation: i8, value: Option<&str>| {
        try_change(&mut broker.client(), BROKER, resource, name, operation, value, false).await
    };
    let send = async |topic: &str| {
        let records = common::records::batch(&[&"v".repeat(400)]);
        let response = broker.client().call(9, produce(topic, 0, -1, records)).await;
        produced(&response).error_code
    };
    assert_eq!(set("", "message.max.bytes", 0, Some("300")).await, 0);
    let limit = setting(&mut client, "t", "max.message.bytes").await;
    assert_eq!((limit.value.as_deref(), limit.config_source), (Some("300"), 3));
    assert_eq!(setting(&mut client, "own", "max.message.bytes").await.config_source, 1);
    assert_eq!(send("t").await, ErrorCode::MessageTooLarge.code(), "it counts at once");
    assert_eq!(send("own").await, 0, "a topic that says otherwise does not follow");

    assert_eq!(set("1", "message.max.bytes", 0, Some("2000")).await, 0);
    assert_eq!(setting(&mut client, "t", "max.message.bytes").await.config_source, 2);
    assert_eq!(send("t").await, 0, "one broker's own counts first");

    for (name, value, refusal) in [
        ("message.max.bytes", "-3", ErrorCode::InvalidRequest),
        ("node.id", "7", ErrorCode::InvalidRequest),
        ("no.such.setting", "7", ErrorCode::InvalidConfig),
    ] {
        assert_eq!(set("1", name, 0, Some(value)).await, refusal.code(), "{name}");
    }
    let broker = broker.restart().await;
    let mut client = broker.client();
    assert_eq!(setting(&mut client, "t", "max.message.bytes").await.value.as_deref(), Some("2000"));
    for resource in ["", "1"] {
        let code = try_change(&mut client, BROKER, resource, "message.max.bytes", 1, None, false).await;
        assert_eq!(code, 0);
    }
    assert_eq!(setting(&mut client, "t", "max.message.bytes").await.config_source, 5);
}

#[tokio::test]
async fn single_settings_are_changed() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.ms", "5000")]).await;
    assert_eq!(try_change(&mut client, TOPIC, "t", "retention.ms", 0, Some("1000"), true).await, 0);
    assert_eq!(setting(&mut client, "t", "retention.ms").await.config_source, 5, "only tried");
    assert_eq!(change(&mut client, "retention.ms", 0, Some("1000")).await, 0);
    assert_eq!(setting(&mut client, "t", "retention.ms").await.value.as_deref(), Some("1000"));
    assert_eq!(setting(&mut client, "t", "segment.ms").await.value.as_deref(), Some("5000"), "left alone");
    assert_eq!(change(&mut client, "cleanup.policy", 2, Some("compact")).await, 0);
    assert_eq!(setting(&mut client, "t", "cleanup.policy").await.value.as_deref(), Some("delete,compact"));
    assert_eq!(change(&mut client, "cleanup.policy", 3, Some("compact")).await, 0);
    assert_eq!(setting(&mut client, "t", "cleanup.policy").await.value.as_deref(), Some("delete"));
    assert_eq!(change(&mut client, "retention.ms", 1, None).await, 0);
    assert_eq!(setting(&mut client, "t", "retention.ms").await.config_source, 5);

    let refused = [
        ("retention.ms", 0, None, ErrorCode::InvalidRequest),
        ("retention.ms", 9, Some("1"), ErrorCode::InvalidRequest),
        ("retention.ms", 2, Some("1"), ErrorCode::InvalidConfig),
        ("retention.ms", 0, Some("soon"), ErrorCode::InvalidConfig),
        ("no.such.setting", 0, Some("1"), ErrorCode::InvalidConfig),
        ("cleanup.policy", 3, Some("delete"), ErrorCode::InvalidConfig),
    ];
    for (name, operation, value, error) in refused {
        let code = change(&mut client, name, operation, value).await;
        assert_eq!(ErrorCode::try_from_code(code), Some(error), "{name} {operation} {value:?}");
    }
    let broker = broker.restart().await;
    assert_eq!(setting(&mut broker.client(), "t", "segment.ms").await.value.as_deref(), Some("5000"));
}

#[tokio::test]
async fn all_settings_are_replaced() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.ms", "5000")]).await;
    let config =
        alter::AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000")));
    let resource = alter::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("t"))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource.clone()]);
    for version in 0..=2 {
        assert_eq!(client.call(version, request.clone()).await.responses[0].error_code, 0);
    }
    assert_eq!(setting(&mut client, "t", "retention.ms").await.value.as_deref(), Some("1000"));
    assert_eq!(setting(&mut client, "t", "segment.ms").await.config_source, 5, "no longer set");
    let twice = AlterConfigsRequest::default().with_resources(vec![resource.clone(), resource]);
    let response = client.call(2, twice).await;
    assert!(response.responses.iter().all(|answer| answer.error_code == ErrorCode::InvalidRequest.code()));
}

#[tokio::test]
async fn a_changed_limit_counts_at_once_and_retention_is_enforced() {
    let broker =
        TestBroker::start_with(|config| config.log.retention_check_interval = Duration::from_millis(20))
            .await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.bytes", "1048576")]).await;
    let large = "x".repeat(600_000);
    for _ in 0..4 {
        client.write("t", 0, &[&large]).await;
    }
    assert_eq!(change(&mut client, "max.message.bytes", 0, Some("1000")).await, 0);
    let refused = client.call(9, produce("t", 0, -1, common::records::batch(&[&large]))).await;
    assert_eq!(produced(&refused).error_code, ErrorCode::MessageTooLarge.code());
    assert_eq!(change(&mut client, "retention.bytes", 0, Some("1")).await, 0);
    eventually_async("retention to remove segments", common::PATIENCE, async || {
        (client.list_offset(4, "t", -2).await.offset > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_two_edits_of_a_list_at_once_none_is_lost() {
    const SUBTRACT: i8 = 3;
    let broker = TestBroker::start().await;
    let [mut one, mut other] = [broker.client(), broker.client()];
    one.create_topic("t", 1, &[]).await;
    for _ in 0..20 {
        assert_eq!(change(&mut one, "cleanup.policy", 0, Some("delete,compact")).await, 0);
        // Either is allowed, both are not: nothing would be left. Taken for granted, the later one would undo
        // the earlier one instead.
        let codes = tokio::join!(
            change(&mut one, "cleanup.policy", SUBTRACT, Some("delete")),
            change(&mut other, "cleanup.policy", SUBTRACT, Some("compact")),
        );
        let refused = ErrorCode::InvalidConfig.code();
        let left = match codes {
            (0, code) if code == refused => "compact",
            (code, 0) if code == refused => "delete",
            codes => panic!("{codes:?}"),
        };
        assert_eq!(setting(&mut one, "t", "cleanup.policy").await.value.as_deref(), Some(left));
    }
}
