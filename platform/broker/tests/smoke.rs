//! Every API answers every version it claims to serve, and refuses others as Kafka does.

mod common;

use bytes::{BufMut, Bytes, BytesMut};
use common::{Client, TestBroker};
use millrace_protocol::api::{SERVED, served};
use millrace_protocol::messages::*;
use millrace_protocol::{ApiKey, ErrorCode, Request};
use millrace_transport::{CloseReason, Reply};

/// Sends a default request in every served version; `adapt` makes one that the version can express.
async fn smoke<R: Request + Default>(client: &mut Client, tried: &mut Vec<ApiKey>, adapt: fn(i16) -> R) {
    let key = ApiKey::try_from(R::KEY).expect("a key of Kafka");
    let spec = served(R::KEY).unwrap_or_else(|| panic!("{key:?} is not served"));
    for version in spec.min..=spec.max {
        client.call(version, adapt(version)).await;
    }
    tried.push(key);
}

fn default<R: Default>(_: i16) -> R {
    R::default()
}

#[tokio::test]
async fn every_served_version_of_every_api_answers() {
    let broker = TestBroker::start().await;
    let (mut client, mut tried) = (broker.client(), Vec::new());
    let (client, tried_ref) = (&mut client, &mut tried);
    smoke::<ProduceRequest>(client, tried_ref, |_| ProduceRequest::default().with_acks(-1)).await;
    smoke::<FetchRequest>(client, tried_ref, default).await;
    smoke::<ListOffsetsRequest>(client, tried_ref, default).await;
    smoke::<MetadataRequest>(client, tried_ref, default).await;
    smoke::<OffsetCommitRequest>(client, tried_ref, default).await;
    smoke::<OffsetFetchRequest>(client, tried_ref, default).await;
    smoke::<FindCoordinatorRequest>(client, tried_ref, default).await;
    smoke::<JoinGroupRequest>(client, tried_ref, default).await;
    smoke::<HeartbeatRequest>(client, tried_ref, default).await;
    smoke::<LeaveGroupRequest>(client, tried_ref, default).await;
    smoke::<SyncGroupRequest>(client, tried_ref, default).await;
    smoke::<DescribeGroupsRequest>(client, tried_ref, default).await;
    smoke::<ListGroupsRequest>(client, tried_ref, default).await;
    smoke::<ApiVersionsRequest>(client, tried_ref, default).await;
    smoke::<CreateTopicsRequest>(client, tried_ref, default).await;
    smoke::<DeleteTopicsRequest>(client, tried_ref, default).await;
    smoke::<DeleteRecordsRequest>(client, tried_ref, default).await;
    smoke::<InitProducerIdRequest>(client, tried_ref, |_| {
        InitProducerIdRequest::default().with_transactional_id(None)
    })
    .await;
    smoke::<OffsetForLeaderEpochRequest>(client, tried_ref, default).await;
    smoke::<AddPartitionsToTxnRequest>(client, tried_ref, default).await;
    smoke::<EndTxnRequest>(client, tried_ref, default).await;
    smoke::<WriteTxnMarkersRequest>(client, tried_ref, default).await;
    smoke::<DescribeConfigsRequest>(client, tried_ref, default).await;
    smoke::<AlterConfigsRequest>(client, tried_ref, default).await;
    smoke::<DescribeLogDirsRequest>(client, tried_ref, default).await;
    smoke::<CreatePartitionsRequest>(client, tried_ref, default).await;
    smoke::<DeleteGroupsRequest>(client, tried_ref, default).await;
    smoke::<IncrementalAlterConfigsRequest>(client, tried_ref, default).await;
    smoke::<OffsetDeleteRequest>(client, tried_ref, default).await;
    smoke::<DescribeClusterRequest>(client, tried_ref, default).await;
    smoke::<DescribeProducersRequest>(client, tried_ref, default).await;
    smoke::<DescribeTransactionsRequest>(client, tried_ref, default).await;
    smoke::<ListTransactionsRequest>(client, tried_ref, default).await;
    smoke::<ConsumerGroupHeartbeatRequest>(client, tried_ref, default).await;
    smoke::<ConsumerGroupDescribeRequest>(client, tried_ref, default).await;
    smoke::<DescribeTopicPartitionsRequest>(client, tried_ref, default).await;
    assert_eq!(tried, SERVED.iter().map(|spec| spec.key).collect::<Vec<_>>(), "all that are served");
}

#[tokio::test]
async fn api_versions_lists_what_is_served() {
    let broker = TestBroker::start().await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(common::requests::text("test"))
        .with_client_software_version(common::requests::text("1.0"));
    let response = broker.client().call(4, request).await;
    assert_eq!(response.error_code, 0);
    let listed: Vec<_> = response.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
    assert_eq!(listed, SERVED.iter().map(|spec| (spec.key as i16, spec.max)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_without_a_name_is_refused_by_api_versions() {
    let broker = TestBroker::start().await;
    let response = broker.client().call(3, ApiVersionsRequest::default()).await;
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
}

fn frame(api_key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(api_key);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_with_version_0() {
    let broker = TestBroker::start().await;
    let reply = broker.client().start_frame(frame(18, 99, &[0, 1, 2])).await.unwrap();
    let Reply::Ready(payload) = reply else { panic!("an answer at once") };
    let response = common::decode::<ApiVersionsRequest>(payload, 0, 7);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys.len(), SERVED.len(), "so that the client finds a better one");
}

#[tokio::test]
async fn what_is_no_request_closes_the_connection() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let service = client.start_frame(frame(9_999, 0, &[])).await;
    assert!(matches!(service, Err(CloseReason::Service(_))), "an API that nobody knows");
    let version = client.start_frame(frame(ApiKey::Metadata as i16, 99, &[0])).await;
    assert!(matches!(version, Err(CloseReason::Service(_))), "a version that is not served");
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\x7f\xff\xff\xff", b"", b"\0"] {
        for spec in SERVED {
            let outcome = client.start_frame(frame(spec.key as i16, spec.min, garbage)).await;
            // What happens to be a request may be answered; nothing else may happen than that.
            assert!(matches!(outcome, Ok(_) | Err(CloseReason::MalformedRequest(_))), "{:?}", spec.key);
        }
    }
    let large = client.start_frame(frame(ApiKey::Metadata as i16, 9, &vec![0; 9 << 20])).await;
    assert!(matches!(large, Err(CloseReason::Service(_))), "only records take that much room");
    assert!(matches!(client.start_frame(Bytes::new()).await, Err(CloseReason::MalformedRequest(_))));
    assert!(broker.metric("millrace_bad_requests_total", &[]) > 2.0);
}
