//! Produce: what is acknowledged, when, and what is refused.

mod common;

use bytes::Bytes;
use common::TestBroker;
use common::records::{batch, batch_at, compressed, idempotent, now_ms, values};
use common::requests::*;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::ProducerState;
use millrace_protocol::compression::Codec;
use millrace_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_protocol::messages::*;
use millrace_transport::{CloseReason, Reply};

#[tokio::test]
async fn what_is_produced_is_fetched_in_every_version() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]).await;
    for version in 3..=12 {
        let response = client.call(version, produce("t", 0, -1, batch(&["a", "b"]))).await;
        assert_eq!(produced(&response).error_code, 0, "version {version}");
        assert_eq!(produced(&response).base_offset, i64::from(version - 3) * 2);
    }
    let response = client.call(13, produce_by_id(id, 0, batch(&["last"]))).await;
    assert_eq!((produced(&response).error_code, produced(&response).base_offset), (0, 20));
    assert_eq!(response.responses[0].topic_id, id);
    for version in 4..=12 {
        let mut response = client.call(version, fetch("t", vec![fetch_partition(0, 19)])).await;
        let answer = &mut response.responses[0].partitions[0];
        assert_eq!((answer.error_code, answer.high_watermark), (0, 21), "version {version}");
        assert_eq!(
            values(answer.records.take()),
            ["a", "b", "last"],
            "whole batches, from the one that holds 19"
        );
    }
    for version in 13..=18 {
        let mut response = client.call(version, fetch_by_id(id, vec![fetch_partition(0, 20)])).await;
        let answer = &mut response.responses[0].partitions[0];
        assert_eq!((answer.error_code, answer.log_start_offset), (0, 0), "version {version}");
        assert_eq!(values(answer.records.take()), ["last"]);
    }
}

#[tokio::test]
async fn acks_decide_when_and_whether_there_is_an_answer() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let leader = client.start(9, produce("t", 0, 1, batch(&["leader"]))).await;
    assert_eq!(produced(&leader.response().await).base_offset, 0);
    let log = broker.log.partition(&broker.log.partitions()[0]).unwrap();
    // It was asserted that it waits for nobody; Kafka's clients then find an end behind what they were told.
    assert!(log.durable_end_offset() >= 1, "acks=1 is answered when it is on this broker's disk");
    assert_eq!(client.read("t", 0, 0).await, ["leader"], "and can be read then");
    let all = client.start(9, produce("t", 0, -1, batch(&["all"]))).await;
    assert_eq!(produced(&all.response().await).base_offset, 1);
    assert!(log.durable_end_offset() >= 2, "acks=all is answered when it is on disk");
    let none = client.try_start(9, produce("t", 0, 0, batch(&["none"]))).await.unwrap();
    assert!(matches!(none, Reply::None));
    assert_eq!(client.read("t", 0, 2).await, ["none"]);
    let failed = client.try_start(9, produce("absent", 0, 0, batch(&["lost"]))).await;
    assert!(
        matches!(failed, Err(CloseReason::Service(_))),
        "acks=0 learns of an error by the connection's end"
    );
    let invalid = client.call(9, produce("t", 0, 2, batch(&["x"]))).await;
    assert_eq!(produced(&invalid).error_code, ErrorCode::InvalidRequiredAcks.code());
}

#[tokio::test]
async fn requests_in_flight_are_appended_in_order() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let mut in_flight = Vec::new();
    for number in 0..50 {
        in_flight.push(client.start(9, produce("t", 0, -1, batch(&[&number.to_string()]))).await);
    }
    for (number, sent) in (0..).zip(in_flight) {
        assert_eq!(produced(&sent.response().await).base_offset, number);
    }
}

#[tokio::test]
async fn each_partition_gets_its_own_error() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 2, &[]).await;
    let mut request = produce("t", 0, -1, batch(&["good"]));
    request.topic_data.extend([
        produce("t", 9, -1, batch(&["no such partition"])).topic_data.remove(0),
        produce("absent", 0, -1, batch(&["no such topic"])).topic_data.remove(0),
        produce("t", 1, -1, batch(&["also good"])).topic_data.remove(0),
    ]);
    let response = client.call(9, request).await;
    let codes: Vec<_> =
        response.responses.iter().map(|topic| topic.partition_responses[0].error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [0, unknown, unknown, 0]);
    let by_id = client.call(13, produce_by_id(uuid::Uuid::new_v4(), 0, batch(&["x"]))).await;
    assert_eq!(produced(&by_id).error_code, ErrorCode::UnknownTopicId.code());
    let labels = [("api", "Produce"), ("code", "UnknownTopicOrPartition")];
    assert_eq!(broker.metric("millrace_request_errors_total", &labels), 2.0);
}

#[tokio::test]
async fn records_that_are_wrong_are_refused_with_a_reason() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("max.message.bytes", "1000")]).await;
    let good = batch(&["x"]);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = good.to_vec();
    old[16] = 1;
    let cases = [
        (Bytes::new(), ErrorCode::InvalidRecord),
        (Bytes::from(flipped), ErrorCode::CorruptMessage),
        (good.slice(..good.len() - 1), ErrorCode::InvalidRecord),
        (good.slice(..20), ErrorCode::InvalidRecord),
        (batch(&["y".repeat(2000).as_str()]), ErrorCode::MessageTooLarge),
    ];
    for (position, (records, error)) in cases.into_iter().enumerate() {
        let response = client.call(9, produce("t", 0, -1, records)).await;
        let answer = produced(&response);
        assert_eq!(ErrorCode::try_from_code(answer.error_code), Some(error), "case {position}");
        assert!(answer.error_message.is_some(), "case {position}");
        assert_eq!(answer.base_offset, -1);
    }
    let response = client.call(9, produce("t", 0, -1, Bytes::from(old))).await;
    assert_ne!(produced(&response).error_code, 0, "an old record format");
    let zstd = client.call(6, produce("t", 0, -1, compressed(Codec::Zstd, &["z"]))).await;
    assert_eq!(produced(&zstd).error_code, ErrorCode::UnsupportedCompressionType.code());
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let response = client.call(7, produce("t", 0, -1, compressed(codec, &["c"]))).await;
        assert_eq!(produced(&response).error_code, 0, "{codec:?}");
    }
    assert_eq!(client.read("t", 0, 0).await, ["c"; 4], "nothing of what was refused is in the log");
}

#[tokio::test]
async fn a_partition_s_records_are_one_batch_that_begins_at_zero() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let good = batch(&["x"]);
    let mut later = good.to_vec();
    later[7] = 1;
    let cases = [
        ("two", [&good[..], &good[..]].concat()),
        ("one and a half", [&good[..], &good[..50]].concat()),
        ("a base offset", later),
    ];
    for (what, records) in cases {
        for version in [3, 9, 12] {
            let response = client.call(version, produce("t", 0, -1, Bytes::from(records.clone()))).await;
            let answer = produced(&response);
            assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code(), "{what}");
            assert_eq!(answer.error_message.is_some(), version >= 8, "{what} in words");
        }
    }
    client.write("t", 0, &["y"]).await;
    assert_eq!(client.read("t", 0, 0).await, ["y"], "nothing of what was refused is in the log");
}

#[tokio::test]
async fn a_refusal_of_what_records_are_tells_where_the_log_starts() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("max.message.bytes", "1000")]).await;
    client.write("t", 0, &["a", "b", "c"]).await;
    let partition = DeleteRecordsPartition::default().with_offset(2);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(client.call(2, request).await.topics[0].partitions[0].low_watermark, 2);
    let good = batch(&["x"]);
    let (mut later, mut flipped) = (good.to_vec(), good.to_vec());
    later[7] = 1;
    *flipped.last_mut().unwrap() ^= 1;
    let cases = [
        ("a base offset", Bytes::from(later), 2),
        ("a gap", idempotent(7, 0, 3, &["x"]), 2),
        ("a checksum", Bytes::from(flipped), -1),
        ("too much", batch(&["y".repeat(2000).as_str()]), -1),
        ("nothing", Bytes::new(), -1),
    ];
    for (what, records, told) in cases {
        let response = client.call(9, produce("t", 0, -1, records)).await;
        assert_ne!(produced(&response).error_code, 0, "{what}");
        assert_eq!(produced(&response).log_start_offset, told, "{what}");
    }
}

#[tokio::test]
async fn a_compacted_topic_names_the_records_without_a_key() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("cleanup.policy", "compact")]).await;
    let response = client.call(9, produce("t", 0, -1, batch(&["a", "b"]))).await;
    let answer = produced(&response);
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
    let blamed: Vec<_> = answer.record_errors.iter().map(|record| record.batch_index).collect();
    assert_eq!(blamed, [0, 1]);
    let keyed = batch_at(ProducerState::NONE, now_ms(), Some(b"k"), &["a"]);
    assert_eq!(produced(&client.call(9, produce("t", 0, -1, keyed)).await).error_code, 0);
}

#[tokio::test]
async fn log_append_time_is_told() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = now_ms();
    let response = client.call(9, produce("t", 0, -1, batch(&["a"]))).await;
    assert!(produced(&response).log_append_time_ms >= before);
}

async fn producer_id(client: &mut common::Client) -> i64 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let response = client.call(4, request).await;
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    response.producer_id.0
}

#[tokio::test]
async fn an_idempotent_producer_is_recognised_across_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let id = producer_id(&mut client).await;
    let first = client.call(9, produce("t", 0, -1, idempotent(id, 0, 0, &["a", "b"]))).await;
    assert_eq!(produced(&first).base_offset, 0);
    let again = client.call(9, produce("t", 0, -1, idempotent(id, 0, 0, &["a", "b"]))).await;
    assert_eq!((produced(&again).error_code, produced(&again).base_offset), (0, 0), "a duplicate");
    let gap = client.call(9, produce("t", 0, -1, idempotent(id, 0, 5, &["f"]))).await;
    assert_eq!(produced(&gap).error_code, ErrorCode::OutOfOrderSequenceNumber.code());

    let broker = broker.restart().await;
    let mut client = broker.client();
    let again = client.call(9, produce("t", 0, -1, idempotent(id, 0, 0, &["a", "b"]))).await;
    assert_eq!((produced(&again).error_code, produced(&again).base_offset), (0, 0), "still a duplicate");
    let next = client.call(9, produce("t", 0, -1, idempotent(id, 0, 2, &["c"]))).await;
    assert_eq!((produced(&next).error_code, produced(&next).base_offset), (0, 2));
    assert_eq!(client.read("t", 0, 0).await, ["a", "b", "c"]);
    let epoch = client.call(9, produce("t", 0, -1, idempotent(id, 1, 0, &["d"]))).await;
    assert_eq!(produced(&epoch).error_code, 0, "a new epoch starts anew");
    let fenced = client.call(9, produce("t", 0, -1, idempotent(id, 0, 3, &["e"]))).await;
    assert_eq!(produced(&fenced).error_code, ErrorCode::InvalidProducerEpoch.code());
    assert!(producer_id(&mut client).await > id, "an id is never given out twice");
}

#[tokio::test]
async fn a_relaxed_flush_policy_is_not_made_to_wait() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[("flush.messages", "9223372036854775807")]).await;
    for acks in [1, -1] {
        let sent = client.start(9, produce("t", 0, acks, batch(&["a"]))).await;
        let answer = sent.later();
        let response = futures::FutureExt::now_or_never(answer).expect("acknowledged with the append");
        assert_eq!(produced(&response).error_code, 0);
    }
    assert_eq!(client.read("t", 0, 0).await, ["a", "a"], "what is acknowledged can be read");
}

#[tokio::test]
async fn a_producer_without_patience_is_told_that_its_time_is_up() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let mut timed_out = false;
    for _ in 0..1_000 {
        let request = produce("t", 0, -1, batch(&["a"])).with_timeout_ms(0);
        let code = produced(&client.call(9, request).await).error_code;
        assert!(code == 0 || code == ErrorCode::RequestTimedOut.code());
        timed_out |= code != 0;
        if timed_out {
            break;
        }
    }
    assert!(timed_out, "no disk is as quick as that a thousand times");
}

/// Its numbers go on, as its client knows nothing of the deletion; where nothing was deleted they begin at 0.
#[tokio::test]
async fn a_producer_goes_on_in_a_topic_that_is_made_again() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let id = producer_id(&mut client).await;
    let first = client.call(9, produce("t", 0, -1, idempotent(id, 0, 0, &["a", "b"]))).await;
    assert_eq!(produced(&first).error_code, 0);
    let deletion =
        DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]).with_timeout_ms(10_000);
    assert_eq!(client.call(5, deletion).await.responses[0].error_code, 0);
    client.create_topic("t", 1, &[]).await;
    client.create_topic("u", 1, &[]).await;
    let next = client.call(9, produce("t", 0, -1, idempotent(id, 0, 2, &["c"]))).await;
    assert_eq!((produced(&next).error_code, produced(&next).base_offset), (0, 0));
    let gap = client.call(9, produce("t", 0, -1, idempotent(id, 0, 4, &["e"]))).await;
    assert_eq!(produced(&gap).error_code, ErrorCode::OutOfOrderSequenceNumber.code());
    let elsewhere = client.call(9, produce("u", 0, -1, idempotent(id, 0, 2, &["c"]))).await;
    assert_eq!(produced(&elsewhere).error_code, ErrorCode::OutOfOrderSequenceNumber.code());
}
