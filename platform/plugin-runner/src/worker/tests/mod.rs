//! Deployments at work: real plugins, the real metadata, partitions in memory.

mod cases;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::{BrokerId, SystemClock, TopicPartition};
use millrace_coordinator::CommittedOffsets;
use millrace_metadata::Command;
use millrace_plugin_host::{HostLimits, HostOptions, Kind, ModuleStore, PluginHost};
use millrace_protocol::plugins::{
    Definition, FailurePolicy, GrantDefinitions, LimitOverrides, LogLevel, ModuleDigest, PartitionProgress,
    PartitionState, StartPosition,
};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::Secrets;
use crate::logs::PluginLogs;
use crate::metrics::PluginMetrics;
use crate::runner::{Parts, Runner};
use crate::spec::GrantSource;
use crate::testing::guests::guest;
use crate::testing::{MemoryPartitions, PATIENCE, TestCluster};

/// A runner on a cluster in memory, and what stops it.
struct Bench {
    cluster: TestCluster,
    host: TestHost,
    runner: Arc<Runner>,
    stop: watch::Sender<bool>,
    following: JoinHandle<()>,
}

impl Bench {
    async fn start() -> Self {
        let cluster = TestCluster::start().await;
        cluster.topic("in", 1).await;
        cluster.topic("out", 1).await;
        let host = TestHost::start(&cluster);
        let (runner, stop, following) = run(&cluster, &host);
        Self { cluster, host, runner, stop, following }
    }

    fn partitions(&self) -> &MemoryPartitions {
        &self.cluster.partitions
    }

    fn input(&self) -> TopicPartition {
        self.partitions().partition("in", 0)
    }

    fn output(&self) -> TopicPartition {
        self.partitions().partition("out", 0)
    }

    fn module(&self, name: &str, kind: Kind) -> ModuleDigest {
        self.host.add(guest(name, kind.world()))
    }

    async fn submit(&self, command: Command) {
        self.cluster.metadata.submit(command).await.unwrap();
    }

    /// Deploys, and waits until it has begun.
    async fn deploy(&self, name: &str, definition: Definition) {
        let definition = Box::new(definition);
        self.submit(Command::PutDeployment { name: name.to_owned(), definition, created_ms: 0 }).await;
        self.established(name).await;
    }

    async fn established(&self, name: &str) {
        let index = self.cluster.metadata.image().applied_index();
        let established = self.runner.established(name, index);
        tokio::time::timeout(PATIENCE, established).await.expect("the deployment begins");
    }

    /// Waits for a state of the deployment's only partition.
    async fn eventually(
        &self,
        name: &str,
        what: &str,
        is_it: impl Fn(&PartitionProgress) -> bool,
    ) -> PartitionProgress {
        let seen = async {
            loop {
                if let Some(progress) = self.runner.progress(name, false).into_iter().find(&is_it) {
                    return progress;
                }
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("{what}: {:?}", self.runner.progress(name, false)))
    }

    async fn done_to(&self, name: &str, offset: i64) {
        self.eventually(name, "all is done", |at| {
            at.offset >= Some(offset) && at.state == PartitionState::Idle
        })
        .await;
    }

    /// Stops the runner, with everything committed, and starts another on the same cluster.
    async fn restart(&mut self) {
        self.stop.send_replace(true);
        (&mut self.following).await.unwrap();
        (self.runner, self.stop, self.following) = run(&self.cluster, &self.host);
    }
}

fn run(cluster: &TestCluster, host: &TestHost) -> (Arc<Runner>, watch::Sender<bool>, JoinHandle<()>) {
    let runner = Runner::new(host.parts(cluster));
    let (stop, stopped) = watch::channel(false);
    let following = tokio::spawn(Arc::clone(&runner).follow(stopped));
    (runner, stop, following)
}

fn transform(module: ModuleDigest) -> Definition {
    Definition {
        module,
        kind: Kind::Transform,
        topic: "in".into(),
        outputs: vec!["out".into()],
        start: StartPosition::Earliest,
        failure: FailurePolicy::Halt,
        config: BTreeMap::new(),
        grants: GrantDefinitions::default(),
        limits: LimitOverrides::default(),
        log_level: LogLevel::Info,
    }
}

fn sink(module: ModuleDigest) -> Definition {
    Definition { kind: Kind::Sink, outputs: Vec::new(), ..transform(module) }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("record {number}")).collect()
}

/// Modules in memory.
#[derive(Default)]
struct MemoryModules(Mutex<HashMap<ModuleDigest, Bytes>>);

impl ModuleStore for MemoryModules {
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, std::io::Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.0.lock().get(&digest).cloned()) })
    }
}

/// What outlives a runner.
struct TestHost {
    modules: Arc<MemoryModules>,
    host: PluginHost,
    logs: PluginLogs,
    metrics: PluginMetrics,
}

impl TestHost {
    fn start(cluster: &TestCluster) -> Self {
        let metrics = PluginMetrics::register(&Registry::new()).unwrap();
        let partitions: Arc<dyn Partitions> = Arc::new(cluster.partitions.clone());
        let clock = Arc::new(SystemClock);
        let logs = PluginLogs::start(
            partitions,
            cluster.metadata.clone(),
            clock.clone(),
            metrics.clone(),
            &Handle::current(),
        );
        let modules = Arc::<MemoryModules>::default();
        let host = PluginHost::new(HostOptions {
            limits: HostLimits { instances: 16, ..HostLimits::default() },
            cache_dir: cluster.dir.path().join("compiled"),
            cache_key: [7; 32],
            modules: modules.clone(),
            log: Arc::new(logs.clone()),
            clock,
        });
        Self { modules, host: host.unwrap(), logs, metrics }
    }

    fn add(&self, bytes: Bytes) -> ModuleDigest {
        let digest = ModuleDigest::of(&bytes);
        self.modules.0.lock().insert(digest, bytes);
        digest
    }

    fn offsets(&self, cluster: &TestCluster) -> Arc<Offsets> {
        let partitions = Arc::new(cluster.partitions.clone());
        let committed = CommittedOffsets::new(partitions, Arc::new(SystemClock));
        Arc::new(Offsets::new(Arc::new(committed), cluster.metadata.clone()))
    }

    fn parts(&self, cluster: &TestCluster) -> Parts {
        let host = self.host.clone();
        Parts {
            node_id: BrokerId(1),
            shared: Arc::new(Shared {
                partitions: Arc::new(cluster.partitions.clone()),
                metadata: cluster.metadata.clone(),
                offsets: self.offsets(cluster),
                logs: self.logs.clone(),
                pressure: Pressure::default(),
                idle: Duration::from_millis(20),
            }),
            host: Arc::new(move || Ok(host.clone())),
            grant_source: Arc::new(GrantSource::new(Secrets::new(cluster.dir.path().join("secrets")))),
            metrics: self.metrics.clone(),
            runtime: Handle::current(),
        }
    }
}
