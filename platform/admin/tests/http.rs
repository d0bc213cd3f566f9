//! What a probe and a scraper get over a real connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_admin::{AdminLimits, AdminOptions, AdminServer, Readiness, serve};
use prometheus::{IntCounter, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANY_PORT: &str = "127.0.0.1:0";
/// Nothing here takes as long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

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
    serve(address, options(registry, readiness)).await.expect("a free port")
}

fn options(registry: Registry, readiness: Arc<dyn Fn() -> Readiness + Send + Sync>) -> AdminOptions {
    AdminOptions { registry, readiness, plugins: None, names: Vec::new(), limits: AdminLimits::default() }
}

/// Serves few connections, and none of them for long.
async fn start_limited(limits: AdminLimits) -> AdminServer {
    let options = AdminOptions { limits, ..options(Registry::new(), Arc::new(|| Readiness::Ready)) };
    serve(ANY_PORT.parse().expect("an address"), options).await.expect("a free port")
}

/// Asserts that the server ends the connection.
async fn ends(mut stream: TcpStream) {
    let end = async { while stream.read(&mut [0; 1000]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the end of a connection");
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
    let options = options(Registry::new(), Arc::new(|| Readiness::Ready));
    let error = serve(address, options.clone()).await.expect_err("the port is taken").to_string();
    assert!(error.starts_with(&format!("listen for HTTP on {address}: ")), "{error}");

    server.shutdown(Duration::from_secs(5)).await;
    serve(address, options).await.expect("the port is free again");
}

#[tokio::test]
async fn a_connection_without_a_request_is_given_up() {
    let limits = AdminLimits { head_timeout: Duration::from_millis(100), ..AdminLimits::default() };
    let server = start_limited(limits).await;
    for part in ["", "GET /healthz HTTP/1.1\r\nHost: loc", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connect");
        stream.write_all(part.as_bytes()).await.expect("send");
        ends(stream).await;
    }
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_others() {
    let limits = AdminLimits {
        connections_max: 3,
        // Longer than anybody has patience.
        head_timeout: 10 * PATIENCE,
        ..AdminLimits::default()
    };
    let server = start_limited(limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connect");
        // One that had to leave at once is no failure here.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await;
        silent.push(stream);
    }
    let probe = tokio::time::timeout(PATIENCE, get(&server, "/healthz")).await.expect("room");
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    for stream in silent.drain(..17) {
        ends(stream).await;
    }
}
