//! A plugin host of one module, with what it needs of the outside replaced: the log and databases are printed.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::{Clock, SystemClock};
use millrace_plugin_host::packing::OutputBatch;
use millrace_plugin_host::{
    Call, CallLimits, Database, DatabaseError, Delivery, Deployment, DeploymentSpec, Failure, Grants,
    HostLimits, HostOptions, Kind, LogLevel, LogLine, LogSink, LogSource, ModuleDigest, ModuleStore,
    Partitioner, PluginHost, Secret, Sink, SinkFault, Transform, Upsert, Usage,
};
use millrace_protocol::plugins::{Definition, LimitOverrides, LogLevel as KeptLevel, SecretText};
use tempfile::TempDir;

use crate::plugin::module::LocalModule;
use crate::plugin::records::{self, FileRecord};

/// What became of one batch.
pub struct Step {
    /// Positions of its records in the file.
    pub records: Range<usize>,
    pub usage: Usage,
    pub outcome: Result<Done, Stopped>,
}

pub enum Done {
    Transformed(Vec<OutputBatch>),
    Partitioned(Vec<u32>),
    Delivered { token: String },
}

/// Why a batch came to nothing.
pub struct Stopped {
    pub message: String,
    /// Where in the plugin.
    pub backtrace: Option<String>,
}

enum Plugin {
    Transform(Transform),
    Partitioner(Partitioner, u32),
    Sink(Sink),
}

/// A host with one deployment.
pub struct Bench {
    plugin: Plugin,
    /// The time of records that have none.
    now_ms: i64,
    _cache: TempDir,
}

impl Bench {
    /// Compiles the module and deploys it; no instance is started yet.
    pub async fn start(module: LocalModule, definition: Definition, partitions: u32) -> anyhow::Result<Self> {
        let cache = TempDir::with_prefix("millrace-plugin-test-").context("make a temporary directory")?;
        let (digest, kind) = (module.info.digest, module.info.kind);
        let host = PluginHost::new(HostOptions {
            limits: HostLimits {
                instances: 1,
                compile_threads: available_parallelism().map_or(1, std::num::NonZero::get),
                ..HostLimits::default()
            },
            cache_dir: cache.path().to_owned(),
            // Nobody else ever reads this directory.
            cache_key: [0; 32],
            modules: Arc::new(OneModule { digest, bytes: module.bytes }),
            log: Arc::new(PrintedLog),
            clock: Arc::new(SystemClock),
        })?;
        host.prepare(digest).await?;
        let deployment = deploy(&host, definition)?;
        let plugin = match kind {
            Kind::Transform => Plugin::Transform(Transform::new(deployment, 0)),
            Kind::Partitioner => Plugin::Partitioner(Partitioner::new(deployment), partitions),
            Kind::Sink => Plugin::Sink(Sink::new(deployment, 0)),
        };
        Ok(Self { plugin, now_ms: SystemClock.now_ms(), _cache: cache })
    }

    /// Runs the plugin over `records`, the first of which stands at `from` in the file.
    pub async fn step(&mut self, records: &[FileRecord], from: usize) -> anyhow::Result<Step> {
        let batch = records::batch(records, from, self.now_ms)?;
        let (outcome, usage) = match &mut self.plugin {
            Plugin::Transform(transform) => {
                outcome(transform.transform(&batch).await, |batches| Ok(Done::Transformed(batches)))
            }
            Plugin::Partitioner(partitioner, partitions) => {
                outcome(partitioner.partition(&batch, *partitions).await, |chosen| {
                    Ok(Done::Partitioned(chosen))
                })
            }
            Plugin::Sink(sink) => {
                let token = format!("test-0-{from}");
                outcome(sink.deliver(&batch, &token).await, |delivery| match delivery {
                    Delivery::Delivered => Ok(Done::Delivered { token }),
                    Delivery::Failed(failure) => Err(not_delivered(
                        match failure.kind {
                            SinkFault::Retryable => "to be tried again",
                            SinkFault::Record => "for good",
                            SinkFault::Target => "until the target or the deployment is mended",
                        },
                        &failure.message,
                    )),
                })
            }
        };
        Ok(Step { records: from..from + records.len(), usage, outcome })
    }
}

fn outcome<T>(
    call: Call<T>,
    done: impl FnOnce(T) -> Result<Done, Stopped>,
) -> (Result<Done, Stopped>, Usage) {
    (call.result.map_err(stopped).and_then(done), call.usage)
}

fn stopped(failure: Failure) -> Stopped {
    let backtrace = failure.backtrace().filter(|backtrace| !backtrace.is_empty()).map(str::to_owned);
    Stopped { message: failure.to_string(), backtrace }
}

fn not_delivered(how: &str, reason: &str) -> Stopped {
    Stopped { message: format!("the plugin did not deliver the batch ({how}): {reason}"), backtrace: None }
}

fn deploy(host: &PluginHost, definition: Definition) -> anyhow::Result<Arc<Deployment>> {
    let granted = definition.grants;
    let http = granted.http.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
    let secret = |(name, value): (String, SecretText)| (name, Secret::new(value.0));
    let database = |name: String| (name.clone(), Arc::new(PrintedRows { name }) as Arc<dyn Database>);
    let grants = Grants {
        http,
        secrets: granted.secrets.into_iter().map(secret).collect(),
        postgres: granted.postgres.into_keys().map(database).collect(),
        allowed: granted.allowed,
    };
    Ok(host.deployment(DeploymentSpec {
        name: "test".to_owned(),
        version: 1,
        module: definition.module,
        kind: definition.kind,
        topic: definition.topic,
        outputs: definition.outputs,
        config: definition.config.into_iter().collect(),
        grants,
        limits: call_limits(&definition.limits)?,
        log_level: log_level(definition.log_level),
    }))
}

fn call_limits(overrides: &LimitOverrides) -> anyhow::Result<CallLimits> {
    let usual = CallLimits::default();
    let bytes = |wanted: Option<u64>, usual| wanted.map_or(Ok(usual), usize::try_from);
    Ok(CallLimits {
        busy: overrides.busy_ms.map_or(usual.busy, Duration::from_millis),
        elapsed: overrides.elapsed_ms.map_or(usual.elapsed, Duration::from_millis),
        memory_bytes: bytes(overrides.memory_bytes, usual.memory_bytes)?,
        output_bytes: bytes(overrides.output_bytes, usual.output_bytes)?,
        output_records: overrides.output_records.unwrap_or(usual.output_records),
        log_lines_per_second: overrides.log_lines_per_second.unwrap_or(usual.log_lines_per_second),
        ..usual
    })
}

const fn log_level(level: KeptLevel) -> LogLevel {
    match level {
        KeptLevel::Trace => LogLevel::Trace,
        KeptLevel::Debug => LogLevel::Debug,
        KeptLevel::Info => LogLevel::Info,
        KeptLevel::Warn => LogLevel::Warn,
        KeptLevel::Error => LogLevel::Error,
    }
}

struct OneModule {
    digest: ModuleDigest,
    bytes: Bytes,
}

impl ModuleStore for OneModule {
    fn load(&self, digest: ModuleDigest) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        let found = (digest == self.digest).then(|| self.bytes.clone());
        Box::pin(async move { Ok(found) })
    }
}

/// The plugin's lines, on standard error.
struct PrintedLog;

impl LogSink for PrintedLog {
    fn write(&self, line: LogLine<'_>) {
        let source = match line.source {
            LogSource::Log => "log",
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
        };
        let level = format!("{:?}", line.level).to_uppercase();
        eprintln!("{source}: {level} {}", line.message);
    }
}

/// A database that prints its rows on standard error and keeps none.
struct PrintedRows {
    name: String,
}

impl Database for PrintedRows {
    fn upsert(&self, upsert: Upsert) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        let columns = upsert.columns.join(", ");
        for row in &upsert.rows {
            eprintln!("postgres {}: {} ({columns}) = {row:?}", self.name, upsert.table);
        }
        Box::pin(async move { Ok(upsert.rows.len() as u64) })
    }
}
