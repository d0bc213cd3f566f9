//! A plugin host with modules in a directory of the test's.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::SystemClock;
use millrace_disk::RealDisk;
use millrace_plugin_host::{HostLimits, HostOptions, LogLine, LogSink, ModuleDigest, PluginHost};
use millrace_protocol::plugins::ModuleChunk;

use super::TestCluster;
use crate::Modules;
use crate::partitioners::HostSource;

/// Throws lines away.
struct NoLog;

impl LogSink for NoLog {
    fn write(&self, _: LogLine<'_>) {}
}

/// A host of few instances, and what it runs.
pub(crate) struct TestHost {
    pub host: PluginHost,
    pub modules: Modules,
}

impl TestHost {
    pub fn new(cluster: &TestCluster) -> Self {
        let modules =
            Modules::open(Arc::new(RealDisk), &cluster.dir.path().join("modules"), Arc::new(SystemClock))
                .unwrap();
        let host = PluginHost::new(HostOptions {
            limits: HostLimits { instances: 20, ..HostLimits::default() },
            cache_dir: cluster.dir.path().join("compiled"),
            cache_key: [7; 32],
            modules: Arc::new(modules.clone()),
            log: Arc::new(NoLog),
            clock: Arc::new(SystemClock),
        });
        Self { host: host.unwrap(), modules }
    }

    pub fn source(&self) -> HostSource {
        let host = self.host.clone();
        Arc::new(move || Ok(host.clone()))
    }

    /// Uploads a module.
    pub async fn store(&self, bytes: &Bytes) -> ModuleDigest {
        let module = ModuleDigest::of(bytes);
        let chunk = ModuleChunk { module, total: bytes.len() as u64, offset: 0, bytes: bytes.clone() };
        self.modules.upload(chunk).await.unwrap();
        module
    }
}
