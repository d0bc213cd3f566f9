//! Groups on the wire: commits of who is in no group, what is told of them, and their lag.

mod common;

use std::time::Duration;

use common::requests::text;
use common::{Client, TestBroker};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use millrace_protocol::messages::*;
use millrace_test_wait::eventually_async;

const PATIENCE: Duration = Duration::from_secs(20);

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn commit(offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata)))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition(0), partition(7)]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

async fn commit_errors(client: &mut Client, request: OffsetCommitRequest) -> Vec<i16> {
    let response = client.call(9, request).await;
    response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

async fn offsets(client: &mut Client) -> Vec<(i32, i64)> {
    let wanted = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None);
    let response = client.call(9, OffsetFetchRequest::default().with_groups(vec![wanted])).await;
    assert_eq!(response.groups[0].error_code, 0);
    let topics = response.groups[0].topics.iter();
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions.map(|partition| (partition.partition_index, partition.committed_offset)).collect()
}

#[tokio::test]
async fn what_is_committed_is_told_and_survives_a_crash_with_its_lag() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    client.write("t", 0, &["a", "b", "c"]).await;
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(commit_errors(&mut client, commit(1, "mine")).await, [0, unknown]);
    let long = "m".repeat(4_097);
    let too_long = ErrorCode::OffsetMetadataTooLarge.code();
    assert_eq!(commit_errors(&mut client, commit(2, &long)).await, [too_long, unknown]);
    assert_eq!(offsets(&mut client).await, [(0, 1)]);
    let labels = [("group", "g"), ("topic", "t"), ("partition", "0")];
    assert_eq!(broker.metric("millrace_group_lag_records", &labels), 2.0);

    drop(client);
    let broker = broker.crash().await;
    let mut client = broker.client();
    assert_eq!(offsets(&mut client).await, [(0, 1)]);
    let listed = client.call(5, ListGroupsRequest::default()).await;
    let listed: Vec<_> =
        listed.groups.iter().map(|it| (it.group_id.to_string(), it.group_state.to_string())).collect();
    assert_eq!(listed, [("g".to_owned(), "Empty".to_owned())]);
    let deleted = client.call(2, DeleteGroupsRequest::default().with_groups_names(vec![group("g")])).await;
    assert_eq!(deleted.results[0].error_code, 0);
    assert_eq!(offsets(&mut client).await, []);
    let again = client.call(2, DeleteGroupsRequest::default().with_groups_names(vec![group("g")])).await;
    assert_eq!(again.results[0].error_code, ErrorCode::GroupIdNotFound.code());
}

#[tokio::test]
async fn offsets_of_who_is_gone_are_forgotten_in_time_but_for_those_of_plugins() {
    let broker = TestBroker::start_with(|config| {
        config.groups.offsets_retention = Duration::from_millis(300);
        config.groups.offsets_retention_check_interval = Duration::from_millis(20);
    })
    .await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    for name in ["g", "plugin.a", "h"] {
        let errors = commit_errors(&mut client, commit(1, "").with_group_id(group(name))).await;
        assert_eq!(errors[0], 0);
    }
    let listed = eventually_async("old groups to be forgotten", PATIENCE, async || {
        let listed = client.call(5, ListGroupsRequest::default()).await;
        let listed: Vec<_> = listed.groups.iter().map(|it| it.group_id.to_string()).collect();
        (listed.len() == 1).then_some(listed)
    });
    assert_eq!(listed.await, ["plugin.a"]);
    assert_eq!(offsets(&mut client).await, []);
}
