//! What a probe and a scraper get over a real connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_admin::{AdminOptions, AdminServer, Readiness, serve};
use prometheus::{IntCounter, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANY_PORT: &str = "127.0.0.1:0";

/// Serves one counter and a readiness that follows `ready`.
async fn start(ready: Arc<AtomicBool>) -> AdminServer {
    let registry = Registry::new();
    let counter = IntCounter::new("millrace_test_total", "A counter.").expect("a valid name");
    counter.inc_by(7);
    registry.register(Box::new(counter)).expect("the first of its name");
    let readiness = Arc::new(move || match ready.load(Ordering::SeqCst) {
        true => Readiness::Ready,
        false => Readiness::NotReady("the log is recovering".to_owned()),
    });
    let address: SocketAddr = ANY_PORT.parse().expect("an address");
    serve(address, AdminOptions { registry, readiness, plugins: None }).await.expect("a free port")
}

async fn get(server: &AdminServer, path: &str) -> String {
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("receive");
    answer
}

#[tokio::test]
async fn readiness_follows_the_broker_and_health_does_not() {
    let ready = Arc::new(AtomicBool::new(false));
    let server = start(ready.clone()).await;
    let answer = get(&server, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("the log is recovering"), "{answer}");
    assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));

    ready.store(true, Ordering::SeqCst);
    assert!(get(&server, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = start(Arc::default()).await;
    let answer = get(&server, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("# TYPE millrace_test_total counter\nmillrace_test_total 7\n"), "{answer}");
}

#[tokio::test]
async fn an_unknown_path_is_told_the_known_ones() {
    let server = start(Arc::default()).await;
    let answer = get(&server, "/metric").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(
        answer.contains("nothing is served under /metric: try /healthz, /readyz, /metrics or /v1/plugins"),
        "{answer}"
    );
}

#[tokio::test]
async fn shutdown_frees_the_port_and_a_taken_port_is_named() {
    let server = start(Arc::default()).await;
    let address = server.local_addr();
    let options =
        AdminOptions { registry: Registry::new(), readiness: Arc::new(|| Readiness::Ready), plugins: None };
    let error = serve(address, options.clone()).await.expect_err("the port is taken").to_string();
    assert!(error.starts_with(&format!("listen for HTTP on {address}: ")), "{error}");

    server.shutdown(Duration::from_secs(5)).await;
    serve(address, options).await.expect("the port is free again");
}
