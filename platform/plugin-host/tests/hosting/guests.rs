//! Makes modules of the guests in `tests/guests`, and what they are given.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::ManualClock;
use millrace_plugin_host::{
    CacheKey, CallLimits, Deployment, DeploymentSpec, Grants, HostLimits, HostOptions, Kind, LogLevel,
    LogLine, LogSink, ModuleDigest, ModuleStore, PluginHost,
};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Everything that waits, waits on a condition; this is when a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn guests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests")
}

fn read(name: &str) -> String {
    let path = guests_dir().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The guest in `tests/guests/<name>.wat`, with the interface of `world`, as a compiler would have written it.
pub fn guest(name: &str, world: &str) -> Bytes {
    module(&read(&format!("{name}.wat")), world)
}

/// A core module of the fields in `text` and those of the prelude.
pub fn module(text: &str, world: &str) -> Bytes {
    let emit = r#"(import "millrace:plugin/output@0.1.0" "emit" (func $emit (param i32 i32)))"#;
    let emit = if text.contains("call $emit") { emit } else { "" };
    let fields = format!("{emit}\n{}\n{text}", read("prelude.wat"));
    // The text format wants imports first.
    let (imports, rest): (Vec<_>, Vec<_>) = fields.lines().partition(|line| line.starts_with("(import"));
    raw_module(&format!("{}\n{}", imports.join("\n"), rest.join("\n")), world)
}

/// A core module of the fields in `text` and nothing else.
pub fn raw_module(text: &str, world: &str) -> Bytes {
    describe(wat::parse_str(format!("(module\n{text}\n)")).unwrap(), world)
}

/// Adds the description of its interface to a core module.
pub fn describe(mut module: Vec<u8>, world: &str) -> Bytes {
    let mut resolve = Resolve::default();
    resolve.push_str("plugin.wit", &read("../../sdk/wit/plugin.wit")).unwrap();
    let package = resolve.push_str("worlds.wit", &read("worlds.wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module.into()
}

/// Modules in memory.
#[derive(Default)]
pub struct Modules(Mutex<HashMap<ModuleDigest, Bytes>>);

impl Modules {
    pub fn add(&self, bytes: Bytes) -> ModuleDigest {
        let digest = ModuleDigest::of(&bytes);
        self.0.lock().insert(digest, bytes);
        digest
    }
}

impl ModuleStore for Modules {
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, std::io::Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.0.lock().get(&digest).cloned()) })
    }
}

/// Lines in memory: how many were dropped before it, and the text.
#[derive(Default)]
pub struct Lines(pub Mutex<Vec<(u64, String)>>);

impl LogSink for Lines {
    fn write(&self, line: LogLine<'_>) {
        self.0.lock().push((line.dropped, line.message.to_owned()));
    }
}

/// A host with everything in memory but its cache.
pub struct Bench {
    pub host: PluginHost,
    pub modules: Arc<Modules>,
    pub lines: Arc<Lines>,
    pub cache_dir: Arc<tempfile::TempDir>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(HostLimits::default(), Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn with(limits: HostLimits, cache_dir: Arc<tempfile::TempDir>) -> Self {
        Self::with_key(limits, cache_dir, [7; 32])
    }

    pub fn with_key(limits: HostLimits, cache_dir: Arc<tempfile::TempDir>, cache_key: CacheKey) -> Self {
        let (modules, lines) = (Arc::<Modules>::default(), Arc::<Lines>::default());
        let host = PluginHost::new(HostOptions {
            limits,
            cache_dir: cache_dir.path().to_owned(),
            cache_key,
            modules: Arc::clone(&modules) as Arc<dyn ModuleStore>,
            log: Arc::clone(&lines) as Arc<dyn LogSink>,
            clock: Arc::new(ManualClock::at_ms(1_000)),
        });
        Self { host: host.unwrap(), modules, lines, cache_dir }
    }

    /// A deployment of `module` with small limits.
    pub fn deploy(&self, module: Bytes, kind: Kind) -> Arc<Deployment> {
        self.deploy_with(module, kind, limits())
    }

    pub fn deploy_with(&self, module: Bytes, kind: Kind, limits: CallLimits) -> Arc<Deployment> {
        self.host.deployment(DeploymentSpec {
            name: "orders".to_owned(),
            version: 1,
            module: self.modules.add(module),
            kind,
            topic: "in".to_owned(),
            outputs: vec!["out".to_owned()],
            config: vec![("key".to_owned(), "value".to_owned())],
            grants: Grants::default(),
            limits,
            log_level: LogLevel::Info,
        })
    }
}

pub fn limits() -> CallLimits {
    CallLimits {
        busy: Duration::from_millis(100),
        memory_bytes: 8 << 20,
        output_bytes: 4 << 20,
        output_records: 10_000,
        ..CallLimits::default()
    }
}

/// A batch of `count` records at `base_offset`.
pub fn batch(count: i64, base_offset: i64) -> Batch {
    compressed_batch(count, base_offset, Codec::None)
}

pub fn compressed_batch(count: i64, base_offset: i64, codec: Codec) -> Batch {
    let mut builder = BatchBuilder::default();
    for index in 0..count {
        let value = format!("value {index} of the batch");
        builder.append(1_700_000_000_000 + index, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    let mut batch = Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap();
    let mut bytes = batch.bytes.to_vec();
    millrace_protocol::batch::stamp(&mut bytes, base_offset, 0);
    batch.header.base_offset = base_offset;
    Batch::parse(bytes.into()).unwrap()
}
