//! Requests about plugins reach the service behind them, and nothing that it does hurts others.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use common::requests::*;
use common::{Client, PATIENCE, TestBroker};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::Payload;
use millrace_protocol::frame::{decode_private_response_header, encode_private_request};
use millrace_protocol::messages::MetadataRequest;
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::plugins::{
    ErrorKind, ManageReply, ManageRequest, ModuleChunk, ModuleDigest, PartitionRecords, PluginError,
    PluginService, UploadReply, from_json, json,
};
use millrace_protocol::private::{PARTITIONER_TAG, PrivateApi};
use millrace_transport::{CloseReason, Reply};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Answers as the names in requests tell it.
struct FakeService {
    /// Pausing a deployment waits for a permit.
    permits: Semaphore,
    /// What was done, in order.
    done: Mutex<Vec<String>>,
}

impl PluginService for FakeService {
    fn manage(&self, request: ManageRequest) -> BoxFuture<'_, Result<ManageReply, PluginError>> {
        Box::pin(async move {
            match request {
                ManageRequest::List => Ok(ManageReply::Deployments(Vec::new())),
                ManageRequest::Pause { name } => {
                    self.permits.acquire().await.unwrap().forget();
                    self.done.lock().push(format!("paused {name}"));
                    Ok(ManageReply::Deleted)
                }
                ManageRequest::Delete { name } => {
                    self.done.lock().push(format!("deleted {name}"));
                    Ok(ManageReply::Deleted)
                }
                ManageRequest::Describe { name } => {
                    Err(PluginError::not_found(format!("there is no deployment '{name}'")))
                }
                request => panic!("asked for on purpose: {request:?}"),
            }
        })
    }

    fn upload(&self, chunk: ModuleChunk) -> BoxFuture<'_, Result<UploadReply, PluginError>> {
        let offset = chunk.offset + chunk.bytes.len() as u64;
        Box::pin(async move { Ok(UploadReply::Continue { offset }) })
    }

    fn partition(&self, request: PartitionRecords) -> BoxFuture<'_, Result<Vec<u32>, PluginError>> {
        Box::pin(async move {
            if request.topic == "slow" {
                std::future::pending::<()>().await;
            }
            if self.partitioner(&request.topic).is_none() {
                return Err(PluginError::invalid(format!("topic '{}' has no partitioner", request.topic)));
            }
            Ok((0..request.partitions).cycle().take(request.batch.len()).collect())
        })
    }

    fn partitioner(&self, topic: &str) -> Option<String> {
        (topic == "routed").then(|| "route".to_owned())
    }
}

async fn serving() -> (TestBroker, Arc<FakeService>) {
    let broker = TestBroker::start().await;
    let service = Arc::new(FakeService { permits: Semaphore::new(0), done: Mutex::default() });
    broker.broker.serve_plugins(service.clone());
    (broker, service)
}

const ID: i32 = 77;

fn frame(api: PrivateApi, body: impl Into<Payload>) -> Bytes {
    encode_private_request(ID, Some("test"), api, body.into()).unwrap().read_to_bytes().unwrap().slice(4..)
}

/// Starts a request, which must not be answered before others may follow.
async fn start(
    client: &mut Client,
    api: PrivateApi,
    body: impl Into<Payload>,
) -> BoxFuture<'static, Payload> {
    match client.start_frame(frame(api, body)).await.unwrap() {
        Reply::Later(later) => later,
        _ => panic!("a reply that holds up its stream"),
    }
}

async fn answer(reply: BoxFuture<'static, Payload>) -> Bytes {
    let payload = tokio::time::timeout(PATIENCE, reply).await.expect("an answer in time");
    let bytes = payload.read_to_bytes().unwrap();
    assert_eq!(u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
    let (id, body) = decode_private_response_header(bytes.slice(4..)).unwrap();
    assert_eq!(id, ID);
    body
}

async fn call(client: &mut Client, api: PrivateApi, body: impl Into<Payload>) -> Bytes {
    answer(start(client, api, body).await).await
}

async fn manage(client: &mut Client, request: &ManageRequest) -> Result<ManageReply, PluginError> {
    from_json(&call(client, PrivateApi::ManagePlugins, json(request)).await).unwrap()
}

fn partition_request(topic: &str, partitions: u32, batch: &[u8]) -> Bytes {
    let mut body = BytesMut::from(&PartitionRecords::encode_prefix(topic, partitions)[..]);
    body.extend_from_slice(batch);
    body.freeze()
}

fn named(request: fn(String) -> ManageRequest, name: &str) -> Bytes {
    json(&request(name.to_owned()))
}

#[tokio::test]
async fn every_request_is_answered_and_counted() {
    let (broker, _) = serving().await;
    let mut client = broker.client();
    assert_eq!(manage(&mut client, &ManageRequest::List).await, Ok(ManageReply::Deployments(Vec::new())));
    let unknown = manage(&mut client, &ManageRequest::Describe { name: "x".into() }).await.unwrap_err();
    assert_eq!((unknown.kind, &*unknown.message), (ErrorKind::NotFound, "there is no deployment 'x'"));
    let bytes = Bytes::from_static(b"module");
    let chunk = ModuleChunk { module: ModuleDigest::of(&bytes), total: 100, offset: 20, bytes };
    let uploaded = call(&mut client, PrivateApi::UploadModule, chunk.encode()).await;
    let uploaded: Result<UploadReply, PluginError> = from_json(&uploaded).unwrap();
    assert_eq!(uploaded, Ok(UploadReply::Continue { offset: 26 }));
    let body = partition_request("routed", 2, b"xyz");
    let placed = call(&mut client, PrivateApi::PartitionRecords, body).await;
    assert_eq!(PartitionRecords::decode_answer(placed).unwrap(), Ok(vec![0, 1, 0]));
    let body = partition_request("other", 2, b"xyz");
    let refused = call(&mut client, PrivateApi::PartitionRecords, body).await;
    let refused = PartitionRecords::decode_answer(refused).unwrap().unwrap_err();
    assert_eq!(refused, PluginError::invalid("topic 'other' has no partitioner"));

    let requests = |api| broker.metric("millrace_requests_total", &[("api", api)]);
    assert_eq!(["ManagePlugins", "UploadModule", "PartitionRecords"].map(requests), [2.0, 1.0, 2.0]);
    let labels = [("api", "PartitionRecords"), ("code", "Invalid")];
    assert_eq!(broker.metric("millrace_request_errors_total", &labels), 1.0);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_told_and_the_connection_stays() {
    let (broker, _) = serving().await;
    let mut client = broker.client();
    let bodies = [
        (PrivateApi::ManagePlugins, Bytes::from_static(b"{\"op\":\"explode\"}"), "explode"),
        (
            PrivateApi::ManagePlugins,
            Bytes::from(vec![b' '; (1 << 20) + 1]),
            "1048577 bytes: the limit is 1048576",
        ),
        (PrivateApi::UploadModule, Bytes::from_static(b"short"), "43 bytes early"),
        (PrivateApi::UploadModule, Bytes::from(vec![0; 5 << 20]), "5242880 bytes: the limit is 4195328"),
    ];
    for (api, body, expected) in bodies {
        let refused: Result<ManageReply, PluginError> =
            from_json(&call(&mut client, api, body).await).unwrap();
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
        assert!(refused.message.contains(expected), "{refused}");
    }
    for (body, expected) in [
        (Bytes::from_static(b"x"), "5 bytes early"),
        (Bytes::from(vec![0; (64 << 20) + 1025]), "67109889 bytes"),
    ] {
        let refused = call(&mut client, PrivateApi::PartitionRecords, body).await;
        let refused = PartitionRecords::decode_answer(refused).unwrap().unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
    }
    assert!(manage(&mut client, &ManageRequest::List).await.is_ok());
}

#[tokio::test]
async fn a_slow_answer_holds_up_only_what_must_come_after_it() {
    let (broker, service) = serving().await;
    let mut client = broker.client();
    let pause = |name: String| ManageRequest::Pause { name };
    let delete = |name: String| ManageRequest::Delete { name };
    let mut first = start(&mut client, PrivateApi::ManagePlugins, named(pause, "a")).await;
    assert!((&mut first).now_or_never().is_none());
    // Refused without a turn, it lets nobody overtake.
    let mut large =
        start(&mut client, PrivateApi::ManagePlugins, Bytes::from(vec![b' '; (1 << 20) + 1])).await;
    assert!((&mut large).now_or_never().is_some());
    let mut second = start(&mut client, PrivateApi::ManagePlugins, named(delete, "a")).await;
    assert!((&mut second).now_or_never().is_none());
    // Partitioners wait for nobody, other APIs are answered, other streams do not even notice.
    let body = partition_request("routed", 2, b"xyz");
    let placed = call(&mut client, PrivateApi::PartitionRecords, body).await;
    assert!(PartitionRecords::decode_answer(placed).unwrap().is_ok());
    client.create_topic("t", 1, &[]).await;
    let mut other = broker.client();
    manage(&mut other, &ManageRequest::Delete { name: "other".into() }).await.unwrap();
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(*service.done.lock(), ["deleted other"]);

    service.permits.add_permits(1);
    answer(second).await;
    assert_eq!(*service.done.lock(), ["deleted other", "paused a", "deleted a"]);
    answer(first).await;
}

#[tokio::test]
async fn a_change_ends_though_its_client_is_gone_and_a_question_does_not() {
    let (broker, service) = serving().await;
    let mut client = broker.client();
    let mut change =
        start(&mut client, PrivateApi::ManagePlugins, named(|name| ManageRequest::Pause { name }, "a")).await;
    assert!((&mut change).now_or_never().is_none());
    let body = partition_request("slow", 2, b"xyz");
    let mut question = start(&mut client, PrivateApi::PartitionRecords, body).await;
    assert!((&mut question).now_or_never().is_none());
    // The test and the broker hold the service, and so do the two tasks.
    let is_held_by = |holders: usize| {
        let service = service.clone();
        async move {
            // One more is this one.
            while Arc::strong_count(&service) != holders + 1 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, is_held_by(4)).await.expect("both are asked");
    drop((client, change, question));
    tokio::time::timeout(PATIENCE, is_held_by(3)).await.expect("the question is dropped");
    assert_eq!(*service.done.lock(), [""; 0]);
    service.permits.add_permits(1);
    tokio::time::timeout(PATIENCE, is_held_by(2)).await.expect("the change ends");
    assert_eq!(*service.done.lock(), ["paused a"]);
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let (broker, _) = serving().await;
    let mut client = broker.client();
    let panics = ManageRequest::Inspect { module: ModuleDigest::of(b"") };
    let failed = manage(&mut client, &panics).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Unavailable);
    assert!(failed.message.contains("ManagePlugins"), "{failed}");
    assert!(manage(&mut client, &ManageRequest::List).await.is_ok(), "the next has its turn");
}

#[tokio::test]
async fn what_is_not_served_closes_the_connection_and_says_why() {
    let broker = TestBroker::start().await;
    let closed = async |frame: Bytes| match broker.client().start_frame(frame).await {
        Err(CloseReason::Service(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    };
    let list = frame(PrivateApi::ManagePlugins, json(&ManageRequest::List));
    assert_eq!(closed(list.clone()).await, "ManagePlugins is not served here: this broker runs no plugins");
    let service = FakeService { permits: Semaphore::new(0), done: Mutex::default() };
    broker.broker.serve_plugins(Arc::new(service));
    let with = |at: usize, value: i16| {
        let mut frame = list.to_vec();
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        Bytes::from(frame)
    };
    assert_eq!(closed(with(0, 15_900)).await, "API 15900 is not served here");
    assert_eq!(closed(with(2, 1)).await, "ManagePlugins version 1 is not served here, only 0");
    assert!(manage(&mut broker.client(), &ManageRequest::List).await.is_ok());
    assert_eq!(broker.metric("millrace_bad_requests_total", &[]), 3.0);
}

#[tokio::test]
async fn metadata_names_a_topics_partitioner_where_there_are_tagged_fields() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    for name in ["routed", "plain"] {
        client.create_topic(name, 1, &[]).await;
    }
    let asked = || {
        let named = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        MetadataRequest::default()
            .with_topics(Some(["routed", "plain"].map(named).to_vec()))
            .with_allow_auto_topic_creation(true)
    };
    assert!(client.call(12, asked()).await.topics[0].unknown_tagged_fields.is_empty(), "nobody to ask");
    broker.broker.serve_plugins(Arc::new(FakeService { permits: Semaphore::new(0), done: Mutex::default() }));
    for version in 4..=13 {
        let response = client.call(version, asked()).await;
        let told = response.topics[0].unknown_tagged_fields.get(&PARTITIONER_TAG).map(|name| &name[..]);
        assert_eq!(told, (version >= 9).then_some(&b"route"[..]), "version {version}");
        assert!(response.topics[1].unknown_tagged_fields.is_empty());
    }
}
