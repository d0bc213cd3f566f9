//! The host: one a broker. It owns the engine, the compiled modules and what guests share.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_base::Clock;

use crate::deployment::{Deployment, DeploymentSpec};
use crate::engine::PluginEngine;
use crate::imports::log::LogSink;
use crate::library::{CacheKey, Library, LibraryStats, LoadError, ModuleStore};
use crate::limits::HostLimits;
use crate::module::{ModuleDigest, ModuleInfo};
use crate::shared::HostShared;

/// What a host is made of.
pub struct HostOptions {
    pub limits: HostLimits,
    /// Where compiled modules are kept; the broker's own, since its contents are run.
    pub cache_dir: PathBuf,
    /// What the compiled modules there are authenticated with: who does not know it cannot make one that is run.
    pub cache_key: CacheKey,
    pub modules: Arc<dyn ModuleStore>,
    pub log: Arc<dyn LogSink>,
    /// The time that sinks see.
    pub clock: Arc<dyn Clock>,
}

/// A host that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("start the WebAssembly engine: {0}")]
    Engine(String),
    #[error("open the cache of compiled plugins in {path}: {error}")]
    Cache { path: PathBuf, error: io::Error },
}

/// Counts of the whole host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    pub library: LibraryStats,
    /// Instances started since the host was.
    pub instances_started: u64,
}

/// A handle to the host; clones are the same host.
#[derive(Clone)]
pub struct PluginHost(Arc<HostShared>);

impl PluginHost {
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let engine = PluginEngine::new(&options.limits);
        let engine = engine.map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let threads = options.limits.compile_threads;
        let library =
            Library::open(&engine.engine, options.modules, &options.cache_dir, &options.cache_key, threads);
        let library = library.map_err(|error| HostError::Cache { path: options.cache_dir, error })?;
        Ok(Self(Arc::new(HostShared {
            engine,
            library,
            log: options.log,
            clock: options.clock,
            http: OnceLock::new(),
            starts: AtomicU64::new(0),
        })))
    }

    /// Reads, checks and compiles a module, so that its first batch does not wait for that. What it asks for
    /// is to be held against the deployment's grants: [`crate::Grants::check`].
    pub async fn prepare(&self, module: ModuleDigest) -> Result<ModuleInfo, LoadError> {
        self.0.library.prepare(module).await
    }

    /// A deployment of a module that was prepared once, on this broker or another. Loads nothing.
    pub fn deployment(&self, spec: DeploymentSpec) -> Arc<Deployment> {
        Arc::new(Deployment::new(spec, Arc::clone(&self.0)))
    }

    /// Unloads the code of modules that no instance runs and nothing has used for `idle`; the broker calls
    /// it now and then. Returns how many that were.
    pub fn unload_idle(&self, idle: Duration) -> usize {
        self.0.library.unload_idle(idle)
    }

    /// Deletes a module's compiled code from disk, once no deployment names it.
    pub fn forget(&self, module: ModuleDigest) -> io::Result<()> {
        self.0.library.forget(module)
    }

    pub fn stats(&self) -> HostStats {
        HostStats {
            library: self.0.library.stats(),
            instances_started: self.0.starts.load(Ordering::Relaxed),
        }
    }
}
