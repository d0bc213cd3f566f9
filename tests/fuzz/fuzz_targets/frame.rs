//! Request headers, and the bodies of every served API's requests and responses, private ones too.
//!
//! Decoding must not panic, nor allocate more than a small multiple of its input. With debug assertions on
//! (cargo-fuzz's default), `decode_body` also checks that the layout tables agree with the decoders.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_protocol::api::{ApiSpec, SERVED};
use millrace_protocol::frame::{RequestFrame, decode_body, decode_response_header};
use millrace_protocol::layout::Guarded;
use millrace_protocol::messages::*;
use millrace_protocol::plugins::{ManageRequest, ModuleChunk, PartitionRecords, from_json};
use millrace_protocol::{ApiKey, Request};

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    if let Ok(request) = RequestFrame::decode(frame.clone())
        && let Ok(key) = ApiKey::try_from(request.api_key)
    {
        decode_request(key, request.api_version, request.body);
    }
    // The same bytes as a body that is known to be of a served version.
    let [api, version, ..] = *data else { return };
    let spec = &SERVED[usize::from(api) % SERVED.len()];
    let version = spec.min + i16::from(version) % (spec.max - spec.min + 1);
    decode_request(spec.key, version, frame.slice(2..));
    decode_response(spec, version, frame.slice(2..));
    decode_private(&frame);
});

/// The bodies of requests that Kafka does not have. What decodes is the same again after it is encoded.
fn decode_private(body: &Bytes) {
    if let Ok(chunk) = ModuleChunk::decode(body.clone()) {
        assert_eq!(ModuleChunk::decode(chunk.encode()), Ok(chunk));
    }
    if let Ok(records) = PartitionRecords::decode(body.clone()) {
        let prefix = PartitionRecords::encode_prefix(&records.topic, records.partitions);
        assert_eq!([prefix, records.batch].concat(), *body);
    }
    let _ = PartitionRecords::decode_answer(body.clone());
    let _ = from_json::<ManageRequest>(body);
}

/// Calls a function of the request type that `$key` stands for.
macro_rules! dispatch {
    ($key:expr, $call:ident($($argument:expr),*)) => {
        match $key {
            ApiKey::Produce => $call::<ProduceRequest>($($argument),*),
            ApiKey::Fetch => $call::<FetchRequest>($($argument),*),
            ApiKey::ListOffsets => $call::<ListOffsetsRequest>($($argument),*),
            ApiKey::Metadata => $call::<MetadataRequest>($($argument),*),
            ApiKey::FindCoordinator => $call::<FindCoordinatorRequest>($($argument),*),
            ApiKey::ApiVersions => $call::<ApiVersionsRequest>($($argument),*),
            ApiKey::CreateTopics => $call::<CreateTopicsRequest>($($argument),*),
            ApiKey::DeleteTopics => $call::<DeleteTopicsRequest>($($argument),*),
            ApiKey::DeleteRecords => $call::<DeleteRecordsRequest>($($argument),*),
            ApiKey::InitProducerId => $call::<InitProducerIdRequest>($($argument),*),
            ApiKey::OffsetForLeaderEpoch => $call::<OffsetForLeaderEpochRequest>($($argument),*),
            ApiKey::DescribeConfigs => $call::<DescribeConfigsRequest>($($argument),*),
            ApiKey::AlterConfigs => $call::<AlterConfigsRequest>($($argument),*),
            ApiKey::DescribeLogDirs => $call::<DescribeLogDirsRequest>($($argument),*),
            ApiKey::CreatePartitions => $call::<CreatePartitionsRequest>($($argument),*),
            ApiKey::IncrementalAlterConfigs => $call::<IncrementalAlterConfigsRequest>($($argument),*),
            ApiKey::DescribeCluster => $call::<DescribeClusterRequest>($($argument),*),
            ApiKey::DescribeTopicPartitions => $call::<DescribeTopicPartitionsRequest>($($argument),*),
            ApiKey::OffsetCommit => $call::<OffsetCommitRequest>($($argument),*),
            ApiKey::OffsetFetch => $call::<OffsetFetchRequest>($($argument),*),
            ApiKey::JoinGroup => $call::<JoinGroupRequest>($($argument),*),
            ApiKey::Heartbeat => $call::<HeartbeatRequest>($($argument),*),
            ApiKey::LeaveGroup => $call::<LeaveGroupRequest>($($argument),*),
            ApiKey::SyncGroup => $call::<SyncGroupRequest>($($argument),*),
            ApiKey::DescribeGroups => $call::<DescribeGroupsRequest>($($argument),*),
            ApiKey::ListGroups => $call::<ListGroupsRequest>($($argument),*),
            ApiKey::AddPartitionsToTxn => $call::<AddPartitionsToTxnRequest>($($argument),*),
            ApiKey::EndTxn => $call::<EndTxnRequest>($($argument),*),
            ApiKey::WriteTxnMarkers => $call::<WriteTxnMarkersRequest>($($argument),*),
            ApiKey::DeleteGroups => $call::<DeleteGroupsRequest>($($argument),*),
            ApiKey::OffsetDelete => $call::<OffsetDeleteRequest>($($argument),*),
            ApiKey::DescribeProducers => $call::<DescribeProducersRequest>($($argument),*),
            ApiKey::DescribeTransactions => $call::<DescribeTransactionsRequest>($($argument),*),
            ApiKey::ListTransactions => $call::<ListTransactionsRequest>($($argument),*),
            ApiKey::ConsumerGroupHeartbeat => $call::<ConsumerGroupHeartbeatRequest>($($argument),*),
            ApiKey::ConsumerGroupDescribe => $call::<ConsumerGroupDescribeRequest>($($argument),*),
            key => assert!(!SERVED.iter().any(|spec| spec.key == key), "{key:?} is served but not fuzzed"),
        }
    };
}

fn decode_request(key: ApiKey, version: i16, mut body: Bytes) {
    fn decode<R: Request + Guarded>(body: &mut Bytes, version: i16) {
        let _ = decode_body::<R>(body, version);
    }
    dispatch!(key, decode(&mut body, version));
}

fn decode_response(spec: &ApiSpec, version: i16, frame: Bytes) {
    fn decode<R: Request>(body: &mut Bytes, version: i16)
    where
        R::Response: Guarded,
    {
        let _ = decode_body::<R::Response>(body, version);
    }
    if let Ok((_, mut body)) = decode_response_header(frame, spec.key, version) {
        dispatch!(spec.key, decode(&mut body, version));
    }
}
