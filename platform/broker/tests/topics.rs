//! Topics come, grow and go, and clients are told about them.

mod common;

use common::requests::*;
use common::{CLUSTER, NODE, TestBroker};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use millrace_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use millrace_protocol::messages::delete_topics_request::DeleteTopicState;
use millrace_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::*;

fn metadata_of(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
}

#[tokio::test]
async fn metadata_tells_the_cluster_in_every_version() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let id = client.create_topic("t", 3, &[]).await;
    for version in 0..=13 {
        let request = if version < 4 {
            MetadataRequest::default()
                .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic_name("t")))]))
        } else {
            metadata_of("t")
        };
        let response = client.call(version, request).await;
        assert_eq!(response.brokers[0].node_id.0, NODE.0);
        assert_eq!((&*response.brokers[0].host, response.brokers[0].port), ("broker.example", 9092));
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3), "version {version}");
        assert_eq!(topic.partitions[0].leader_id.0, NODE.0);
        assert_eq!(topic.partitions[0].isr_nodes, [BrokerId(NODE.0)]);
        if version >= 1 {
            assert_eq!(response.controller_id.0, NODE.0);
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_deref(), Some(CLUSTER));
        }
        if version >= 10 {
            assert_eq!(topic.topic_id, id);
        }
    }
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let response = client.call(12, MetadataRequest::default().with_topics(Some(vec![by_id]))).await;
    assert_eq!(response.topics[0].name.as_ref().map(|name| name.to_string()), Some("t".into()));
    let unknown = MetadataRequestTopic::default().with_name(None).with_topic_id(uuid::Uuid::new_v4());
    let response = client.call(12, MetadataRequest::default().with_topics(Some(vec![unknown]))).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn all_topics_are_told_when_none_is_named() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for name in ["a", "b"] {
        client.create_topic(name, 1, &[]).await;
    }
    let all = client.call(9, MetadataRequest::default().with_topics(None)).await;
    assert_eq!(all.topics.len(), 2);
    let v0 = client.call(0, MetadataRequest::default().with_topics(Some(vec![]))).await;
    assert_eq!(v0.topics.len(), 2, "version 0 has no null");
    let none = client.call(9, MetadataRequest::default().with_topics(Some(vec![]))).await;
    assert_eq!(none.topics.len(), 0);
}

#[tokio::test]
async fn a_topic_is_created_when_it_is_asked_for_and_that_is_allowed() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let forbidden = client.call(9, metadata_of("t")).await;
    assert_eq!(forbidden.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let created = client.call(9, metadata_of("t").with_allow_auto_topic_creation(true)).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (0, 1));
    assert_eq!(client.write("t", 0, &["at once"]).await, 0);
    let invalid = client.call(9, metadata_of("a b").with_allow_auto_topic_creation(true)).await;
    assert_eq!(invalid.topics[0].error_code, ErrorCode::InvalidTopicException.code());

    let broker = TestBroker::start_with(|config| config.topics.auto_create = false).await;
    let off = broker.client().call(9, metadata_of("t").with_allow_auto_topic_creation(true)).await;
    assert_eq!(off.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn a_created_topic_is_described() {
    let broker = TestBroker::start_with(|config| config.topics.num_partitions = 4).await;
    let mut client = broker.client();
    let topic = new_topic("t", -1, &[("retention.ms", "1000")]).with_replication_factor(-1);
    for validate_only in [true, false] {
        let request = create(vec![topic.clone()]).with_validate_only(validate_only);
        let response = client.call(7, request).await;
        let answer = &response.topics[0];
        assert_eq!((answer.error_code, answer.num_partitions, answer.replication_factor), (0, 4, 1));
        let configs = answer.configs.as_ref().unwrap();
        let retention = configs.iter().find(|config| &*config.name == "retention.ms").unwrap();
        assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
        let other = configs.iter().find(|config| &*config.name == "segment.bytes").unwrap();
        assert_eq!(other.config_source, 5);
    }
    assert_eq!(broker.log.partitions().len(), 4, "created once, and at once");
}

#[tokio::test]
async fn topics_that_cannot_be_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("exists", 1, &[]).await;
    client.create_topic("a.b", 1, &[]).await;
    let assigned = |brokers: &[i32], partition: i32| {
        CreatableReplicaAssignment::default()
            .with_partition_index(partition)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    };
    let by_hand =
        |assignments| new_topic("t", -1, &[]).with_replication_factor(-1).with_assignments(assignments);
    let cases: Vec<(CreatableTopic, ErrorCode)> = vec![
        (new_topic("exists", 1, &[]), ErrorCode::TopicAlreadyExists),
        (new_topic("", 1, &[]), ErrorCode::InvalidTopicException),
        (new_topic("a/b", 1, &[]), ErrorCode::InvalidTopicException),
        (new_topic("a_b", 1, &[]), ErrorCode::InvalidTopicException),
        (new_topic("__cluster_metadata", 1, &[]), ErrorCode::InvalidRequest),
        (new_topic("t", 0, &[]), ErrorCode::InvalidPartitions),
        (new_topic("t", i32::MAX, &[]), ErrorCode::InvalidPartitions),
        (new_topic("t", 1, &[]).with_replication_factor(0), ErrorCode::InvalidReplicationFactor),
        (new_topic("t", 1, &[]).with_replication_factor(3), ErrorCode::InvalidReplicationFactor),
        (new_topic("t", 1, &[("no.such", "1")]), ErrorCode::InvalidConfig),
        (new_topic("t", 1, &[("retention.ms", "soon")]), ErrorCode::InvalidConfig),
        (new_topic("t", 1, &[]).with_assignments(vec![assigned(&[1], 0)]), ErrorCode::InvalidRequest),
        (by_hand(vec![assigned(&[1], 1)]), ErrorCode::InvalidReplicaAssignment),
        (by_hand(vec![assigned(&[99], 0)]), ErrorCode::InvalidReplicaAssignment),
        (by_hand(vec![assigned(&[1, 1], 0)]), ErrorCode::InvalidReplicaAssignment),
    ];
    for (topic, error) in cases {
        for validate_only in [true, false] {
            let request = create(vec![topic.clone()]).with_validate_only(validate_only);
            let response = client.call(7, request).await;
            let answer = &response.topics[0];
            assert_eq!(ErrorCode::try_from_code(answer.error_code), Some(error), "{topic:?}");
            assert!(answer.error_message.is_some(), "{topic:?}");
        }
    }
    let good = by_hand(vec![assigned(&[1], 0), assigned(&[1], 1)]);
    assert_eq!(client.call(5, create(vec![good])).await.topics[0].error_code, 0);
    let twice = client.call(7, create(vec![new_topic("d", 1, &[]), new_topic("d", 1, &[])])).await;
    assert_eq!(twice.topics.len(), 1);
    assert_eq!(twice.topics[0].error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("a", 2, &[]).await;
    let id = client.create_topic("b", 1, &[]).await;
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("a"), topic_name("x")]);
    let response = client.call(5, by_name).await;
    let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    let state = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![state(id), state(uuid::Uuid::new_v4())]);
    let response = client.call(6, request).await;
    let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicId.code()]);
    assert_eq!(response.responses[0].name.as_ref().map(|name| name.to_string()), Some("b".into()));
    assert_eq!(broker.log.partitions(), []);
    let produced_to = client.call(9, produce("a", 0, -1, common::records::batch(&["x"]))).await;
    assert_eq!(produced(&produced_to).error_code, ErrorCode::UnknownTopicOrPartition.code());
    let again = client.create_topic("b", 1, &[]).await;
    assert_ne!(again, id, "a new topic of the old name is another one");
    assert_eq!(client.write("b", 0, &["x"]).await, 0, "and it is empty");
}

#[tokio::test]
async fn topics_grow() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let grow = |count| {
        let topic = CreatePartitionsTopic::default().with_name(topic_name("t")).with_count(count);
        CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
    };
    let tried = client.call(3, grow(3).with_validate_only(true)).await;
    assert_eq!(tried.results[0].error_code, 0);
    assert_eq!(broker.log.partitions().len(), 1, "only tried");
    assert_eq!(client.call(3, grow(3)).await.results[0].error_code, 0);
    assert_eq!(client.write("t", 2, &["x"]).await, 0);
    for count in [3, 1, 0, -1, i32::MAX] {
        let response = client.call(3, grow(count)).await;
        assert_eq!(response.results[0].error_code, ErrorCode::InvalidPartitions.code(), "{count}");
    }
    let mut by_hand = grow(5);
    let on = |id| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(id)]);
    by_hand.topics[0].assignments = Some(vec![on(1)]);
    let short = client.call(3, by_hand.clone()).await;
    assert_eq!(short.results[0].error_code, ErrorCode::InvalidReplicaAssignment.code());
    by_hand.topics[0].assignments = Some(vec![on(1), on(1)]);
    assert_eq!(client.call(0, by_hand).await.results[0].error_code, 0);
}

#[tokio::test]
async fn topics_survive_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let id = client.create_topic("t", 2, &[("retention.ms", "77777777")]).await;
    client.write("t", 1, &["kept"]).await;
    let broker = broker.restart().await;
    let mut client = broker.client();
    let response = client.call(13, metadata_of("t")).await;
    assert_eq!((response.topics[0].topic_id, response.topics[0].partitions.len()), (id, 2));
    assert_eq!(client.read("t", 1, 0).await, ["kept"]);
    assert_eq!(client.write("t", 1, &["next"]).await, 1);
}

#[tokio::test]
async fn topics_are_described_in_pages() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for name in ["a", "b", "c"] {
        client.create_topic(name, 3, &[]).await;
    }
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(4);
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let response = client.call(0, request.clone()).await;
        pages += 1;
        for topic in response.topics {
            let name = topic.name.unwrap().to_string();
            seen.extend(
                topic.partitions.iter().map(|partition| format!("{name}{}", partition.partition_index)),
            );
        }
        let Some(next) = response.next_cursor else { break };
        request.cursor = Some(
            Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index),
        );
    }
    assert_eq!(seen, ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]);
    assert_eq!(pages, 3);
    let absent = TopicRequest::default().with_name(topic_name("x"));
    let request =
        DescribeTopicPartitionsRequest::default().with_topics(vec![absent]).with_response_partition_limit(9);
    let response = client.call(0, request).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn the_cluster_and_its_directories_are_described() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 2, &[]).await;
    client.write("t", 0, &["x"]).await;
    for version in 0..=2 {
        let request = DescribeClusterRequest::default();
        let request = if version == 0 { request } else { request.with_endpoint_type(1) };
        let response = client.call(version, request).await;
        assert_eq!((&*response.cluster_id, response.controller_id.0), (CLUSTER, NODE.0));
        assert_eq!(response.brokers[0].port, 9092);
    }
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    let response = client.call(1, controllers).await;
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType.code());
    let response = client.call(4, DescribeLogDirsRequest::default().with_topics(None)).await;
    let dir = &response.results[0];
    assert!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes > 0);
    assert_eq!((dir.topics.len(), dir.topics[0].partitions.len()), (1, 2));
    assert!(dir.topics[0].partitions[0].partition_size > 0);
}

#[tokio::test]
async fn groups_are_coordinated_here_and_each_is_told_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let one = client.call(3, FindCoordinatorRequest::default().with_key(text("g"))).await;
    assert_eq!((one.error_code, one.node_id.0), (0, NODE.0));
    let keys = ["g", "h", "g"].map(text).to_vec();
    let many = client.call(6, FindCoordinatorRequest::default().with_coordinator_keys(keys)).await;
    let told: Vec<_> = many.coordinators.iter().map(|it| (it.key.as_str(), it.node_id.0)).collect();
    assert_eq!(told, [("g", NODE.0), ("h", NODE.0)]);
    let share = client
        .call(6, FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(vec![text("s")]))
        .await;
    assert_eq!(share.coordinators[0].error_code, ErrorCode::UnsupportedVersion.code());
    let transaction = FindCoordinatorRequest::default().with_key(text("x")).with_key_type(1);
    let one = client.call(3, transaction).await;
    assert_eq!((one.error_code, one.node_id.0, one.port), (0, NODE.0, 9092), "where it is refused for good");
}

#[tokio::test]
async fn the_brokers_own_topics_are_told_apart_and_keep_what_coordinators_wrote() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for (name, internal, protected) in [
        ("__consumer_offsets", true, true),
        ("__transaction_state", true, true),
        ("__plugin_logs", true, false),
        ("__ours", false, false),
    ] {
        client.create_topic(name, 1, &[]).await;
        assert_eq!(client.call(9, metadata_of(name)).await.topics[0].is_internal, internal, "{name}");
        let described = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![TopicRequest::default().with_name(topic_name(name))])
            .with_response_partition_limit(10)
            .with_cursor(None);
        assert_eq!(client.call(0, described).await.topics[0].is_internal, internal, "{name}");
        let expected = if protected { ErrorCode::InvalidTopicException.code() } else { 0 };
        let response = client.call(9, produce(name, 0, -1, common::records::batch(&["x"]))).await;
        assert_eq!(produced(&response).error_code, expected, "{name}");
        let read = client.call(11, fetch(name, vec![fetch_partition(0, 0)])).await;
        assert_eq!(fetched(&read).error_code, 0, "{name} may be read");
        let more = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(2);
        let grow = CreatePartitionsRequest::default().with_topics(vec![more.with_assignments(None)]);
        let grown = client.call(3, grow).await;
        let expected_of_growth = if internal { ErrorCode::InvalidTopicException.code() } else { 0 };
        assert_eq!(
            grown.results[0].error_code, expected_of_growth,
            "{name}: found by the count of partitions"
        );
        let named = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let deleted = client.call(6, DeleteTopicsRequest::default().with_topics(vec![named])).await;
        let answer = &deleted.responses[0];
        assert_eq!(answer.error_code, expected, "{name}");
        assert_eq!(answer.error_message.as_ref().is_some_and(|text| text.contains(name)), protected);
    }
}
