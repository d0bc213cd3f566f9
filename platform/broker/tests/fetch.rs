//! Fetch: long polls, limits, sessions, fencing.

mod common;

use std::time::Duration;

use common::records::{batch, values};
use common::requests::*;
use common::{Client, TestBroker};
use futures::FutureExt;
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use millrace_protocol::messages::*;

#[tokio::test]
async fn a_long_poll_wakes_when_records_come() {
    let broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 2, &[]).await;
    let request = fetch("t", vec![fetch_partition(0, 0), fetch_partition(1, 0)]).with_max_wait_ms(60_000);
    let mut polling = reader.start(11, request).await.later();
    assert!((&mut polling).now_or_never().is_none(), "there is nothing to read");
    writer.write("t", 1, &["news"]).await;
    let mut response = polling.await;
    assert_eq!(values(response.responses[0].partitions[1].records.take()), ["news"]);
    assert_eq!(response.responses[0].partitions[1].high_watermark, 1);
}

#[tokio::test]
async fn a_long_poll_waits_for_min_bytes_and_no_longer_than_max_wait() {
    let broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 1, &[]).await;
    let enough = batch(&["12345"]).len() as i32 * 2;
    let request = fetch("t", vec![fetch_partition(0, 0)]).with_max_wait_ms(60_000).with_min_bytes(enough);
    let mut polling = reader.start(11, request).await.later();
    assert!((&mut polling).now_or_never().is_none());
    writer.write("t", 0, &["12345"]).await;
    let early = tokio::time::timeout(Duration::from_millis(50), &mut polling).await;
    assert!(early.is_err(), "half of it is not enough");
    writer.write("t", 0, &["67890"]).await;
    let mut response = polling.await;
    assert_eq!(values(response.responses[0].partitions[0].records.take()), ["12345", "67890"]);

    let request = fetch("t", vec![fetch_partition(0, 2)]).with_max_wait_ms(30);
    let response = reader.call(11, request).await;
    assert_eq!((fetched(&response).error_code, fetched(&response).high_watermark), (0, 2));
    assert!(fetched(&response).records.as_ref().is_none_or(bytes::Bytes::is_empty));
}

/// While it waits it holds no records, so those that were there first are read again.
#[tokio::test]
async fn a_long_poll_has_what_was_there_before_it_waited() {
    let broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 2, &[]).await;
    writer.write("t", 0, &["12345"]).await;
    let enough = batch(&["12345"]).len() as i32 * 2;
    let partitions = vec![fetch_partition(0, 0), fetch_partition(1, 0)];
    let request = fetch("t", partitions).with_max_wait_ms(60_000).with_min_bytes(enough);
    let mut polling = reader.start(11, request).await.later();
    assert!((&mut polling).now_or_never().is_none(), "half of it is not enough");
    writer.write("t", 1, &["67890"]).await;
    let mut response = polling.await;
    for (partition, expect) in [(0, ["12345"]), (1, ["67890"])] {
        assert_eq!(values(response.responses[0].partitions[partition].records.take()), expect);
    }
}

#[tokio::test]
async fn a_dropped_long_poll_leaves_nothing_behind() {
    let broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 1, &[]).await;
    for _ in 0..3 {
        let request = fetch("t", vec![fetch_partition(0, 0)]).with_max_wait_ms(60_000);
        let mut polling = reader.start(11, request).await.later();
        assert!((&mut polling).now_or_never().is_none());
    }
    writer.write("t", 0, &["a"]).await;
    assert_eq!(reader.read("t", 0, 0).await, ["a"]);
}

#[tokio::test]
async fn limits_are_kept_but_one_batch_always_comes() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 2, &[]).await;
    for partition in [0, 1] {
        for value in ["a", "b", "c"] {
            client.write("t", partition, &[value]).await;
        }
    }
    let one = batch(&["a"]).len() as i32;
    let both = || vec![fetch_partition(0, 0), fetch_partition(1, 0)];
    let read = async |client: &mut Client, request: FetchRequest| -> Vec<Vec<String>> {
        let response = client.call(11, request).await;
        response.responses.into_iter().flat_map(|topic| topic.partitions).map(|p| values(p.records)).collect()
    };
    let tiny = read(&mut client, fetch("t", both()).with_max_bytes(1)).await;
    assert_eq!(tiny, [vec!["a"], vec![]], "the first partition gets a batch although it is too large");
    let four = read(&mut client, fetch("t", both()).with_max_bytes(one * 4)).await;
    assert_eq!(four, [vec!["a", "b", "c"], vec!["a"]]);
    let narrow = both().into_iter().map(|partition| partition.with_partition_max_bytes(one)).collect();
    assert_eq!(read(&mut client, fetch("t", narrow)).await, [["a"], ["a"]]);
}

#[tokio::test]
async fn wrong_offsets_epochs_and_names_get_their_errors() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    client.write("t", 0, &["a"]).await;
    let cases = [
        (fetch("t", vec![fetch_partition(0, 99)]), ErrorCode::OffsetOutOfRange),
        (fetch("t", vec![fetch_partition(0, -5)]), ErrorCode::OffsetOutOfRange),
        (fetch("t", vec![fetch_partition(7, 0)]), ErrorCode::UnknownTopicOrPartition),
        (fetch("absent", vec![fetch_partition(0, 0)]), ErrorCode::UnknownTopicOrPartition),
        (
            fetch("t", vec![fetch_partition(0, 0).with_current_leader_epoch(1_000)]),
            ErrorCode::UnknownLeaderEpoch,
        ),
        (
            fetch("t", vec![fetch_partition(0, 0)]).with_replica_id(BrokerId(2)),
            ErrorCode::NotLeaderOrFollower,
        ),
    ];
    for (request, error) in cases {
        let waiting = request.with_max_wait_ms(60_000);
        let response = client.call(11, waiting).await;
        assert_eq!(ErrorCode::try_from_code(fetched(&response).error_code), Some(error));
    }
    let by_id = fetch_by_id(uuid::Uuid::new_v4(), vec![fetch_partition(0, 0)]);
    let response = client.call(13, by_id).await;
    assert_eq!(fetched(&response).error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn a_log_that_went_another_way_is_told_where() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    client.write("t", 0, &["a"]).await;
    let ahead = fetch_partition(0, 5).with_last_fetched_epoch(0);
    let response = client.call(12, fetch("t", vec![ahead]).with_max_wait_ms(60_000)).await;
    assert_eq!(fetched(&response).error_code, 0);
    let diverging = &fetched(&response).diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 1));
    let unknown = fetch_partition(0, 1).with_last_fetched_epoch(1_000);
    let response = client.call(12, fetch("t", vec![unknown])).await;
    assert_eq!(fetched(&response).error_code, ErrorCode::OffsetOutOfRange.code(), "as in Kafka");
}

#[tokio::test]
async fn read_committed_sees_everything_while_there_are_no_transactions() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    client.write("t", 0, &["a"]).await;
    let request = fetch("t", vec![fetch_partition(0, 0)]).with_isolation_level(1);
    let mut response = client.call(11, request).await;
    let answer = &mut response.responses[0].partitions[0];
    assert_eq!(answer.last_stable_offset, 1);
    assert_eq!(answer.aborted_transactions.as_ref().map(Vec::len), Some(0));
    assert_eq!(values(answer.records.take()), ["a"]);
}

/// The same request as part of a session.
fn in_session(request: FetchRequest, id: i32, epoch: i32) -> FetchRequest {
    request.with_session_id(id).with_session_epoch(epoch)
}

#[tokio::test]
async fn a_session_tells_only_what_changed() {
    let broker = TestBroker::start().await;
    let (mut client, mut writer) = (broker.client(), broker.client());
    let topic = client.create_topic("t", 3, &[]).await;
    for by_id in [false, true] {
        let version = if by_id { 13 } else { 12 };
        let request = |partitions| {
            if by_id { fetch_by_id(topic, partitions) } else { fetch("t", partitions) }
        };
        let end = writer.list_offset(7, "t", -1).await.offset;
        let all = vec![fetch_partition(0, end), fetch_partition(1, 0), fetch_partition(2, 0)];
        let opened = client.call(version, in_session(request(all), 0, 0)).await;
        let id = opened.session_id;
        assert_ne!(id, 0);
        assert_eq!(opened.responses[0].partitions.len(), 3, "all of them at first");
        assert_eq!(broker.metric("millrace_fetch_session_partitions", &[]), 3.0);

        let none = || in_session(request(vec![]), id, 0).with_topics(vec![]);
        let silent = client.call(version, none().with_session_epoch(1)).await;
        assert_eq!((silent.error_code, silent.responses.len()), (0, 0), "nothing changed");

        writer.write("t", 0, &["x"]).await;
        let changed = client.call(version, none().with_session_epoch(2)).await;
        let partitions: Vec<_> = changed.responses[0].partitions.iter().map(|p| p.partition_index).collect();
        assert_eq!(partitions, [0], "only the one that was written to");

        let waiting = none().with_session_epoch(3).with_max_wait_ms(60_000);
        let waiting = waiting.with_topics(request(vec![fetch_partition(0, end + 1)]).topics);
        let mut polling = client.start(version, waiting).await.later();
        assert!((&mut polling).now_or_never().is_none(), "a long poll on all partitions of the session");
        writer.write("t", 0, &["y"]).await;
        assert_eq!(values(polling.await.responses[0].partitions[0].records.take()), ["y"]);

        let forget = ForgottenTopic::default().with_partitions(vec![0, 1]);
        let forget = if by_id { forget.with_topic_id(topic) } else { forget.with_topic(topic_name("t")) };
        let forgotten =
            client.call(version, none().with_session_epoch(4).with_forgotten_topics_data(vec![forget])).await;
        assert_eq!(
            (forgotten.error_code, forgotten.responses.len()),
            (0, 0),
            "0 has records, but is forgotten"
        );

        let repeated = client.call(version, none().with_session_epoch(4)).await;
        assert_eq!(repeated.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
        client.call(version, none().with_session_epoch(-1)).await;
        let closed = client.call(version, none().with_session_epoch(5)).await;
        assert_eq!(closed.error_code, ErrorCode::FetchSessionIdNotFound.code());
    }
}

#[tokio::test]
async fn a_session_keeps_to_names_or_ids() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let opened = client.call(12, in_session(fetch("t", vec![fetch_partition(0, 0)]), 0, 0)).await;
    let by_id = in_session(fetch("t", vec![]), opened.session_id, 1).with_topics(vec![]);
    let response = client.call(13, by_id).await;
    assert_eq!(response.error_code, ErrorCode::FetchSessionTopicIdError.code());
}

#[tokio::test]
async fn sessions_are_bounded() {
    let broker = TestBroker::start_with(|config| config.limits.fetch_sessions = 1).await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let open = || in_session(fetch("t", vec![fetch_partition(0, 0)]), 0, 0);
    assert_ne!(client.call(11, open()).await.session_id, 0);
    let second = client.call(11, open()).await;
    assert_eq!((second.session_id, second.error_code), (0, 0), "answered in full, without a session");
}

#[tokio::test]
async fn a_deleted_topic_ends_a_long_poll() {
    let broker = TestBroker::start().await;
    let (mut reader, mut admin) = (broker.client(), broker.client());
    admin.create_topic("t", 1, &[]).await;
    let request = fetch("t", vec![fetch_partition(0, 0)]).with_max_wait_ms(60_000);
    let mut polling = reader.start(11, request).await.later();
    assert!((&mut polling).now_or_never().is_none());
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(admin.call(5, delete).await.responses[0].error_code, 0);
    let response = polling.await;
    assert_eq!(fetched(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn a_broker_that_is_about_to_stop_ends_long_polls() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let request = || fetch("t", vec![fetch_partition(0, 0)]).with_max_wait_ms(60_000);
    let mut polling = client.start(11, request()).await.later();
    assert!((&mut polling).now_or_never().is_none());
    broker.broker.drain();
    assert_eq!(fetched(&polling.await).error_code, 0);
    assert!(client.start(11, request()).await.is_ready(), "and does not begin new ones");
}

#[tokio::test]
async fn what_left_the_memory_is_read_from_disk() {
    let broker = TestBroker::start_with(|config| config.log.tail_bytes = 1 << 20).await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let value = "v".repeat(100_000);
    for _ in 0..40 {
        client.write("t", 0, &[&value]).await;
    }
    let read = client.read("t", 0, 0).await;
    assert_eq!(read.len(), 40);
    assert!(read.iter().all(|read| *read == value));
    let mut topics = fetch("t", vec![fetch_partition(0, 0)]);
    topics.topics.push(FetchTopic::default().with_topic(topic_name("t")));
    let response = client.call(11, topics.with_min_bytes(1)).await;
    assert_eq!(fetched(&response).error_code, 0, "a topic without partitions does no harm");
}
