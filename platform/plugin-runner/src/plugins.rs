//! Everything about plugins on one broker: made of its parts, started and stopped as one.
//!
//! Plugins run on threads of their own, so that whatever they compute, requests are answered by others. The
//! host, which reserves address space for instances, is made when the first deployment or module asks for it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_base::{BrokerId, Clock};
use millrace_coordinator::{CommittedOffsets, Partitions};
use millrace_disk::Disk;
use millrace_metadata::Metadata;
use millrace_plugin_host::{HostLimits, HostOptions, LogSink, ModuleStore, PluginHost};
use millrace_protocol::plugins::{ErrorKind, PartitionProgress, PluginError, PluginService};
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::logs::PluginLogs;
use crate::metrics::PluginMetrics;
use crate::modules::Modules;
use crate::offsets::Offsets;
use crate::partitioners::{HostSource, Partitioners};
use crate::pressure::Pressure;
use crate::runner::{Parts, Runner};
use crate::secrets::Secrets;
use crate::service::{Progress, Service, ServiceParts};
use crate::spec::GrantSource;
use crate::worker::Shared;

/// How long an instance is kept without work.
const INSTANCE_IDLE: Duration = Duration::from_secs(10);
/// How long compiled code is kept without an instance.
const CODE_IDLE: Duration = Duration::from_secs(60);
/// How often idle things are looked for, and gauges brought up to date.
const UPKEEP: Duration = Duration::from_secs(2);

/// What plugins on a broker are made of.
pub struct PluginsOptions<'r> {
    pub node_id: BrokerId,
    pub disk: Arc<dyn Disk>,
    /// Where modules and their compiled code are kept.
    pub dir: PathBuf,
    /// Where the keys are that seal secrets and authenticate compiled code, apart from both.
    pub secrets_dir: PathBuf,
    pub metadata: Metadata,
    pub partitions: Arc<dyn Partitions>,
    pub offsets: Arc<CommittedOffsets>,
    pub registry: &'r Registry,
    pub clock: Arc<dyn Clock>,
}

/// Plugins that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PluginsError {
    #[error("open the modules of plugins in {}: {error}", dir.display())]
    Modules { dir: PathBuf, error: std::io::Error },
    #[error("start the threads of plugins: {0}")]
    Threads(std::io::Error),
    #[error("register the metrics of plugins: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// See the module's text. To be stopped with [`Plugins::shutdown`].
pub struct Plugins {
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    logs: PluginLogs,
    runtime: Option<Runtime>,
}

impl Plugins {
    pub fn start(options: PluginsOptions<'_>) -> Result<Self, PluginsError> {
        let runtime = Builder::new_multi_thread().thread_name("plugins").enable_all().build();
        let runtime = runtime.map_err(PluginsError::Threads)?;
        let threads = runtime.handle().clone();
        let metrics = PluginMetrics::register(options.registry)?;
        let modules_dir = options.dir.join("modules");
        let modules = Modules::open(Arc::clone(&options.disk), &modules_dir, Arc::clone(&options.clock))
            .map_err(|error| PluginsError::Modules { dir: modules_dir, error })?;
        let logs = PluginLogs::start(
            Arc::clone(&options.partitions),
            options.metadata.clone(),
            Arc::clone(&options.clock),
            metrics.clone(),
            &threads,
        );
        // One for all: it keeps two from making a key at once.
        let secrets = Arc::new(Secrets::new(options.secrets_dir.clone()));
        let host = LazyHost {
            made: OnceLock::new(),
            cache_dir: options.dir.join("compiled"),
            secrets: Arc::clone(&secrets),
            modules: Arc::new(modules.clone()),
            logs: logs.clone(),
            clock: Arc::clone(&options.clock),
        };
        let host = Arc::new(host);
        let source: HostSource = {
            let host = Arc::clone(&host);
            Arc::new(move || host.get())
        };
        let grant_source = Arc::new(GrantSource::new(secrets));
        let runner = Runner::new(Parts {
            node_id: options.node_id,
            shared: shared(&options, &logs),
            host: Arc::clone(&source),
            grant_source: Arc::clone(&grant_source),
            metrics: metrics.clone(),
            runtime: threads.clone(),
        });
        let partitioners = Arc::new(Partitioners::new(
            options.metadata.clone(),
            Arc::clone(&source),
            Arc::clone(&grant_source),
            metrics.clone(),
            threads.clone(),
        ));
        let service = Arc::new(Service::new(ServiceParts {
            metadata: options.metadata,
            partitions: options.partitions,
            modules,
            host: source,
            grant_source,
            partitioners: Arc::clone(&partitioners),
            progress: Arc::clone(&runner) as Arc<dyn Progress>,
            clock: options.clock,
        }));
        let (stop, stopped) = watch::channel(false);
        let upkeep = Upkeep { host, partitioners, runner: Arc::clone(&runner), metrics };
        let tasks = vec![
            threads.spawn(runner.follow(stopped.clone())),
            threads.spawn(upkeep.run(Arc::clone(&service), stopped)),
        ];
        Ok(Self { service, stop, tasks, logs, runtime: Some(runtime) })
    }

    /// What answers requests about plugins.
    pub fn service(&self) -> Arc<dyn PluginService> {
        Arc::clone(&self.service) as Arc<dyn PluginService>
    }

    /// Ends all plugins between two batches, with everything that is done committed. The partitions are still
    /// there.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the plugins failed");
            }
        }
        self.logs.flush().await;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would wait for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn shared(options: &PluginsOptions<'_>, logs: &PluginLogs) -> Arc<Shared> {
    let partitions = Arc::clone(&options.partitions);
    let offsets = Offsets::new(Arc::clone(&options.offsets), options.metadata.clone());
    Arc::new(Shared {
        partitions,
        metadata: options.metadata.clone(),
        offsets: Arc::new(offsets),
        logs: logs.clone(),
        pressure: Pressure::default(),
        idle: INSTANCE_IDLE,
    })
}

impl Progress for Runner {
    fn partitions(&self, name: &str) -> Vec<PartitionProgress> {
        self.progress(name, false)
    }

    fn replay(&self, name: &str) -> Vec<PartitionProgress> {
        self.progress(name, true)
    }

    fn established<'a>(&'a self, name: &'a str, index: u64) -> futures::future::BoxFuture<'a, ()> {
        Box::pin(self.established(name, index))
    }
}

/// The host, made when it is needed.
struct LazyHost {
    made: OnceLock<PluginHost>,
    cache_dir: PathBuf,
    secrets: Arc<Secrets>,
    modules: Arc<Modules>,
    logs: PluginLogs,
    clock: Arc<dyn Clock>,
}

impl LazyHost {
    fn get(&self) -> Result<PluginHost, PluginError> {
        if let Some(host) = self.made.get() {
            return Ok(host.clone());
        }
        let unavailable = |reason: String| PluginError::new(ErrorKind::Unavailable, reason);
        let cache_key = self.secrets.compiled_key().map_err(|error| unavailable(error.to_string()))?;
        let host = PluginHost::new(HostOptions {
            limits: HostLimits::default(),
            cache_dir: self.cache_dir.clone(),
            cache_key,
            modules: Arc::clone(&self.modules) as Arc<dyn ModuleStore>,
            log: Arc::new(self.logs.clone()) as Arc<dyn LogSink>,
            clock: Arc::clone(&self.clock),
        });
        let host = host.map_err(|error| unavailable(error.to_string()))?;
        // Of two that are made at once, one is used.
        Ok(self.made.get_or_init(|| host).clone())
    }
}

/// What is done now and then.
struct Upkeep {
    host: Arc<LazyHost>,
    partitioners: Arc<Partitioners>,
    runner: Arc<Runner>,
    metrics: PluginMetrics,
}

impl Upkeep {
    async fn run(self, service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
        service.collect_garbage().await;
        service.warn_of_clear_secrets();
        loop {
            tokio::select! {
                () = tokio::time::sleep(UPKEEP) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            self.runner.measure();
            let Some(host) = self.host.made.get() else { continue };
            self.partitioners.release_idle(INSTANCE_IDLE);
            host.unload_idle(CODE_IDLE);
            self.metrics.host(&host.stats());
        }
    }
}
