//! The hand-written encoders against `kafka-protocol`: in every version, its decoder reads what was meant,
//! and the records in the frame are the very memory that was handed in.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchResponse, ProduceRequest};
use millrace_base::{Payload, Piece, TopicId};
use millrace_protocol::StrBytes;
use millrace_protocol::fetch::{
    FetchReply, FetchReplyPartition, FetchReplyTopic, NodeEndpoint, encode_fetch_response,
};
use millrace_protocol::frame::{RequestFrame, decode_body, decode_response_header, frame_len};
use millrace_protocol::produce::{ProduceBody, ProducePartition, ProduceTopic, encode_produce_request};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z.]{0,150}".prop_map(StrBytes::from_string)
}

fn topic_id() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(|id| format!("{id:032x}").parse().unwrap())
}

/// Records in several pieces.
fn records() -> impl Strategy<Value = Payload> {
    vec(vec(any::<u8>(), 0..200), 0..4).prop_map(|pieces| {
        let mut payload = Payload::new();
        for piece in pieces {
            payload.push_bytes(piece.into());
        }
        payload
    })
}

fn partition() -> impl Strategy<Value = FetchReplyPartition> {
    let offsets = (any::<i64>(), any::<i64>(), any::<i64>());
    let positive = || 0..i32::MAX;
    let tagged = (option::of((positive(), 0..i64::MAX)), option::of((positive(), positive())));
    let aborted = option::of(vec((any::<i64>(), any::<i64>()), 0..3));
    (any::<i32>(), any::<i16>(), offsets, any::<i32>(), tagged, aborted, records()).prop_map(
        |(index, error, offsets, preferred_read_replica, tagged, aborted, records)| FetchReplyPartition {
            index,
            error,
            high_watermark: offsets.0,
            last_stable_offset: offsets.1,
            log_start_offset: offsets.2,
            preferred_read_replica,
            diverging_epoch: tagged.0,
            current_leader: tagged.1,
            aborted,
            records,
        },
    )
}

fn reply() -> impl Strategy<Value = FetchReply> {
    let topic = (text(), topic_id(), vec(partition(), 0..3))
        .prop_map(|(name, topic_id, partitions)| FetchReplyTopic { name, topic_id, partitions });
    let endpoint = (any::<i32>(), text(), any::<i32>(), option::of(text()))
        .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port, rack });
    (any::<i32>(), any::<i16>(), any::<i32>(), vec(topic, 0..3), vec(endpoint, 0..3)).prop_map(
        |(throttle_ms, error, session_id, topics, node_endpoints)| FetchReply {
            throttle_ms,
            error,
            session_id,
            topics,
            node_endpoints,
        },
    )
}

/// The frame without its length prefix, which must be right.
fn unframe(frame: Payload) -> Bytes {
    let bytes = frame.read_to_bytes().unwrap();
    let prefix = bytes[..4].try_into().unwrap();
    assert_eq!(frame_len(prefix, usize::MAX), Ok(bytes.len() - 4));
    bytes.slice(4..)
}

/// Every piece of `records` appears in `frame` as the same memory.
fn assert_not_copied(frame: &Payload, records: &Payload) {
    let address = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.as_ptr(),
        Piece::File { .. } => unreachable!("these tests have no files"),
    };
    let sent: Vec<_> = frame.pieces().iter().map(address).collect();
    for piece in records.pieces() {
        assert!(sent.contains(&address(piece)));
    }
}

fn assert_same_reply(sent: &FetchReply, read: &FetchResponse, version: i16) {
    assert_eq!(read.throttle_time_ms, sent.throttle_ms);
    if version >= 7 {
        assert_eq!((read.error_code, read.session_id), (sent.error, sent.session_id));
    }
    let endpoints = read.node_endpoints.iter().map(|endpoint| NodeEndpoint {
        node_id: endpoint.node_id.0,
        host: endpoint.host.clone(),
        port: endpoint.port,
        rack: endpoint.rack.clone(),
    });
    let expected = if version >= 16 { &sent.node_endpoints[..] } else { &[] };
    assert_eq!(endpoints.collect::<Vec<_>>(), expected);
    assert_eq!(read.responses.len(), sent.topics.len());
    for (sent, read) in sent.topics.iter().zip(&read.responses) {
        if version >= 13 {
            assert_eq!(read.topic_id, sent.topic_id.0);
        } else {
            assert_eq!(*read.topic, sent.name);
        }
        assert_eq!(read.partitions.len(), sent.partitions.len());
        for (sent, read) in sent.partitions.iter().zip(&read.partitions) {
            assert_same_partition(sent, read, version);
        }
    }
}

fn assert_same_partition(
    sent: &FetchReplyPartition,
    read: &kafka_protocol::messages::fetch_response::PartitionData,
    version: i16,
) {
    assert_eq!((read.partition_index, read.error_code), (sent.index, sent.error));
    assert_eq!(
        (read.high_watermark, read.last_stable_offset),
        (sent.high_watermark, sent.last_stable_offset)
    );
    assert_eq!(read.log_start_offset, if version >= 5 { sent.log_start_offset } else { -1 });
    assert_eq!(
        read.preferred_read_replica,
        BrokerId(if version >= 11 { sent.preferred_read_replica } else { -1 })
    );
    let aborted = read.aborted_transactions.as_ref().map(|aborted| {
        aborted.iter().map(|transaction| (transaction.producer_id.0, transaction.first_offset)).collect()
    });
    assert_eq!(aborted, sent.aborted);
    let (epoch, leader) = (&read.diverging_epoch, &read.current_leader);
    let tagged = |value| if version >= 12 { value } else { None };
    assert_eq!((epoch.epoch, epoch.end_offset), tagged(sent.diverging_epoch).unwrap_or((-1, -1)));
    let expected_leader = if version >= 12 { sent.current_leader } else { None };
    assert_eq!((leader.leader_id.0, leader.leader_epoch), expected_leader.unwrap_or((-1, -1)));
    assert_eq!(read.records, Some(sent.records.clone().read_to_bytes().unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fetch_responses_read_as_meant(reply in reply(), correlation_id: i32) {
        for version in 4..=18 {
            let frame = encode_fetch_response(correlation_id, version, reply.clone()).unwrap();
            for partition in reply.topics.iter().flat_map(|topic| &topic.partitions) {
                assert_not_copied(&frame, &partition.records);
            }
            let (id, mut body) = decode_response_header(unframe(frame), ApiKey::Fetch, version).unwrap();
            prop_assert_eq!(id, correlation_id);
            let read: FetchResponse = decode_body(&mut body, version).unwrap();
            prop_assert!(body.is_empty());
            assert_same_reply(&reply, &read, version);
        }
    }

    #[test]
    fn produce_requests_read_as_meant(
        transactional_id in option::of(text()),
        acks: i16,
        timeout_ms: i32,
        client_id in option::of("[a-z]{0,20}"),
        topics in vec((text(), topic_id(), vec((any::<i32>(), records()), 0..3)), 0..3),
    ) {
        let topics = topics.into_iter().map(|(name, topic_id, partitions)| {
            let partitions =
                partitions.into_iter().map(|(index, records)| ProducePartition { index, records }).collect();
            ProduceTopic { name, topic_id, partitions }
        });
        let sent = ProduceBody { transactional_id, acks, timeout_ms, topics: topics.collect() };
        for version in 3..=13 {
            let frame = encode_produce_request(77, client_id.as_deref(), version, sent.clone()).unwrap();
            for partition in sent.topics.iter().flat_map(|topic| &topic.partitions) {
                assert_not_copied(&frame, &partition.records);
            }
            let mut request = RequestFrame::decode(unframe(frame)).unwrap();
            prop_assert_eq!(request.api_key, ApiKey::Produce as i16);
            prop_assert_eq!((request.api_version, request.correlation_id), (version, 77));
            prop_assert_eq!(request.client_id.as_deref(), client_id.as_deref());
            let read: ProduceRequest = decode_body(&mut request.body, version).unwrap();
            prop_assert!(request.body.is_empty());

            prop_assert_eq!(read.transactional_id.map(|id| id.0), sent.transactional_id.clone());
            prop_assert_eq!((read.acks, read.timeout_ms), (acks, timeout_ms));
            prop_assert_eq!(read.topic_data.len(), sent.topics.len());
            for (read, sent) in read.topic_data.iter().zip(&sent.topics) {
                if version >= 13 {
                    prop_assert_eq!(read.topic_id, sent.topic_id.0);
                } else {
                    prop_assert_eq!(&*read.name, &sent.name);
                }
                prop_assert_eq!(read.partition_data.len(), sent.partitions.len());
                for (read, sent) in read.partition_data.iter().zip(&sent.partitions) {
                    prop_assert_eq!(read.index, sent.index);
                    prop_assert_eq!(&read.records, &Some(sent.records.clone().read_to_bytes().unwrap()));
                }
            }
        }
    }
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for version in [3, 19] {
        assert!(encode_fetch_response(1, version, FetchReply::default()).is_err());
    }
    for version in [2, 14] {
        assert!(encode_produce_request(1, None, version, ProduceBody::default()).is_err());
    }
}
