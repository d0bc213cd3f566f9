//! What a request names many times is answered no longer than what it names once, and what it may name is bounded.

mod common;

use common::TestBroker;
use common::requests::*;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_topics_request::CreatableTopic;
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_topic_partitions_request::TopicRequest;
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::*;

const TIMES: usize = 5_000;

#[tokio::test]
async fn a_resource_is_described_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let resource = |kind, name: &str| {
        DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name))
    };
    let mut resources = vec![resource(2, "t"); TIMES];
    resources.push(resource(2, "unknown"));
    resources.push(resource(4, ""));
    let response = client.call(4, DescribeConfigsRequest::default().with_resources(resources)).await;
    let told: Vec<_> =
        response.results.iter().map(|result| (&*result.resource_name, result.error_code)).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(told, [("t", 0), ("unknown", unknown), ("", 0)]);
}

#[tokio::test]
async fn a_coordinator_is_told_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let mut keys = vec![text("a"); TIMES];
    keys.push(text("b"));
    let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(keys);
    let response = client.call(4, request).await;
    let told: Vec<_> = response.coordinators.iter().map(|coordinator| &*coordinator.key).collect();
    assert_eq!(told, ["a", "b"]);
}

#[tokio::test]
async fn a_topic_is_told_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let response = client.call(12, MetadataRequest::default().with_topics(Some(vec![topic; TIMES]))).await;
    assert_eq!(response.topics.len(), 1);

    let topic = TopicRequest::default().with_name(topic_name("t"));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![topic; TIMES])
        .with_response_partition_limit(100);
    assert_eq!(client.call(0, request).await.topics.len(), 1);

    let topic = CreatableTopic::default()
        .with_name(topic_name("new"))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let response = client.call(7, CreateTopicsRequest::default().with_topics(vec![topic; TIMES])).await;
    let told: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(told, [ErrorCode::InvalidRequest.code()]);
}

/// Names that are not known count towards the limit of an answer, as partitions do.
#[tokio::test]
async fn unknown_topics_are_told_in_pages() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let topics =
        (0..TIMES).map(|number| TopicRequest::default().with_name(topic_name(&format!("{number:05}"))));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(i32::MAX);
    let response = client.call(0, request).await;
    assert_eq!(response.topics.len(), 2_000);
    assert_eq!(&**response.next_cursor.expect("there are more").topic_name, "02000");
}

#[tokio::test]
async fn a_request_for_long_answers_is_short() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let topic = |number| TopicRequest::default().with_name(topic_name(&format!("{number:07}")));
    let mut many = DescribeTopicPartitionsRequest::default().with_response_partition_limit(1);
    many.topics = (0..200_000).map(topic).collect();
    let refused = client.try_start(0, many.clone()).await.err().expect("1.8 MB of names are too many");
    assert!(refused.to_string().contains("the limit is 1572864, ask for less"), "{refused}");
    // One that names partitions may be longer.
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let partitions = (0..150_000).map(|index| partition.clone().with_partition_index(index)).collect();
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(partitions);
    let response = client.call(7, ListOffsetsRequest::default().with_topics(vec![topic])).await;
    assert_eq!(response.topics[0].partitions.len(), 150_000);
}
