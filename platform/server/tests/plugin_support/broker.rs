//! A broker in this process whose answers about plugins are a table in memory: what the commands send and show
//! is tested with it, and nothing that runs plugins.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::BytesMut;
use futures::future::{BoxFuture, ready};
use millrace_base::{BrokerId, Monotonic, Random, SystemClock};
use millrace_broker::{Broker, BrokerOptions};
use millrace_config::BrokerConfig;
use millrace_disk::RealDisk;
use millrace_log::{LogManager, LogOptions};
use millrace_metadata::{BrokerRegistration, Metadata, MetadataOptions, NoPeers};
use millrace_plugin_host::inspect;
use millrace_protocol::plugins::{
    Definition, DeploymentState, Description, ManageReply, ManageRequest, ModuleChunk, ModuleDigest,
    ModuleInfo, PartitionProgress, PartitionRecords, PartitionState, PluginError, PluginService, Replay,
    Summary, UploadReply, VersionInfo,
};
use millrace_transport::{
    CertificateSource, ClientAuth, ListenOptions, Listener, QuicTuning, TcpTls, TlsContext, TlsOptions,
    TransportLimits, TransportMetrics,
};
use parking_lot::Mutex;
use prometheus::Registry;
use tempfile::TempDir;

const NODE: BrokerId = BrokerId(1);

/// Modules and deployments in memory.
#[derive(Default)]
pub struct Table {
    uploads: Mutex<HashMap<ModuleDigest, BytesMut>>,
    modules: Mutex<HashMap<ModuleDigest, ModuleInfo>>,
    deployments: Mutex<BTreeMap<String, Description>>,
    /// What was deployed last, secrets included.
    pub last: Mutex<Option<Definition>>,
}

/// A broker that listens on [`Self::address`].
pub struct PluginBroker {
    pub address: SocketAddr,
    pub table: Arc<Table>,
    _listener: Listener,
    _broker: Arc<Broker>,
    _metadata: Metadata,
    _dir: TempDir,
}

impl PluginBroker {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = port.expect("a free port");
        let config = BrokerConfig::dev(dir.path(), address, address);
        let registration =
            BrokerRegistration { id: NODE, host: address.ip().to_string(), port: address.port(), rack: None };
        let options = MetadataOptions::single(dir.path().join("metadata"), registration);
        let metadata = Metadata::start(options, Arc::new(NoPeers)).await.expect("metadata");
        let clock = Arc::new(SystemClock);
        let options = LogOptions { wal_bytes: 16 << 20, tail_bytes: 16 << 20, ..LogOptions::default() };
        let opened = LogManager::open(Arc::new(RealDisk), &dir.path().join("log"), options, clock.clone());
        let (log, _) = opened.expect("a log");
        let registry = Registry::new();
        let options = BrokerOptions {
            node_id: NODE,
            data_dir: dir.path().into(),
            config: Arc::new(config),
            random: Random::system(),
            time: Monotonic::system(),
        };
        let broker = Broker::start(options, log, metadata.clone(), &registry, clock.clone()).await;
        let broker = broker.expect("a broker");
        let table = Arc::<Table>::default();
        broker.serve_plugins(table.clone());
        let certificate =
            CertificateSource::Generated { dir: dir.path().join("tls"), hosts: vec!["localhost".into()] };
        let tls = TlsOptions { certificate, client_auth: ClientAuth::None, client_ca: None };
        let listen = ListenOptions {
            address,
            tls: TlsContext::load(tls, clock).expect("certificates"),
            tcp_tls: TcpTls::Allowed,
            limits: TransportLimits::default(),
            quic: QuicTuning::default(),
        };
        let metrics = Arc::new(TransportMetrics::register(&registry).expect("metrics"));
        let listener = millrace_transport::listen(listen, broker.clone(), metrics).expect("listen");
        Self { address, table, _listener: listener, _broker: broker, _metadata: metadata, _dir: dir }
    }
}

impl Table {
    fn answer(&self, request: ManageRequest) -> Result<ManageReply, PluginError> {
        let missing = |name: &str| PluginError::not_found(format!("there is no deployment '{name}'"));
        let mut deployments = self.deployments.lock();
        let mut change = |name: &str, change: &dyn Fn(&mut Description)| {
            let description = deployments.get_mut(name).ok_or_else(|| missing(name))?;
            change(description);
            Ok(ManageReply::Deployment(Box::new(description.clone())))
        };
        match request {
            ManageRequest::Inspect { module } => {
                let info = self.modules.lock().get(&module).cloned();
                let info = info.ok_or_else(|| PluginError::not_found(format!("there is no module {module}")));
                info.map(ManageReply::Module)
            }
            ManageRequest::Deploy { name, definition, validate_only } => {
                let before = deployments.get(&name);
                let description = deployed(&name, *definition.clone(), before);
                if !validate_only {
                    *self.last.lock() = Some(*definition);
                    deployments.insert(name, description.clone());
                }
                Ok(ManageReply::Deployment(Box::new(description)))
            }
            ManageRequest::List => Ok(ManageReply::Deployments(deployments.values().map(summary).collect())),
            // A replay moves on each time that it is asked about.
            ManageRequest::Describe { name } => change(&name, &|description| {
                for partition in &mut description.replay_partitions {
                    partition.offset = partition.offset.map(|offset| offset + 1);
                }
                description.replay_partitions.retain(|partition| partition.lag() > Some(0));
            }),
            ManageRequest::Pause { name } => change(&name, &|now| now.state = DeploymentState::Paused),
            ManageRequest::Resume { name } => change(&name, &|now| now.state = DeploymentState::Running),
            ManageRequest::Rollback { name, version } => {
                change(&name, &|now| now.version = version.unwrap_or(now.version - 1))
            }
            ManageRequest::Replay { name, topic } => change(&name, &|now| {
                let topic = topic.as_deref().or(now.definition.dead_letter_topic());
                let topic = topic.expect("a dead-letter topic").to_owned();
                now.replay = Some(Replay { topic, number: 1, until: vec![3] });
                now.replay_partitions = vec![progress(0, 3)];
            }),
            ManageRequest::Delete { name } => {
                deployments.remove(&name).map(|_| ManageReply::Deleted).ok_or_else(|| missing(&name))
            }
        }
    }

    fn take(&self, chunk: &ModuleChunk) -> Result<UploadReply, PluginError> {
        let mut uploads = self.uploads.lock();
        let there = uploads.entry(chunk.module).or_default();
        if chunk.offset == there.len() as u64 {
            there.extend_from_slice(&chunk.bytes);
        }
        if (there.len() as u64) < chunk.total {
            return Ok(UploadReply::Continue { offset: there.len() as u64 });
        }
        let info = inspect(there).map_err(|error| PluginError::invalid(error.to_string()))?;
        self.modules.lock().insert(chunk.module, info.clone());
        Ok(UploadReply::Stored(info))
    }
}

fn deployed(name: &str, definition: Definition, before: Option<&Description>) -> Description {
    let version = before.map_or(1, |before| before.version + 1);
    let mut versions = before.map_or_else(Vec::new, |before| before.versions.clone());
    versions.push(VersionInfo { version, module: definition.module, created_ms: 0 });
    Description {
        name: name.to_owned(),
        state: DeploymentState::Running,
        version,
        created_ms: 0,
        group: format!("__plugin.{name}"),
        definition: Definition { grants: definition.grants.redacted(), ..definition },
        versions,
        partitions: vec![progress(2, 5)],
        replay: None,
        replay_partitions: Vec::new(),
    }
}

const fn progress(offset: i64, end_offset: i64) -> PartitionProgress {
    let (error, backtrace) = (None, None);
    PartitionProgress {
        partition: 0,
        state: PartitionState::Running,
        offset: Some(offset),
        end_offset,
        error,
        backtrace,
    }
}

fn summary(description: &Description) -> Summary {
    Summary {
        name: description.name.clone(),
        kind: description.definition.kind,
        state: description.state,
        version: description.version,
        module: description.definition.module,
        topic: description.definition.topic.clone(),
        outputs: description.definition.outputs.clone(),
        lag: 3,
    }
}

impl PluginService for Table {
    fn manage(&self, request: ManageRequest) -> BoxFuture<'_, Result<ManageReply, PluginError>> {
        Box::pin(ready(self.answer(request)))
    }

    fn upload(&self, chunk: ModuleChunk) -> BoxFuture<'_, Result<UploadReply, PluginError>> {
        Box::pin(ready(self.take(&chunk)))
    }

    fn partition(&self, request: PartitionRecords) -> BoxFuture<'_, Result<Vec<u32>, PluginError>> {
        let reason = format!("topic '{}' has no partitioner", request.topic);
        Box::pin(ready(Err(PluginError::invalid(reason))))
    }

    fn partitioner(&self, _: &str) -> Option<String> {
        None
    }
}
