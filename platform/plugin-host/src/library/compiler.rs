//! Compiles modules, one at a time, on threads of its own and of the lowest priority.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::LoadError;
use super::cache::CompiledCache;
use crate::module::{ModuleDigest, component_bytes};

/// The kernel's lowest priority for threads that are not idle-only.
const LOWEST_PRIORITY: i32 = 19;

pub(super) struct Compiler {
    engine: Engine,
    threads: usize,
    /// Started with the first module that is compiled.
    pool: Arc<OnceLock<ThreadPool>>,
    /// One at a time: compiling takes up to a hundred times the module's size in memory.
    turn: Semaphore,
}

impl Compiler {
    pub fn new(engine: Engine, threads: usize) -> Self {
        Self { engine, threads, pool: Arc::default(), turn: Semaphore::new(1) }
    }

    /// Compiles the module and leaves the result in `cache`.
    pub async fn compile(
        &self,
        digest: ModuleDigest,
        bytes: Bytes,
        cache: Arc<CompiledCache>,
    ) -> Result<Component, LoadError> {
        let failed = |reason: String| LoadError::Compile { digest, reason };
        let _turn = self.turn.acquire().await.map_err(|error| failed(error.to_string()))?;
        let (engine, pool, threads) = (self.engine.clone(), Arc::clone(&self.pool), self.threads);
        let task = tokio::task::spawn_blocking(move || {
            let component = component_bytes(&bytes).map_err(|error| LoadError::Refused { digest, error })?;
            let failed = |reason: String| LoadError::Compile { digest, reason };
            let compiled = on_pool(&pool, threads, || engine.precompile_component(&component));
            let compiled = compiled.map_err(|error| failed(format!("{error:#}")))?;
            keep(&engine, digest, &compiled, &cache).map_err(|error| failed(format!("{error:#}")))
        });
        task.await.map_err(|error| failed(error.to_string()))?
    }
}

fn on_pool<R: Send>(pool: &OnceLock<ThreadPool>, threads: usize, work: impl FnOnce() -> R + Send) -> R {
    if pool.get().is_none() {
        let builder = ThreadPoolBuilder::new().num_threads(threads.max(1));
        let builder = builder.thread_name(|index| format!("plugin-compile-{index}"));
        match builder.start_handler(|_| lower_priority()).build() {
            Ok(built) => drop(pool.set(built)),
            Err(error) => tracing::warn!(%error, "start threads to compile plugins; this one compiles"),
        }
    }
    match pool.get() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// On Linux a priority is a thread's own, and 0 is the calling one.
fn lower_priority() {
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
        tracing::debug!(%error, "lower the priority of a thread that compiles");
    }
}

#[expect(unsafe_code, reason = "running native code that was just compiled")]
fn keep(
    engine: &Engine,
    digest: ModuleDigest,
    compiled: &[u8],
    cache: &CompiledCache,
) -> wasmtime::Result<Component> {
    if let Err(error) = cache.store(digest, compiled) {
        tracing::warn!(%digest, %error, "keep a compiled module");
    }
    // SAFETY: these bytes are what the compiler returned.
    unsafe { Component::deserialize(engine, compiled) }
}
