//! A listener with a service for tests, and small clients of all three transports.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::{Payload, SystemClock};
use millrace_test_wait::until;
use millrace_transport::{
    CertificateSource, ClientAuth, CloseReason, Connection, ListenOptions, Listener, Peer, Pipeline,
    QuicTuning, Reply, Service, TcpTls, TlsContext, TlsOptions, TransportLimits, TransportMetrics, listen,
};
use prometheus::Registry;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Nothing here takes as long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answers by the first byte of the frame: `e`cho, `l`ater (echo once `gate` has a permit), `n`o reply,
/// `b`ig (64 KiB per further byte), `x` (refuses to go on).
#[derive(Clone)]
pub struct TestService {
    pub gate: Arc<Semaphore>,
    pub started: Arc<AtomicUsize>,
    pub identities: Arc<std::sync::Mutex<Vec<Option<String>>>>,
}

impl Default for TestService {
    fn default() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), started: Arc::default(), identities: Arc::default() }
    }
}

impl Service for TestService {
    fn connect(&self, peer: &Peer) -> Arc<dyn Connection> {
        let identity = peer.identity.as_ref().map(|identity| identity.subject.clone());
        self.identities.lock().unwrap().push(identity);
        Arc::new(self.clone())
    }
}

impl Connection for TestService {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(self.clone())
    }
}

impl Pipeline for TestService {
    fn start(&mut self, frame: Bytes) -> BoxFuture<'_, Result<Reply, CloseReason>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&self.gate);
        async move {
            Ok(match frame.first() {
                Some(b'l') => Reply::Later(
                    async move {
                        gate.acquire().await.unwrap().forget();
                        framed(frame)
                    }
                    .boxed(),
                ),
                Some(b'n') => Reply::None,
                Some(b'b') => Reply::Ready(framed(vec![7; (frame.len() - 1) * 65_536].into())),
                Some(b'x') => return Err(CloseReason::Service("told to stop".into())),
                _ => Reply::Ready(framed(frame)),
            })
        }
        .boxed()
    }
}

/// A payload of the frame with its length before it.
pub fn framed(frame: Bytes) -> Payload {
    let mut payload = Payload::from(Bytes::copy_from_slice(&(frame.len() as u32).to_be_bytes()));
    payload.push_bytes(frame);
    payload
}

pub struct Server {
    pub listener: Option<Listener>,
    pub address: SocketAddr,
    pub service: TestService,
    pub registry: Registry,
    pub dir: tempfile::TempDir,
}

pub struct Setup {
    pub limits: TransportLimits,
    pub tcp_tls: TcpTls,
    pub client_auth: ClientAuth,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: TransportLimits::default(), tcp_tls: TcpTls::Allowed, client_auth: ClientAuth::None }
    }
}

pub fn tls_options(dir: &Path) -> TlsOptions {
    TlsOptions {
        certificate: CertificateSource::Generated { dir: dir.to_owned(), hosts: vec!["broker.test".into()] },
        client_auth: ClientAuth::None,
        client_ca: None,
    }
}

impl Setup {
    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let tls = TlsOptions { client_auth: self.client_auth, ..tls_options(dir.path()) };
        let tls = TlsContext::load(tls, Arc::new(SystemClock)).unwrap();
        let registry = Registry::new();
        let metrics = Arc::new(TransportMetrics::register(&registry).unwrap());
        let service = TestService::default();
        let options = ListenOptions {
            address: "127.0.0.1:0".parse().unwrap(),
            tls,
            tcp_tls: self.tcp_tls,
            limits: self.limits,
            quic: QuicTuning::default(),
        };
        let listener = listen(options, Arc::new(service.clone()), metrics).unwrap();
        Server { address: listener.local_addr(), listener: Some(listener), service, registry, dir }
    }
}

impl Server {
    pub async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub fn client_config(&self, identity: Option<(&str, &str)>) -> rustls::ClientConfig {
        client_config(&self.dir.path().join("ca.pem"), identity)
    }

    pub async fn tls(
        &self,
        config: rustls::ClientConfig,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from("localhost").unwrap(), self.tcp().await).await
    }

    pub async fn quic(
        &self,
        mut config: rustls::ClientConfig,
        alpn: &[u8],
    ) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
        config.alpn_protocols = vec![alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connection = endpoint.connect_with(config, self.address, "localhost").unwrap().await?;
        Ok((endpoint, connection))
    }

    /// The value of a metric whose labels include `labels`, summed.
    pub fn metric(&self, name: &str, labels: &[&str]) -> i64 {
        let name = format!("millrace_transport_{name}");
        let mut sum = 0.0;
        for family in self.registry.gather().iter().filter(|family| family.name() == name) {
            for metric in family.get_metric() {
                let values: Vec<_> =
                    metric.get_label().iter().map(prometheus::proto::LabelPair::value).collect();
                if labels.iter().all(|label| values.contains(label)) {
                    sum += metric.get_counter().get_value() + metric.get_gauge().get_value();
                }
            }
        }
        sum as i64
    }

    /// Waits until a metric has a value.
    pub async fn until_metric(&self, name: &str, labels: &[&str], expect: i64) {
        let what = format!("{name}{labels:?} to be {expect}");
        until(&what, PATIENCE, || (self.metric(name, labels) == expect).then_some(())).await;
    }

    /// Waits until the service has begun with so many requests.
    pub async fn until_started(&self, count: usize) {
        let started = || self.service.started.load(Ordering::SeqCst);
        until("requests to be started", PATIENCE, || (started() >= count).then_some(())).await;
    }
}

pub fn client_config(ca: &Path, identity: Option<(&str, &str)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    }
}

pub fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

pub async fn send(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) {
    stream.write_all(&frame(body)).await.unwrap();
    stream.flush().await.unwrap();
}

pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let len = stream.read_u32().await.unwrap();
        let mut body = vec![0; len as usize];
        stream.read_exact(&mut body).await.unwrap();
        body
    };
    within(read).await
}

/// Asserts that the peer ends the stream, with whatever error.
pub async fn ends(stream: &mut (impl AsyncRead + Unpin)) {
    within(async { while stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {} }).await;
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("not done in time")
}
