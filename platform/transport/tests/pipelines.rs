//! Requests and replies over all three transports: order, pipelining, files, the end of a listener.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::{FileSource, Piece, SystemClock};
use millrace_transport::{
    CloseReason, Connection, ListenOptions, Peer, Pipeline, QuicTuning, Reply, Service, TcpTls, TlsContext,
    TransportLimits, TransportMetrics, listen, quic,
};
use support::{Server, Setup, framed, receive, send, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A QUIC stream that keeps its connection.
type Keep = Option<(quinn::Endpoint, quinn::Connection)>;

async fn streams(server: &Server) -> Vec<(&'static str, Box<dyn Stream>, Keep)> {
    let tls = server.tls(server.client_config(None)).await.unwrap();
    let (endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (send, receive) = connection.open_bi().await.unwrap();
    vec![
        ("tcp", Box::new(server.tcp().await), None),
        ("tls", Box::new(tls), None),
        ("quic", Box::new(tokio::io::join(receive, send)), Some((endpoint, connection))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_comes_back_over_every_transport() {
    let server = Setup::default().start();
    for (name, mut stream, _keep) in streams(&server).await {
        for len in [1, 4, 100, 4095, 16_384, 65_536, 70_001, 1 << 20, 9 << 20] {
            let mut body = vec![len as u8; len];
            body[0] = b'e';
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let ((), echoed) = tokio::join!(send(&mut write, &body), receive(&mut read));
            assert!(echoed == body, "{len} bytes over {name}");
        }
        assert_eq!(server.metric("frames_total", &[name]), 9);
        drop(stream);
    }
    server.until_metric("receive_buffer_bytes", &[], 0).await;
}

#[tokio::test]
async fn replies_keep_the_order_of_pipelined_requests() {
    let server = Setup::default().start();
    for (name, mut stream, _keep) in streams(&server).await {
        let before = server.service.started.load(Ordering::SeqCst);
        let mut burst = Vec::new();
        for request in ["e1", "l2", "n", "e3", "l4", "e5"] {
            burst.extend(support::frame(request.as_bytes()));
        }
        within(stream.write_all(&burst)).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(receive(&mut stream).await, b"e1", "{name}");
        server.until_started(before + 6).await;
        let early = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
        assert!(early.is_err(), "{name}: nothing overtakes a reply that is not ready");
        server.service.gate.add_permits(1);
        assert_eq!(receive(&mut stream).await, b"l2");
        assert_eq!(receive(&mut stream).await, b"e3");
        server.service.gate.add_permits(1);
        assert_eq!(receive(&mut stream).await, b"l4");
        assert_eq!(receive(&mut stream).await, b"e5");
    }
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let server = Setup::default().start();
    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut blocked_send, mut blocked) = connection.open_bi().await.unwrap();
    send(&mut blocked_send, b"l").await;
    let (mut free_send, mut free) = connection.open_bi().await.unwrap();
    send(&mut free_send, b"e").await;
    assert_eq!(receive(&mut free).await, b"e");
    server.service.gate.add_permits(1);
    assert_eq!(receive(&mut blocked).await, b"l");
    server.until_metric("pipelines", &["quic"], 2).await;
    free_send.finish().unwrap();
    server.until_metric("pipelines", &["quic"], 1).await;
}

#[tokio::test]
async fn replies_owed_to_a_half_closed_connection_are_sent() {
    let server = Setup::default().start();
    let mut stream = server.tcp().await;
    send(&mut stream, b"later").await;
    stream.shutdown().await.unwrap();
    server.service.gate.add_permits(1);
    assert_eq!(receive(&mut stream).await, b"later");
    support::ends(&mut stream).await;
    server.until_metric("closed_total", &["tcp", "peer_closed"], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_finishes_what_is_in_flight_and_takes_no_more() {
    let mut server = Setup::default().start();
    let idle = streams(&server).await;
    let mut busy = streams(&server).await;
    for (_, stream, _) in &mut busy {
        send(stream, b"later").await;
    }
    server.until_started(3).await;
    let shutdown = tokio::spawn(server.listener.take().unwrap().shutdown(support::PATIENCE));
    for (_, mut stream, keep) in idle {
        if keep.is_none() {
            support::ends(&mut stream).await;
        }
    }
    within(async { while tokio::net::TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(!shutdown.is_finished(), "requests are in flight");
    server.service.gate.add_permits(3);
    for (name, mut stream, _keep) in busy {
        assert_eq!(receive(&mut stream).await, b"later", "{name}");
    }
    within(shutdown).await.unwrap();
    assert_eq!(server.metric("connections", &[]), 0);
}

#[tokio::test]
async fn shutdown_ends_at_its_deadline() {
    let mut server = Setup::default().start();
    let mut stream = server.tcp().await;
    send(&mut stream, b"later").await;
    server.until_metric("frames_total", &["tcp"], 1).await;
    within(server.listener.take().unwrap().shutdown(Duration::from_millis(50))).await;
    support::ends(&mut stream).await;
    assert_eq!(server.metric("closed_total", &["shutdown"]), 1);
}

/// Answers every frame with a header, a range of a file, and a trailer.
struct FileService(Arc<File>);
struct File {
    file: std::fs::File,
    with_fd: bool,
}

impl FileSource for File {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn as_raw_fd(&self) -> Option<RawFd> {
        self.with_fd.then(|| self.file.as_raw_fd())
    }
}

const FILE_POSITION: usize = 1000;
const FILE_LEN: usize = 3_000_000;

impl Service for FileService {
    fn connect(&self, _: &Peer) -> Arc<dyn Connection> {
        Arc::new(Self(Arc::clone(&self.0)))
    }
}

impl Connection for FileService {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl Pipeline for FileService {
    fn start(&mut self, _: Bytes) -> BoxFuture<'_, Result<Reply, CloseReason>> {
        let mut payload = framed(Bytes::from_static(b""));
        payload = {
            let mut whole = millrace_base::Payload::from(Bytes::copy_from_slice(
                &((payload.len() + FILE_LEN + 3) as u32).to_be_bytes(),
            ));
            whole.append(std::mem::take(&mut payload));
            whole
        };
        payload.push(Piece::File {
            file: Arc::clone(&self.0) as Arc<dyn FileSource>,
            position: FILE_POSITION as u64,
            len: FILE_LEN,
        });
        payload.push_bytes(Bytes::from_static(b"end"));
        async { Ok(Reply::Ready(payload)) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_ranges_arrive_whole_on_every_transport() {
    let content: Vec<u8> = (0..FILE_POSITION + FILE_LEN + 10).map(|i| ((i * 31) >> 3) as u8).collect();
    for with_fd in [true, false] {
        let template = Setup::default().start();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        std::fs::write(&path, &content).unwrap();
        let file = File { file: std::fs::File::open(&path).unwrap(), with_fd };
        let registry = prometheus::Registry::new();
        let options = ListenOptions {
            address: "127.0.0.1:0".parse().unwrap(),
            tls: TlsContext::load(support::tls_options(template.dir.path()), Arc::new(SystemClock)).unwrap(),
            tcp_tls: TcpTls::Allowed,
            limits: TransportLimits::default(),
            quic: QuicTuning::default(),
        };
        let metrics = Arc::new(TransportMetrics::register(&registry).unwrap());
        let listener = listen(options, Arc::new(FileService(Arc::new(file))), metrics).unwrap();
        let server = Server { address: listener.local_addr(), listener: Some(listener), ..template };
        for (name, mut stream, _keep) in streams(&server).await {
            for _ in 0..2 {
                send(&mut stream, b"?").await;
                let body = receive(&mut stream).await;
                assert_eq!(body.len(), 4 + FILE_LEN + 3, "{name}");
                assert!(body[4..4 + FILE_LEN] == content[FILE_POSITION..][..FILE_LEN], "{name}");
                assert!(body.ends_with(b"end"));
            }
        }
    }
}
