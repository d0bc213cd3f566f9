//! A plugin host with everything in memory but its cache of compiled modules.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::SystemClock;
use millrace_plugin_host::{
    CallLimits, Database, Deployment, DeploymentSpec, Grants, HostLimits, HostOptions, Kind, LogLevel,
    LogLine, LogSink, ModuleDigest, ModuleStore, PluginHost, Secret,
};

#[derive(Default)]
struct Modules(Mutex<HashMap<ModuleDigest, Bytes>>);

impl ModuleStore for Modules {
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, std::io::Result<Option<Bytes>>> {
        let modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = modules.get(&digest).cloned();
        Box::pin(async move { Ok(found) })
    }
}

/// Shows guests' lines in the test's output.
struct Lines;

impl LogSink for Lines {
    fn write(&self, line: LogLine<'_>) {
        eprintln!("{:?}: {}", line.level, line.message);
    }
}

/// A host, and the modules that it can load.
pub struct Bench {
    host: PluginHost,
    modules: Arc<Modules>,
    _cache: tempfile::TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    pub fn new() -> Self {
        let cache = tempfile::tempdir().expect("make a directory");
        let modules = Arc::<Modules>::default();
        let host = PluginHost::new(HostOptions {
            limits: HostLimits::default(),
            cache_dir: cache.path().to_owned(),
            cache_key: [7; 32],
            modules: Arc::clone(&modules) as Arc<dyn ModuleStore>,
            log: Arc::new(Lines),
            clock: Arc::new(SystemClock),
        });
        Self { host: host.expect("start the host"), modules, _cache: cache }
    }

    /// Checks and compiles the module, as a deploy does, and deploys it.
    pub async fn deploy(&self, module: Bytes, kind: Kind, setup: Setup) -> Arc<Deployment> {
        let digest = ModuleDigest::of(&module);
        self.modules.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, module);
        let info = self.host.prepare(digest).await.expect("the module is in order");
        assert_eq!(info.kind, kind);
        setup.grants.check(&info).expect("what it asks for is granted");
        self.host.deployment(DeploymentSpec {
            name: "test".to_owned(),
            version: 1,
            module: digest,
            kind,
            topic: "orders".to_owned(),
            outputs: setup.outputs,
            config: setup.config,
            grants: setup.grants,
            limits: setup.limits,
            log_level: LogLevel::Info,
        })
    }
}

/// What a deployment gets besides its module.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    outputs: Vec<String>,
    config: Vec<(String, String)>,
    grants: Grants,
    limits: CallLimits,
}

impl Setup {
    #[must_use]
    pub fn outputs(mut self, topics: &[&str]) -> Self {
        self.outputs = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.grants.secrets.insert(name.to_owned(), Secret::new(value.to_owned()));
        self
    }

    #[must_use]
    pub fn http(mut self, target: &str) -> Self {
        self.grants.http.push(target.parse().expect("it names hosts"));
        self
    }

    #[must_use]
    pub fn database(mut self, name: &str, database: Arc<dyn Database>) -> Self {
        self.grants.postgres = BTreeMap::from([(name.to_owned(), database)]);
        self
    }

    #[must_use]
    pub const fn limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// Limits for languages that bring an interpreter, on a machine that is busy with other tests.
pub fn roomy() -> CallLimits {
    CallLimits {
        busy: Duration::from_secs(60),
        elapsed: Duration::from_secs(120),
        memory_bytes: 256 << 20,
        ..CallLimits::default()
    }
}
