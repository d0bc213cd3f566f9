//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords.

#![allow(clippy::unwrap_used)]

mod common;

use common::TestBroker;
use common::records::batch_at;
use common::requests::*;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use millrace_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millrace_protocol::messages::*;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

async fn broker_with_times(times: &[i64]) -> (TestBroker, common::Client) {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    for time in times {
        let records = batch_at(ProducerState::NONE, *time, None, &["x"]);
        assert_eq!(produced(&client.call(9, produce("t", 0, -1, records)).await).error_code, 0);
    }
    (broker, client)
}

#[tokio::test]
async fn offsets_are_found_in_every_version() {
    let (_broker, mut client) = broker_with_times(&[1_000, 3_000, 2_000]).await;
    for version in 1..=10 {
        let earliest = client.list_offset(version, "t", EARLIEST).await;
        assert_eq!(earliest.offset, 0, "version {version}");
        assert_eq!(earliest.leader_epoch, if version >= 4 { 0 } else { -1 }, "version {version}");
        assert_eq!(client.list_offset(version, "t", LATEST).await.offset, 3);
        let found = client.list_offset(version, "t", 1_500).await;
        assert_eq!((found.error_code, found.offset, found.timestamp), (0, 1, 3_000), "the first that late");
        let none = client.list_offset(version, "t", 9_000).await;
        assert_eq!((none.error_code, none.offset, none.timestamp), (0, -1, -1));
    }
}

#[tokio::test]
async fn special_times_exist_since_their_version() {
    let (_broker, mut client) = broker_with_times(&[1_000, 3_000, 2_000]).await;
    for (time, since, offset) in [(-3, 7, 1), (-4, 8, 0), (-5, 9, -1)] {
        let found = client.list_offset(since, "t", time).await;
        assert_eq!((found.error_code, found.offset), (0, offset), "time {time}");
        let early = client.list_offset(since - 1, "t", time).await;
        assert_eq!(early.error_code, ErrorCode::UnsupportedVersion.code(), "time {time}");
    }
}

#[tokio::test]
async fn a_repeated_partition_and_a_wrong_epoch_are_refused() {
    let (_broker, mut client) = broker_with_times(&[]).await;
    let partition = ListOffsetsPartition::default().with_timestamp(LATEST);
    let twice = vec![partition.clone().with_current_leader_epoch(-1), partition.clone()];
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(twice);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let response = client.call(4, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::InvalidRequest.code());
    let newer = vec![partition.with_current_leader_epoch(1_000)];
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(newer);
    let response = client.call(4, ListOffsetsRequest::default().with_topics(vec![topic])).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownLeaderEpoch.code());
}

#[tokio::test]
async fn an_epoch_ends_where_the_log_does() {
    let (_broker, mut client) = broker_with_times(&[1_000, 2_000]).await;
    let epoch = client.list_offset(4, "t", LATEST).await.leader_epoch;
    for version in 2..=4 {
        let partition =
            OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
        let topic =
            OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let response = client.call(version, request).await;
        let answer = &response.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, epoch, 2));
    }
}

fn delete(offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset_and_stay_deleted() {
    let (broker, mut client) = broker_with_times(&[1_000, 2_000, 3_000]).await;
    let response = client.call(2, delete(2)).await;
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 2));
    let too_far = client.call(2, delete(99)).await;
    assert_eq!(too_far.topics[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange.code());
    let below = client.call(11, fetch("t", vec![fetch_partition(0, 1)])).await;
    assert_eq!(fetched(&below).error_code, ErrorCode::OffsetOutOfRange.code());

    let broker = broker.restart().await;
    let mut client = broker.client();
    assert_eq!(client.list_offset(4, "t", EARLIEST).await.offset, 2);
    let all = client.call(0, delete(-1)).await;
    assert_eq!(all.topics[0].partitions[0].low_watermark, 3);
    assert_eq!(client.list_offset(4, "t", EARLIEST).await.offset, 3);
}

#[tokio::test]
async fn after_a_crash_offsets_are_given_in_a_new_leader_epoch_and_after_a_stop_in_the_same() {
    let (broker, mut client) = broker_with_times(&[1_000, 2_000]).await;
    assert_eq!(client.list_offset(4, "t", LATEST).await.leader_epoch, 0);
    drop(client);
    let broker = broker.restart().await;
    let mut client = broker.client();
    assert_eq!(client.list_offset(4, "t", LATEST).await.leader_epoch, 0);
    drop(client);

    let broker = broker.crash().await;
    let mut client = broker.client();
    let latest = client.list_offset(4, "t", LATEST).await;
    assert_eq!((latest.offset, latest.leader_epoch), (2, 1));
    let records = batch_at(ProducerState::NONE, 3_000, None, &["x"]);
    assert_eq!(produced(&client.call(9, produce("t", 0, -1, records)).await).error_code, 0);
    let found = client.list_offset(4, "t", 3_000).await;
    assert_eq!((found.offset, found.leader_epoch), (2, 1), "what is written now is of the new epoch");
    assert_eq!(client.list_offset(4, "t", EARLIEST).await.leader_epoch, 0, "what was kept is of the old one");
    // A consumer that has read beyond what the crash kept learns where its epoch ended (KIP-320).
    let asked = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![asked]);
    let response = client.call(4, OffsetForLeaderEpochRequest::default().with_topics(vec![topic])).await;
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, 0, 2));
}

/// Batches of several records each, with these times.
async fn broker_with_batches(batches: &[&[i64]], codec: Codec) -> (TestBroker, common::Client) {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    for times in batches {
        let mut builder = BatchBuilder::default();
        for time in *times {
            builder.append(*time, None, Some(b"x"), &[]);
        }
        let records = builder.finish(codec, ProducerState::NONE).unwrap();
        assert_eq!(produced(&client.call(9, produce("t", 0, -1, records)).await).error_code, 0);
    }
    (broker, client)
}

#[tokio::test]
async fn what_was_deleted_from_the_middle_of_a_batch_is_not_found_by_time() {
    for codec in [Codec::None, Codec::Lz4] {
        let (_broker, mut client) =
            broker_with_batches(&[&[9_000, 1_000, 3_000], &[2_000, 5_000, 5_000], &[4_000]], codec).await;
        assert_eq!(client.list_offset(7, "t", MAX_TIMESTAMP).await.offset, 0);
        client.call(2, delete(1)).await;
        let found = client.list_offset(7, "t", 4_500).await;
        assert_eq!((found.offset, found.timestamp), (4, 5_000), "on to the next batch");
        let newest = client.list_offset(7, "t", MAX_TIMESTAMP).await;
        assert_eq!((newest.offset, newest.timestamp), (4, 5_000), "the first of those that are left");
        assert_eq!(client.list_offset(7, "t", 6_000).await.offset, -1);
        client.call(2, delete(5)).await;
        assert_eq!(client.list_offset(7, "t", MAX_TIMESTAMP).await.offset, 5);
        client.call(2, delete(6)).await;
        let newest = client.list_offset(7, "t", MAX_TIMESTAMP).await;
        assert_eq!((newest.offset, newest.timestamp), (6, 4_000));
        client.call(2, delete(7)).await;
        assert_eq!(client.list_offset(7, "t", MAX_TIMESTAMP).await.offset, -1);
    }
}

#[tokio::test]
async fn the_latest_time_is_found_within_a_batch_that_is_half_deleted() {
    let (_broker, mut client) = broker_with_batches(&[&[9_000, 1_000, 2_000]], Codec::Gzip).await;
    client.call(2, delete(1)).await;
    let newest = client.list_offset(7, "t", MAX_TIMESTAMP).await;
    assert_eq!((newest.offset, newest.timestamp), (2, 2_000));
}
