//! The first-party sinks in the host, against an HTTP server and a database of the test's own.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::future::BoxFuture;
use millrace_plugin_host::{
    Database, DatabaseError, Delivery, Failure, Kind, Sink, SinkFailure, SinkFault, Upsert, Value,
};
use millrace_plugin_tests::{Bench, Setup, batch, orders, plugin};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// An HTTP server that keeps what it gets and answers as it was told, or with 200.
#[derive(Default)]
struct Receiver {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<VecDeque<(StatusCode, String)>>,
}

impl Receiver {
    async fn start() -> (Arc<Self>, String) {
        let receiver = Arc::<Self>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(take).with_state(Arc::clone(&receiver));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, address)
    }

    fn answer(&self, status: StatusCode, body: &str) {
        self.answers.lock().push_back((status, body.to_owned()));
    }
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receiver.seen.lock().push(Seen { method, path: uri.to_string(), headers, body });
    let (status, body) = receiver.answers.lock().pop_front().unwrap_or((StatusCode::OK, "{}".to_owned()));
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

async fn sink(bench: &Bench, name: &str, setup: Setup) -> Sink {
    Sink::new(bench.deploy(plugin(name), Kind::Sink, setup).await, 3)
}

fn failed(kind: SinkFault, message: &str) -> Delivery {
    Delivery::Failed(SinkFailure { kind, delivered: 0, retry_after_ms: None, message: message.to_owned() })
}

#[tokio::test]
async fn a_webhook_gets_cloud_events() {
    let (receiver, address) = Receiver::start().await;
    let bench = Bench::new();
    let setup = Setup::default()
        .http(&address)
        .secret("hook", "Bearer abc")
        .config("url", &format!("http://{address}/in?shop=1"))
        .config("authorization-secret", "hook");
    let mut sink = sink(&bench, "http-webhook", setup).await;
    let orders = orders();
    assert_eq!(sink.deliver(&batch(40, &orders), "token-1").await.result.unwrap(), Delivery::Delivered);
    {
        let seen = receiver.seen.lock();
        assert_eq!((&seen[0].method, seen[0].path.as_str()), (&Method::POST, "/in?shop=1"));
        for (name, value) in [
            ("content-type", "application/cloudevents-batch+json"),
            ("idempotency-key", "token-1"),
            ("authorization", "Bearer abc"),
        ] {
            assert_eq!(seen[0].headers[name], value);
        }
        let events: Vec<serde_json::Value> = serde_json::from_slice(&seen[0].body).unwrap();
        assert_eq!(events.len(), orders.len());
        assert_eq!(events[1]["id"], "orders-3-41");
        assert_eq!(events[1]["data"]["order_id"], "o-000002");
    }
    receiver.answer(StatusCode::SERVICE_UNAVAILABLE, "later");
    let later = sink.deliver(&batch(0, &orders[..2]), "t").await.result.unwrap();
    assert_eq!(later, failed(SinkFault::Retryable, "HTTP status 503: later"));
    receiver.answer(StatusCode::BAD_REQUEST, "never");
    let never = sink.deliver(&batch(0, &orders[..2]), "t").await.result.unwrap();
    assert_eq!(never, failed(SinkFault::Record, "HTTP status 400: never"));
    // What a receiver says beside a success is nobody's business, however long it is.
    receiver.answer(StatusCode::OK, &"x".repeat(3 << 20));
    assert_eq!(sink.deliver(&batch(0, &orders[..2]), "t").await.result.unwrap(), Delivery::Delivered);
}

#[tokio::test]
async fn hosts_that_were_not_granted_are_out_of_reach() {
    let (receiver, address) = Receiver::start().await;
    let bench = Bench::new();
    let setup = Setup::default()
        .http("elsewhere.example.com")
        .secret("unused", "")
        .config("url", &format!("http://{address}/"));
    let mut sink = sink(&bench, "http-webhook", setup).await;
    let delivery = sink.deliver(&batch(0, &["{}"]), "t").await.result.unwrap();
    assert!(
        matches!(&delivery, Delivery::Failed(SinkFailure { kind: SinkFault::Target, message, .. })
            if message.contains("not granted")),
        "{delivery:?}"
    );
    assert!(receiver.seen.lock().is_empty());
}

#[tokio::test]
async fn nobody_listening_is_retryable() {
    let bench = Bench::new();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let setup =
        Setup::default().http(&address).secret("unused", "").config("url", &format!("http://{address}/"));
    let delivery = sink(&bench, "http-webhook", setup).await.deliver(&batch(0, &["{}"]), "t").await.result;
    assert!(
        matches!(delivery, Ok(Delivery::Failed(SinkFailure { kind: SinkFault::Retryable, .. }))),
        "{delivery:?}"
    );
}

/// A server that begins an answer and never goes on with it.
async fn pausing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"errors\"";
            connection.write_all(begun).await.unwrap();
            held.push(connection);
        }
    });
    address
}

#[tokio::test]
async fn a_pause_within_the_answer_ends_with_the_timeout() {
    let bench = Bench::new();
    let address = pausing_server().await;
    let setup = Setup::default()
        .http(&address)
        .secret("unused", "")
        .config("url", &format!("http://{address}/"))
        .config("timeout-ms", "300");
    let mut sink = sink(&bench, "elasticsearch-bulk", setup).await;
    let batch = batch(0, &["{}"]);
    // Whatever the call's own limit, which is far longer.
    let delivery = tokio::time::timeout(Duration::from_secs(20), sink.deliver(&batch, "t")).await;
    let delivery = delivery.expect("the plugin gives up").result;
    assert!(
        matches!(&delivery, Ok(Delivery::Failed(SinkFailure { kind: SinkFault::Retryable, .. }))),
        "{delivery:?}"
    );
}

#[tokio::test]
async fn elasticsearch_gets_a_bulk_request() {
    let (receiver, address) = Receiver::start().await;
    let bench = Bench::new();
    let setup =
        Setup::default().http(&address).secret("unused", "").config("url", &format!("http://{address}"));
    let mut sink = sink(&bench, "elasticsearch-bulk", setup).await;
    receiver.answer(StatusCode::OK, r#"{"errors":false,"items":[]}"#);
    let good: Vec<String> = orders().into_iter().filter(|order| order.ends_with('}')).collect();
    assert_eq!(sink.deliver(&batch(7, &good), "t").await.result.unwrap(), Delivery::Delivered);
    let seen = receiver.seen.lock();
    assert_eq!(
        (seen[0].path.as_str(), &seen[0].headers["content-type"]),
        ("/_bulk", &"application/x-ndjson".parse().unwrap())
    );
    let text = str::from_utf8(&seen[0].body).unwrap();
    assert_eq!(text.lines().count(), 2 * good.len());
    assert_eq!(text.lines().next(), Some(r#"{"index":{"_index":"orders","_id":"orders-3-7"}}"#));
    assert_eq!(text.lines().nth(1), Some(good[0].as_str()));
}

#[tokio::test]
async fn storage_gets_signed_objects() {
    let (receiver, address) = Receiver::start().await;
    let bench = Bench::new();
    let setup = Setup::default()
        .http(&address)
        .secret("s3-access-key", "access")
        .secret("s3-secret-key", "secret")
        .config("endpoint", &format!("http://{address}"))
        .config("bucket", "events");
    let mut sink = sink(&bench, "s3-json-lines", setup).await;
    let orders = orders();
    assert_eq!(sink.deliver(&batch(12, &orders), "t").await.result.unwrap(), Delivery::Delivered);
    let seen = receiver.seen.lock();
    let key = "00000000000000000012-00000000000000004011.jsonl";
    assert_eq!((&seen[0].method, seen[0].path.clone()), (&Method::PUT, format!("/events/orders/3/{key}")));
    assert!(
        seen[0].headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256 Credential=access/20")
    );
    assert_eq!(str::from_utf8(&seen[0].body).unwrap().lines().count(), orders.len());
}

/// Keeps rows.
#[derive(Default)]
struct Rows(Mutex<Vec<Upsert>>);

impl Database for Rows {
    fn upsert(&self, upsert: Upsert) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        Box::pin(async move {
            if upsert.table == "missing" {
                return Err(DatabaseError::Target("relation does not exist".to_owned()));
            }
            let count = upsert.rows.len() as u64;
            self.0.lock().push(upsert);
            Ok(count)
        })
    }
}

#[tokio::test]
async fn a_database_gets_rows() {
    let rows = Arc::<Rows>::default();
    let bench = Bench::new();
    let setup = |table| {
        Setup::default()
            .database("shop", Arc::<Rows>::clone(&rows))
            .config("database", "shop")
            .config("table", table)
            .config("columns", "order_id:text, region:text, placed:timestamp=placed_at_ms, raw:json=@value")
            .config("key", "order_id")
    };
    let orders = orders();
    let mut upserts = sink(&bench, "postgres-upsert", setup("orders")).await;
    assert_eq!(upserts.deliver(&batch(0, &orders[..10]), "t").await.result.unwrap(), Delivery::Delivered);
    {
        let rows = rows.0.lock();
        assert_eq!((rows[0].rows.len(), rows[0].key.as_slice()), (10, &["order_id".to_owned()][..]));
        assert_eq!(rows[0].rows[0][0], Value::Text("o-000001".to_owned()));
        assert_eq!(rows[0].rows[0][2], Value::Timestamp(1_772_431_200_020));
    }
    let mut refused = sink(&bench, "postgres-upsert", setup("missing")).await;
    let delivery = refused.deliver(&batch(0, &orders[..1]), "t").await.result.unwrap();
    assert_eq!(delivery, failed(SinkFault::Target, "relation does not exist"));
}

#[tokio::test]
async fn a_sink_without_its_settings_does_not_start() {
    let bench = Bench::new();
    let setup = Setup::default().http("localhost").secret("unused", "");
    let mut sink = sink(&bench, "http-webhook", setup).await;
    let failure = sink.deliver(&batch(0, &["{}"]), "t").await.result.unwrap_err();
    assert!(
        matches!(&failure, Failure::StartRefused(reason) if reason.contains("lacks the setting `url`")),
        "{failure}"
    );
}
