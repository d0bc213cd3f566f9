//! Compiled modules: loaded when an instance is started, from the cache on disk or from the module's bytes,
//! and unloaded when nothing has used them for a while.

mod cache;
mod compiler;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_disk::RealDisk;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::module::{ModuleDigest, ModuleError, inspect};
use crate::run::State;
use crate::{CapabilitySet, ModuleInfo};
pub use cache::CacheKey;
use cache::CompiledCache;
use compiler::Compiler;

/// Where modules are kept, by the SHA-256 of their bytes. Implemented outside this crate.
pub trait ModuleStore: Send + Sync + 'static {
    /// The module's bytes as they were uploaded, or `None` if there is no such module.
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, io::Result<Option<Bytes>>>;
}

/// A module that cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no module {digest}")]
    NoSuchModule { digest: ModuleDigest },
    #[error("read module {digest}: {error}")]
    Read { digest: ModuleDigest, error: Arc<io::Error> },
    #[error("module {digest} is damaged: its bytes have the digest {found}")]
    Damaged { digest: ModuleDigest, found: ModuleDigest },
    #[error("module {digest} is refused: {error}")]
    Refused { digest: ModuleDigest, error: ModuleError },
    #[error("compile module {digest}: {reason}")]
    Compile { digest: ModuleDigest, reason: String },
    #[error("link module {digest}: {reason}")]
    Link { digest: ModuleDigest, reason: String },
}

/// A module's code in memory.
pub(crate) struct Loaded {
    digest: ModuleDigest,
    component: Component,
    /// The component with its imports resolved, for each set of capabilities.
    linked: [OnceLock<InstancePre<State>>; CapabilitySet::COUNT],
    used_ms: AtomicU64,
}

impl Loaded {
    pub fn link(
        &self,
        capabilities: CapabilitySet,
        linker: impl FnOnce() -> wasmtime::Result<Linker<State>>,
    ) -> Result<&InstancePre<State>, LoadError> {
        let slot = &self.linked[capabilities.index()];
        if let Some(linked) = slot.get() {
            return Ok(linked);
        }
        let linked = linker().and_then(|linker| linker.instantiate_pre(&self.component));
        let failed = |error| LoadError::Link { digest: self.digest, reason: format!("{error:#}") };
        let linked = linked.map_err(failed)?;
        Ok(slot.get_or_init(|| linked))
    }
}

/// Counts since the host was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LibraryStats {
    /// Modules whose code is in memory.
    pub loaded: usize,
    pub compiled: u64,
    pub from_cache: u64,
    pub unloaded: u64,
}

/// Runs what takes milliseconds on a thread that may take them.
async fn aside<R: Send + 'static>(
    digest: ModuleDigest,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, LoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LoadError::Compile { digest, reason: error.to_string() })
}

type Slot = Arc<OnceCell<Arc<Loaded>>>;

pub(crate) struct Library {
    engine: Engine,
    modules: Arc<dyn ModuleStore>,
    cache: Arc<CompiledCache>,
    compiler: Compiler,
    slots: Mutex<HashMap<ModuleDigest, Slot>>,
    started: Instant,
    compiled: AtomicU64,
    from_cache: AtomicU64,
    unloaded: AtomicU64,
}

impl Library {
    pub fn open(
        engine: &Engine,
        modules: Arc<dyn ModuleStore>,
        cache_dir: &Path,
        cache_key: &CacheKey,
        compile_threads: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            engine: engine.clone(),
            modules,
            cache: Arc::new(CompiledCache::open(Arc::new(RealDisk), cache_dir, cache_key, engine)?),
            compiler: Compiler::new(engine.clone(), compile_threads),
            slots: Mutex::default(),
            started: Instant::now(),
            compiled: AtomicU64::new(0),
            from_cache: AtomicU64::new(0),
            unloaded: AtomicU64::new(0),
        })
    }

    /// The module's code. Of several who ask at once, one loads it and the others wait.
    pub async fn get(&self, digest: ModuleDigest) -> Result<Arc<Loaded>, LoadError> {
        let slot = Arc::clone(self.slots.lock().entry(digest).or_default());
        let loaded = slot.get_or_try_init(|| self.load(digest)).await?;
        loaded.used_ms.store(self.now_ms(), Ordering::Relaxed);
        Ok(Arc::clone(loaded))
    }

    /// Reads and checks the module, and compiles it if that was not done before.
    pub async fn prepare(&self, digest: ModuleDigest) -> Result<ModuleInfo, LoadError> {
        let bytes = self.bytes(digest).await?;
        let info = aside(digest, move || inspect(&bytes)).await?;
        let info = info.map_err(|error| LoadError::Refused { digest, error })?;
        self.get(digest).await?;
        Ok(info)
    }

    async fn bytes(&self, digest: ModuleDigest) -> Result<Bytes, LoadError> {
        let read = self.modules.load(digest).await;
        let bytes = read.map_err(|error| LoadError::Read { digest, error: Arc::new(error) })?;
        let bytes = bytes.ok_or(LoadError::NoSuchModule { digest })?;
        let hashed = bytes.clone();
        let found = aside(digest, move || ModuleDigest::of(&hashed)).await?;
        if found == digest { Ok(bytes) } else { Err(LoadError::Damaged { digest, found }) }
    }

    async fn load(&self, digest: ModuleDigest) -> Result<Arc<Loaded>, LoadError> {
        let component = match self.cached(digest).await {
            Some(component) => {
                self.from_cache.fetch_add(1, Ordering::Relaxed);
                component
            }
            None => {
                let bytes = self.bytes(digest).await?;
                let compiled = self.compiler.compile(digest, bytes, Arc::clone(&self.cache)).await?;
                self.compiled.fetch_add(1, Ordering::Relaxed);
                compiled
            }
        };
        Ok(Arc::new(Loaded { digest, component, linked: Default::default(), used_ms: AtomicU64::new(0) }))
    }

    async fn cached(&self, digest: ModuleDigest) -> Option<Component> {
        let (cache, engine) = (Arc::clone(&self.cache), self.engine.clone());
        tokio::task::spawn_blocking(move || cache.load(&engine, digest)).await.ok().flatten()
    }

    /// Unloads what no instance holds and nothing has used for `idle`. Returns how many that were.
    pub fn unload_idle(&self, idle: Duration) -> usize {
        let now = self.now_ms();
        let mut slots = self.slots.lock();
        let before = slots.len();
        slots.retain(|_, slot| match slot.get() {
            // Only this map holds the slot, and only the slot the code.
            Some(loaded) if Arc::strong_count(slot) == 1 && Arc::strong_count(loaded) == 1 => {
                let unused_ms = now.saturating_sub(loaded.used_ms.load(Ordering::Relaxed));
                u128::from(unused_ms) < idle.as_millis()
            }
            // Somebody is about to load it, or tried and failed.
            None => Arc::strong_count(slot) > 1,
            Some(_) => true,
        });
        let unloaded = before - slots.len();
        if slots.capacity() > 4 * slots.len() {
            slots.shrink_to_fit();
        }
        self.unloaded.fetch_add(unloaded as u64, Ordering::Relaxed);
        unloaded
    }

    /// Deletes the module's compiled code from disk; for a module that no deployment names any more.
    pub fn forget(&self, digest: ModuleDigest) -> io::Result<()> {
        self.cache.remove(digest)
    }

    pub fn stats(&self) -> LibraryStats {
        let loaded = self.slots.lock().values().filter(|slot| slot.initialized()).count();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LibraryStats {
            loaded,
            compiled: read(&self.compiled),
            from_cache: read(&self.from_cache),
            unloaded: read(&self.unloaded),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
