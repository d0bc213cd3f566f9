//! One running broker: the crates wired together, started in order and stopped in the reverse order.
//!
//! Start: data directory (locked, recovered) → metadata → broker → plugins → listener → HTTP. What comes later relies
//! on what came before, so nothing is served before it can be answered.

mod advertised;
mod cluster_file;
mod process;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_admin::{AdminError, AdminLimits, AdminOptions, AdminServer, Readiness};
use millrace_base::{Clock, Monotonic, Random, SystemClock};
use millrace_broker::{Broker, BrokerOptions};
use millrace_config::BrokerConfig;
use millrace_config::broker as config;
use millrace_disk::{Need, RealDisk, Reserve, is_full};
use millrace_log::{CompactionOptions, Health, LogManager, LogOptions, OpenError};
use millrace_metadata::{
    BrokerRegistration, Metadata, MetadataOptions, NoPeers, ReadyError, StartError as StartFailure,
};
use millrace_plugin_runner::{Plugins, PluginsError, PluginsOptions};
use millrace_transport::{
    CertificateSource, ClientAuth, ListenOptions, Listener, TcpTls, TlsContext, TlsError, TlsOptions,
    TransportLimits, TransportMetrics,
};
use prometheus::Registry;

pub use advertised::{Advertised, host_and_port};
use cluster_file::ClusterFileError;
use process::Descriptors;

/// Why a broker did not start. Each names the thing and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "data directory {} is in use by process {holder}: stop that process, or choose another directory \
         (--data-dir, or node.data_dir in the configuration file)",
        dir.display()
    )]
    InUse { dir: PathBuf, holder: String },
    #[error("open the log: {0}")]
    Log(OpenError),
    #[error(
        "{} holds {partitions} partitions, but there is no metadata at {} to say what they are: restore that \
         directory from a backup, or move the partitions away to begin anew",
        log.display(), metadata.display()
    )]
    NoMetadata { partitions: usize, log: PathBuf, metadata: PathBuf },
    #[error(
        "the {partitions} partitions beside {} are of cluster '{found}', which it names, but the broker is one of \
         cluster '{actual}' by its metadata at {}, or by its node.cluster_id: put the directories together that \
         belong together, or move the partitions away to begin anew",
        file.display(), metadata.display()
    )]
    OtherCluster { partitions: usize, found: String, actual: String, file: PathBuf, metadata: PathBuf },
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    #[error("prepare certificates: {0}")]
    Tls(#[from] TlsError),
    #[error("start the metadata: {0}")]
    Metadata(#[from] millrace_metadata::StartError),
    #[error("start the broker: {0}")]
    Broker(#[from] millrace_broker::StartError),
    #[error(transparent)]
    Plugins(#[from] PluginsError),
    #[error("{0}")]
    Listen(#[from] millrace_transport::ListenError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("reserve a port on {address}: {source}")]
    Port { address: SocketAddr, source: std::io::Error },
    #[error("a step of the start panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A running broker.
pub struct Node {
    config: Arc<BrokerConfig>,
    log: LogManager,
    metadata: Metadata,
    broker: Arc<Broker>,
    plugins: Plugins,
    listener: Listener,
    admin: AdminServer,
    advertised: Advertised,
    stopping: Arc<AtomicBool>,
}

impl Node {
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        process::keep_files_private();
        let descriptors = Descriptors::claim();
        let disk = Arc::new(RealDisk);
        let reserve = Reserve::new(disk, &config.node.data_dir.join("reserve"), config.log.reserve_bytes);
        let (log, tls) = open_storage(&config, descriptors, Arc::clone(&reserve), clock.clone()).await?;
        descriptors.tell_if_low(log.partitions().len(), config.limits.max_connections as usize);
        let started = Self::start_on(config, log.clone(), tls, descriptors, reserve, clock).await;
        // What was opened is closed in order, so that the next start has nothing to recover. Unless this one
        // had: leader epochs are begun after a recovery, and may not have been.
        if started.is_err() && log.was_closed_in_order() {
            close_log(log).await;
        }
        started
    }

    async fn start_on(
        config: Arc<BrokerConfig>,
        log: LogManager,
        tls: TlsContext,
        descriptors: Descriptors,
        reserve: Arc<Reserve>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let registry = Registry::new();
        let advertised = Advertised::of(&config.listen)?;
        refuse_lost_metadata(&config, &log)?;
        let metadata = start_own_metadata(&config, &log, &advertised, reserve).await?;
        let options = BrokerOptions {
            node_id: config.node.id,
            data_dir: log_dir(&config),
            config: config.clone(),
            random: Random::system(),
            time: Monotonic::system(),
        };
        let broker = Broker::start(options, log.clone(), metadata.clone(), &registry, clock.clone()).await?;
        let plugins = Plugins::start(PluginsOptions {
            disk: Arc::new(RealDisk),
            node_id: config.node.id,
            dir: config.node.data_dir.join("plugins"),
            secrets_dir: config.node.data_dir.join("secrets"),
            metadata: metadata.clone(),
            partitions: Arc::new(broker.local_partitions()),
            offsets: broker.committed_offsets(),
            registry: &registry,
            clock,
        })?;
        broker.serve_plugins(plugins.service());
        let transport_metrics = Arc::new(TransportMetrics::register(&registry)?);
        let listen_options = listen_options(&config, advertised.listen, tls, descriptors);
        let listener = millrace_transport::listen(listen_options, broker.clone(), transport_metrics)?;
        tell_who_is_let_in(&config);
        let stopping = Arc::new(AtomicBool::new(false));
        let readiness = readiness(log.clone(), metadata.clone(), stopping.clone());
        let admin = millrace_admin::serve(
            config.http.address,
            AdminOptions {
                registry,
                readiness,
                plugins: Some(plugins.service()),
                names: own_names(&config, &advertised),
                limits: AdminLimits::default(),
            },
        )
        .await?;
        Ok(Self { config, log, metadata, broker, plugins, listener, admin, advertised, stopping })
    }

    /// Where clients connect, with the port that was picked.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// What clients are told to connect to.
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// The generated authority's certificate; `None` where the operator brought a certificate.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.config.tls.cert_file.is_none().then(|| tls_dir(&self.config).join("ca.pem"))
    }

    pub fn cluster_id(&self) -> String {
        self.metadata.image().cluster_id().to_owned()
    }

    /// Takes no more requests, lets those in flight finish, and closes the log so that the next start has
    /// nothing to recover.
    pub async fn shutdown(self) {
        self.stopping.store(true, Ordering::SeqCst);
        let deadline = self.config.node.shutdown_timeout;
        // While their partitions are there. What a plugin does not finish in time is done again.
        if tokio::time::timeout(deadline, self.plugins.shutdown()).await.is_err() {
            tracing::warn!(?deadline, "a plugin did not end in time");
        }
        self.broker.drain();
        self.listener.shutdown(deadline).await;
        self.broker.shutdown().await;
        self.metadata.shutdown().await;
        close_log(self.log).await;
        self.admin.shutdown(Duration::from_secs(1)).await;
    }
}

fn log_dir(config: &BrokerConfig) -> PathBuf {
    config.node.data_dir.join("log")
}

fn metadata_dir(config: &BrokerConfig) -> PathBuf {
    config.node.data_dir.join("metadata")
}

fn tls_dir(config: &BrokerConfig) -> PathBuf {
    config.node.data_dir.join("tls")
}

/// Locks and recovers the data directory, and only then touches anything else in it.
async fn open_storage(
    config: &Arc<BrokerConfig>,
    descriptors: Descriptors,
    reserve: Arc<Reserve>,
    clock: Arc<dyn Clock>,
) -> Result<(LogManager, TlsContext), StartError> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        let log = open_log(&config, descriptors, Arc::clone(&reserve), clock.clone())?;
        let tls = load_tls(&config, &reserve, &clock).inspect_err(|_| {
            if log.was_closed_in_order() {
                log.close().ok();
            }
        })?;
        Ok((log, tls))
    })
    .await?
}

/// A certificate that is due is made on a full disk, too.
fn load_tls(
    config: &BrokerConfig,
    reserve: &Reserve,
    clock: &Arc<dyn Clock>,
) -> Result<TlsContext, TlsError> {
    loop {
        match TlsContext::load(tls_options(config), Arc::clone(clock)) {
            Err(TlsError::File { source, .. }) if is_full(&source) && reserve.give_up(Need::Control) => {}
            loaded => return loaded,
        }
    }
}

fn open_log(
    config: &BrokerConfig,
    descriptors: Descriptors,
    reserve: Arc<Reserve>,
    clock: Arc<dyn Clock>,
) -> Result<LogManager, StartError> {
    let options = LogOptions {
        wal_bytes: config.log.wal_bytes,
        tail_bytes: config.log.tail_bytes,
        pending_bytes: config.log.pending_bytes,
        open_segments: descriptors.segments,
        reserve,
        compaction: CompactionOptions {
            threads: config.log.cleaner_threads as usize,
            dedupe_buffer_bytes: config.log.cleaner_dedupe_buffer_bytes,
            io_bytes_per_second: config.log.cleaner_io_bytes_per_second,
            backoff: config.log.cleaner_backoff,
        },
        ..LogOptions::default()
    };
    let opened = LogManager::open(Arc::new(RealDisk), &log_dir(config), options, clock);
    let (log, report) = opened.map_err(|error| match error {
        OpenError::Locked { holder, .. } => StartError::InUse { dir: config.node.data_dir.clone(), holder },
        error => StartError::Log(error),
    })?;
    if report.clean {
        tracing::debug!(partitions = report.partitions, took = ?report.took, "log opened");
    } else {
        tracing::warn!(
            partitions = report.partitions,
            replayed_bytes = report.replayed_bytes,
            scanned_bytes = report.scanned_bytes,
            truncated_bytes = report.truncated_bytes,
            took = ?report.took,
            "log recovered: the last process did not close it"
        );
    }
    Ok(log)
}

/// Metadata that begins anew would take every partition here for one of a deleted topic, and remove it.
fn refuse_lost_metadata(config: &BrokerConfig, log: &LogManager) -> Result<(), StartError> {
    let (partitions, metadata) = (log.partitions().len(), metadata_dir(config));
    if partitions > 0 && !metadata.exists() {
        return Err(StartError::NoMetadata { partitions, log: log_dir(config), metadata });
    }
    Ok(())
}

/// Starts the metadata, if they are those of the cluster whose partitions the log holds, and notes that they are.
async fn start_own_metadata(
    config: &BrokerConfig,
    log: &LogManager,
    advertised: &Advertised,
    reserve: Arc<Reserve>,
) -> Result<Metadata, StartError> {
    let partitions = log.partitions().len();
    let found = cluster_file::read(&RealDisk, &log_dir(config))?;
    let other = |found: &str, actual: &str| StartError::OtherCluster {
        partitions,
        found: found.to_owned(),
        actual: actual.to_owned(),
        file: cluster_file::path(&log_dir(config)),
        metadata: metadata_dir(config),
    };
    // Without partitions nothing can be taken for something else.
    let bound = found.clone().filter(|_| partitions > 0);
    if let (Some(found), Some(named)) = (&bound, &config.node.cluster_id)
        && found != named
    {
        return Err(other(found, named));
    }
    let cluster_id = config.node.cluster_id.clone().or_else(|| bound.clone());
    // It checks the id before it has this broker registered.
    let metadata = start_metadata(config, advertised, cluster_id, reserve).await.map_err(|error| {
        match (error, &bound) {
            (StartFailure::NotReady(ReadyError::WrongCluster { actual, .. }), Some(found)) => {
                other(found, &actual)
            }
            (error, _) => StartError::Metadata(error),
        }
    })?;
    let actual = metadata.image().cluster_id().to_owned();
    if found.as_ref() != Some(&actual) {
        cluster_file::write(&RealDisk, &log_dir(config), &actual)?;
    }
    Ok(metadata)
}

async fn start_metadata(
    config: &BrokerConfig,
    advertised: &Advertised,
    cluster_id: Option<String>,
    reserve: Arc<Reserve>,
) -> Result<Metadata, StartFailure> {
    let registration = BrokerRegistration {
        id: config.node.id,
        host: advertised.host.clone(),
        port: advertised.port,
        rack: config.node.rack.clone(),
    };
    let options = MetadataOptions {
        cluster_id,
        reserve,
        ..MetadataOptions::single(metadata_dir(config), registration)
    };
    Metadata::start(options, Arc::new(NoPeers)).await
}

fn tls_options(config: &BrokerConfig) -> TlsOptions {
    let certificate = match (&config.tls.cert_file, &config.tls.key_file) {
        (Some(certificate), Some(key)) => {
            CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }
        }
        _ => {
            let mut hosts = config.tls.names.clone();
            hosts.extend(advertised::certificate_names(&config.listen));
            CertificateSource::Generated { dir: tls_dir(config), hosts }
        }
    };
    let client_auth = match config.tls.client_auth {
        config::ClientAuth::None => ClientAuth::None,
        config::ClientAuth::Optional => ClientAuth::Optional,
        config::ClientAuth::Required => ClientAuth::Required,
    };
    TlsOptions { certificate, client_auth, client_ca: config.tls.ca_file.clone() }
}

/// The names that the operator gave this broker, besides addresses.
fn own_names(config: &BrokerConfig, advertised: &Advertised) -> Vec<String> {
    config.tls.names.iter().chain([&advertised.host]).cloned().collect()
}

/// What an operator may not expect of his listeners.
fn tell_who_is_let_in(config: &BrokerConfig) {
    if config.tcp_tls() != config.tls.tcp {
        tracing::info!("plain TCP is refused, since tls.client_auth requires a certificate of every client");
    }
    if !config.http.address.ip().is_loopback() {
        tracing::warn!(
            address = %config.http.address,
            "HTTP is served beyond this machine and asks nobody who he is: whoever reaches it manages plugins"
        );
    }
}

fn listen_options(
    config: &BrokerConfig,
    address: SocketAddr,
    tls: TlsContext,
    descriptors: Descriptors,
) -> ListenOptions {
    let limits = &config.limits;
    ListenOptions {
        address,
        tls,
        tcp_tls: match config.tcp_tls() {
            config::TcpTls::Off => TcpTls::Off,
            config::TcpTls::Allowed => TcpTls::Allowed,
            config::TcpTls::Required => TcpTls::Required,
        },
        limits: TransportLimits {
            connections_max: (limits.max_connections as usize).min(descriptors.connections),
            connections_per_ip_max: limits.max_connections_per_ip.map(|max| max as usize),
            frame_bytes_max: limits.max_request_bytes as usize,
            in_flight_max: limits.requests_in_flight as usize,
            receive_bytes_max: usize::try_from(limits.request_memory_bytes).unwrap_or(usize::MAX),
            reply_bytes_max: usize::try_from(limits.request_memory_bytes).unwrap_or(usize::MAX),
            idle_timeout: limits.idle_timeout,
            ..TransportLimits::default()
        },
        quic: millrace_transport::QuicTuning::default(),
    }
}

fn readiness(
    log: LogManager,
    metadata: Metadata,
    stopping: Arc<AtomicBool>,
) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    Arc::new(move || {
        if stopping.load(Ordering::SeqCst) {
            return Readiness::NotReady("the broker is stopping".to_owned());
        }
        if let Some(reason) = metadata.failure() {
            return Readiness::NotReady(format!("the metadata has stopped: {reason}"));
        }
        if let Some(reason) = metadata.stall() {
            return Readiness::NotReady(format!("the metadata wait for this to pass: {reason}"));
        }
        match log.health() {
            Health::Ok => Readiness::Ready,
            Health::Stalled(reason) => {
                Readiness::NotReady(format!("the log waits for this to pass: {reason}"))
            }
            Health::Failed(reason) => Readiness::NotReady(format!("the log has failed: {reason}")),
        }
    })
}

async fn close_log(log: LogManager) {
    match tokio::task::spawn_blocking(move || log.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "close the log; the next start will recover it"),
        Err(error) => tracing::error!(%error, "close the log; the next start will recover it"),
    }
}
