//! A broker on a temporary directory, spoken to as the transports do: frames in, payloads out.

// Each test program uses its part of this; what fails in a test may panic.
#![allow(dead_code, clippy::unwrap_used)]

pub mod records;
pub mod requests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::{BrokerId, Monotonic, Payload, Random, SystemClock};
use millrace_broker::{Broker, BrokerOptions};
use millrace_config::BrokerConfig;
use millrace_disk::RealDisk;
use millrace_log::{LogManager, LogOptions};
use millrace_metadata::{BrokerRegistration, Metadata, MetadataOptions, NoPeers};
use millrace_protocol::frame::{decode_response_header, encode_request};
use millrace_protocol::{ApiKey, Decodable, Request};
use millrace_transport::{CloseReason, Peer, Pipeline, Reply, Service, TransportKind};
use prometheus::Registry;
use tempfile::TempDir;

pub const NODE: BrokerId = BrokerId(1);
pub const CLUSTER: &str = "a-test-cluster";

/// What takes longer than this has hung.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub log: LogManager,
    pub metadata: Metadata,
    pub registry: Registry,
    dir: Arc<TempDir>,
    config: BrokerConfig,
}

impl TestBroker {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = BrokerConfig::dev(dir.path(), anywhere, anywhere);
        config.node.id = NODE;
        change(&mut config);
        Self::open(dir, config).await
    }

    async fn open(dir: Arc<TempDir>, config: BrokerConfig) -> Self {
        let metadata = metadata(dir.path()).await;
        let options = LogOptions {
            wal_bytes: 32 << 20,
            tail_bytes: config.log.tail_bytes.min(64 << 20),
            ..LogOptions::default()
        };
        let logs = dir.path().join("log");
        let (log, _) = LogManager::open(Arc::new(RealDisk), &logs, options, Arc::new(SystemClock)).unwrap();
        let registry = Registry::new();
        let options = BrokerOptions {
            node_id: NODE,
            data_dir: dir.path().to_owned(),
            config: Arc::new(config.clone()),
            random: Random::system(),
            time: Monotonic::system(),
        };
        let broker = Broker::start(options, log.clone(), metadata.clone(), &registry, Arc::new(SystemClock))
            .await
            .unwrap();
        Self { broker, log, metadata, registry, dir, config }
    }

    /// Stops it in order, as the server does.
    pub async fn stop(self) -> (Arc<TempDir>, BrokerConfig) {
        let Self { broker, log, metadata, dir, config, .. } = self;
        broker.shutdown().await;
        drop(broker);
        metadata.shutdown().await;
        tokio::task::spawn_blocking(move || log.close()).await.unwrap().unwrap();
        (dir, config)
    }

    /// Ends it with nothing closed in order, as a crash would, and starts again.
    pub async fn crash(self) -> Self {
        let Self { broker, log, metadata, registry, dir, config } = self;
        broker.shutdown().await;
        // The registry's collectors have handles of the log, too.
        drop((broker, registry));
        metadata.shutdown().await;
        tokio::task::spawn_blocking(move || drop(log)).await.unwrap();
        Self::open(dir, config).await
    }

    pub async fn restart(self) -> Self {
        let (dir, config) = self.stop().await;
        Self::open(dir, config).await
    }

    /// Starts again on what [`Self::stop`] has left.
    pub async fn reopen(dir: Arc<TempDir>, config: BrokerConfig) -> Self {
        Self::open(dir, config).await
    }

    /// A new connection with one pipeline.
    pub fn client(&self) -> Client {
        let peer = Peer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
            transport: TransportKind::Tcp,
            connection_id: 1,
            identity: None,
        };
        Client { pipeline: self.broker.connect(&peer).open_pipeline(), correlation_id: 0 }
    }

    /// The value of a metric with exactly these labels; 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let has = |metric: &prometheus::proto::Metric| {
            labels.iter().all(|(name, value)| {
                metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
            })
        };
        let metric = family.and_then(|family| family.get_metric().iter().find(|metric| has(metric)));
        metric.map_or(0.0, |metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
    }
}

async fn metadata(dir: &Path) -> Metadata {
    let registration =
        BrokerRegistration { id: NODE, host: "broker.example".into(), port: 9092, rack: Some("r1".into()) };
    let mut options = MetadataOptions::single(dir.join("metadata"), registration);
    options.cluster_id = Some(CLUSTER.into());
    Metadata::start(options, Arc::new(NoPeers)).await.unwrap()
}

/// One pipeline of requests.
pub struct Client {
    pipeline: Box<dyn Pipeline>,
    correlation_id: i32,
}

/// A request on its way.
pub struct InFlight<R> {
    reply: Reply,
    version: i16,
    correlation_id: i32,
    request: std::marker::PhantomData<R>,
}

impl Client {
    /// Sends a request and waits for its response.
    pub async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        self.start(version, request).await.response().await
    }

    /// Sends a request; others may follow before its response.
    pub async fn start<R: Request>(&mut self, version: i16, request: R) -> InFlight<R> {
        let reply = self.try_start(version, request).await.unwrap();
        InFlight { reply, version, correlation_id: self.correlation_id, request: std::marker::PhantomData }
    }

    pub async fn try_start<R: Request>(&mut self, version: i16, request: R) -> Result<Reply, CloseReason> {
        self.correlation_id += 1;
        let payload = encode_request(self.correlation_id, Some("test"), version, &request).unwrap();
        self.start_frame(payload.read_to_bytes().unwrap().slice(4..)).await
    }

    /// Sends bytes as they are, without a length prefix.
    pub async fn start_frame(&mut self, frame: Bytes) -> Result<Reply, CloseReason> {
        tokio::time::timeout(PATIENCE, self.pipeline.start(frame)).await.expect("a request starts in time")
    }
}

impl<R: Request> InFlight<R> {
    pub fn is_ready(&self) -> bool {
        matches!(self.reply, Reply::Ready(_))
    }

    pub async fn response(self) -> R::Response {
        let payload = match self.reply {
            Reply::Ready(payload) => payload,
            Reply::Later(later) => tokio::time::timeout(PATIENCE, later).await.expect("a reply in time"),
            Reply::None => panic!("no reply"),
        };
        decode::<R>(payload, self.version, self.correlation_id)
    }

    /// The reply that is still to come.
    pub fn later(self) -> BoxFuture<'static, R::Response>
    where
        R: Send + 'static,
    {
        Box::pin(self.response())
    }
}

/// Decodes a response, all of it.
pub fn decode<R: Request>(payload: Payload, version: i16, correlation_id: i32) -> R::Response {
    let bytes = payload.read_to_bytes().unwrap();
    let announced = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    assert_eq!(announced, bytes.len() - 4, "the length prefix is the frame's");
    let key = ApiKey::try_from(R::KEY).unwrap();
    let (id, mut body) = decode_response_header(bytes.slice(4..), key, version).unwrap();
    assert_eq!(id, correlation_id);
    let response = R::Response::decode(&mut body, version).unwrap();
    assert!(body.is_empty(), "{} bytes follow the response", body.len());
    response
}
