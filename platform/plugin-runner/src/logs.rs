//! Plugins' log lines, written to an internal topic that whoever asks for them reads.
//!
//! A record's key is the deployment's name, its value one JSON object:
//!
//! ```json
//! {"deployment":"orders","version":3,"partition":0,"level":"warn","source":"log","message":"…","dropped":0}
//! ```
//!
//! `level` is trace, debug, info, warn or error; `source` says how the line came: log, stdout, stderr, or
//! runner for what is said about the plugin and not by it; `dropped` counts the deployment's lines that were
//! lost before this one.
//!
//! Invariant: nobody who writes a line ever waits. Lines are queued up to [`QUEUE_BYTES_MAX`], and what comes
//! beyond, or cannot be appended, is dropped and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_base::{Clock, TopicPartition};
use millrace_coordinator::{AppendFailure, Partitions};
use millrace_metadata::Metadata;
use millrace_plugin_host::limits::LOG_LINE_BYTES_MAX;
use millrace_plugin_host::{LogLevel, LogLine, LogSink, LogSource};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::PluginMetrics;

/// The topic of all plugins' lines.
pub const LOG_TOPIC: &str = "__plugin_logs";

/// Lines that wait to be written. At the default limits some forty deployments' full bursts.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 << 20;

/// What a queued line takes beside its text.
const LINE_OVERHEAD: usize = 64;

/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// Records of one batch, before compression; well below any topic's largest batch.
const BATCH_BYTES: usize = 512 << 10;

/// Attempts at one batch, and the pause before the second, doubled each time.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A batch that is not acknowledged by then is given up: it may be there or not.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// A week is long enough to look into an incident, and the size bounds what a chatty plugin takes.
const SETTINGS: [(&str, &str); 2] = [("retention.ms", "604800000"), ("retention.bytes", "268435456")];

#[derive(Serialize)]
struct Line<'a> {
    deployment: &'a str,
    version: u32,
    partition: u32,
    level: &'static str,
    source: &'static str,
    message: &'a str,
    dropped: u64,
}

struct Queued {
    deployment: Arc<str>,
    timestamp_ms: i64,
    json: Vec<u8>,
    /// Lines that this one tells of.
    dropped: u64,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.json.len() + self.deployment.len() + LINE_OVERHEAD
    }
}

#[derive(Default)]
struct Queue {
    lines: Vec<Queued>,
    bytes: usize,
    /// Lines ever queued.
    queued: u64,
    /// Lines lost, by deployment, that no later line has told of yet.
    lost: HashMap<Arc<str>, u64>,
    /// Nobody writes any more.
    closed: bool,
}

struct Shared {
    partitions: Arc<dyn Partitions>,
    metadata: Metadata,
    clock: Arc<dyn Clock>,
    metrics: PluginMetrics,
    queue: Mutex<Queue>,
    wake: Notify,
    /// Lines that are written or given up.
    settled: watch::Sender<u64>,
}

/// See the module's text. Clones write to the same queue; with the last of them the task that empties it ends.
#[derive(Clone)]
pub struct PluginLogs(Arc<Writer>);

struct Writer(Arc<Shared>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.wake.notify_one();
    }
}

impl PluginLogs {
    /// Starts the task that writes the lines, on `runtime`.
    pub fn start(
        partitions: Arc<dyn Partitions>,
        metadata: Metadata,
        clock: Arc<dyn Clock>,
        metrics: PluginMetrics,
        runtime: &Handle,
    ) -> Self {
        let shared = Arc::new(Shared {
            partitions,
            metadata,
            clock,
            metrics,
            queue: Mutex::default(),
            wake: Notify::new(),
            settled: watch::Sender::new(0),
        });
        let task = Arc::clone(&shared);
        runtime.spawn(async move { task.run().await });
        Self(Arc::new(Writer(shared)))
    }

    /// A line about a deployment, by those who run it.
    pub fn line(&self, deployment: &str, version: u32, partition: u32, level: LogLevel, message: &str) {
        let end = message.floor_char_boundary(LOG_LINE_BYTES_MAX);
        let level = level_name(level);
        let message = &message[..end];
        self.0.0.push(Line { deployment, version, partition, level, source: "runner", message, dropped: 0 });
    }

    /// Waits until every line that was written before is in the log or given up, for an orderly end.
    pub async fn flush(&self) {
        let queued = self.0.0.queue.lock().queued;
        let mut settled = self.0.0.settled.subscribe();
        // The sender is held right here.
        let _ = settled.wait_for(|settled| *settled >= queued).await;
    }
}

impl LogSink for PluginLogs {
    fn write(&self, line: LogLine<'_>) {
        if line.dropped > 0 {
            self.0.0.metrics.log_lines_dropped(line.deployment, line.dropped);
        }
        self.0.0.push(Line {
            deployment: line.deployment,
            version: line.version,
            partition: line.partition,
            level: level_name(line.level),
            source: source_name(line.source),
            message: line.message,
            dropped: line.dropped,
        });
    }
}

impl Shared {
    fn push(&self, mut line: Line<'_>) {
        let timestamp_ms = self.clock.now_ms();
        let mut queue = self.queue.lock();
        let lost = queue.lost.get(line.deployment).copied().unwrap_or(0);
        line.dropped += lost;
        // Strings and numbers can always be written.
        let json = serde_json::to_vec(&line).unwrap_or_default();
        let dropped = line.dropped;
        let queued = Queued { deployment: line.deployment.into(), timestamp_ms, json, dropped };
        if queue.bytes + queued.bytes() > QUEUE_BYTES_MAX {
            // What the plugin's own allowance refused before this line is not told either.
            let untold = queued.dropped - lost;
            *queue.lost.entry(queued.deployment).or_default() += 1 + untold;
            drop(queue);
            self.metrics.log_lines_dropped(line.deployment, 1);
            return;
        }
        if lost > 0 {
            queue.lost.remove(line.deployment);
        }
        queue.bytes += queued.bytes();
        queue.queued += 1;
        queue.lines.push(queued);
        drop(queue);
        self.wake.notify_one();
    }

    async fn run(&self) {
        loop {
            self.wake.notified().await;
            if !self.queue.lock().closed {
                tokio::time::sleep(GATHER).await;
            }
            while self.write_queued().await {}
            let queue = self.queue.lock();
            if queue.closed && queue.lines.is_empty() {
                return;
            }
        }
    }

    /// Writes all that is queued now; returns whether that was anything.
    async fn write_queued(&self) -> bool {
        let lines = std::mem::take(&mut self.queue.lock().lines);
        if lines.is_empty() {
            return false;
        }
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |line: &&Queued| {
                bytes += line.bytes();
                bytes <= BATCH_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, others) = rest.split_at(count);
            if let Err(failure) = self.write(batch).await {
                tracing::warn!(lines = count, %failure, "plugins' log lines are dropped");
                self.lose(batch);
            }
            self.queue.lock().bytes -= batch.iter().map(Queued::bytes).sum::<usize>();
            self.settled.send_modify(|settled| *settled += count as u64);
            rest = others;
        }
        true
    }

    /// The next line of each deployment tells how many of its lines were lost here.
    fn lose(&self, lines: &[Queued]) {
        let mut queue = self.queue.lock();
        for line in lines {
            *queue.lost.entry(Arc::clone(&line.deployment)).or_default() += 1 + line.dropped;
        }
        drop(queue);
        lines.iter().for_each(|line| self.metrics.log_lines_dropped(&line.deployment, 1));
    }

    async fn write(&self, lines: &[Queued]) -> Result<(), AppendFailure> {
        let mut builder = BatchBuilder::with_capacity(BATCH_BYTES.min(lines.iter().map(Queued::bytes).sum()));
        for line in lines {
            builder.append(line.timestamp_ms, Some(line.deployment.as_bytes()), Some(&line.json), &[]);
        }
        let refused = |error: String| AppendFailure::Refused(error);
        let bytes: Bytes = builder
            .finish(Codec::Lz4, ProducerState::NONE)
            .map_err(|error| refused(format!("build a batch: {error}")))?;
        let batch = Batch::parse(bytes).map_err(|error| refused(format!("build a batch: {error}")))?;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.append(&batch).await {
                Err(failure) if failure.retryable() && attempt < ATTEMPTS => {}
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendFailure> {
        let partition = self.partition().await?;
        self.partitions.admit(batch.bytes.len()).await;
        let acknowledged = self.partitions.append(partition, std::slice::from_ref(batch))?;
        let late = || AppendFailure::Refused("the append was not acknowledged in time".to_owned());
        tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledged).await.map_err(|_| late())?
    }

    /// The one partition of the topic, which is made for the first line.
    async fn partition(&self) -> Result<TopicPartition, AppendFailure> {
        let find = || self.metadata.image().topic_by_name(LOG_TOPIC).map(|topic| topic.id);
        if let Some(id) = find() {
            return Ok(TopicPartition::new(id, 0));
        }
        let settings: BTreeMap<String, String> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let made = self.partitions.ensure_topic(LOG_TOPIC, 1, settings).await;
        made.map_err(|error| AppendFailure::Passing(error.to_string()))?;
        let missing = || AppendFailure::Passing(format!("topic '{LOG_TOPIC}' is not there yet"));
        find().map(|id| TopicPartition::new(id, 0)).ok_or_else(missing)
    }
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

const fn source_name(source: LogSource) -> &'static str {
    match source {
        LogSource::Log => "log",
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
    }
}

#[cfg(test)]
mod tests {
    use millrace_base::ManualClock;
    use prometheus::{Registry, TextEncoder};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::TestCluster;

    struct Bench {
        cluster: TestCluster,
        logs: PluginLogs,
        registry: Registry,
    }

    impl Bench {
        async fn start() -> Self {
            let cluster = TestCluster::start().await;
            let registry = Registry::new();
            let metrics = PluginMetrics::register(&registry).unwrap();
            metrics.deployment("orders", millrace_plugin_host::Kind::Sink);
            let partitions = Arc::new(cluster.partitions.clone());
            let clock = Arc::new(ManualClock::at_ms(77));
            let metadata = cluster.metadata.clone();
            let logs = PluginLogs::start(partitions, metadata, clock, metrics, &Handle::current());
            Self { cluster, logs, registry }
        }

        fn write(&self, message: &str, dropped: u64) {
            self.logs.write(LogLine {
                deployment: "orders",
                version: 3,
                partition: 1,
                level: LogLevel::Warn,
                source: LogSource::Stderr,
                message,
                dropped,
            });
        }

        async fn lines(&self) -> Vec<Value> {
            self.logs.flush().await;
            let partition = self.cluster.partitions.partition(LOG_TOPIC, 0);
            let records = self.cluster.partitions.records(partition);
            records
                .iter()
                .map(|record| {
                    assert_eq!((record.timestamp_ms, record.key.as_deref()), (77, Some(&b"orders"[..])));
                    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
                })
                .collect()
        }

        fn dropped(&self) -> String {
            let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            let line = text.lines().find(|line| line.starts_with("millrace_plugin_log_lines_dropped_total"));
            line.and_then(|line| line.rsplit_once(' '))
                .map_or_else(String::new, |(_, value)| value.to_owned())
        }
    }

    #[tokio::test]
    async fn lines_become_records_of_a_topic_that_is_made_for_them() {
        let bench = Bench::start().await;
        assert!(bench.cluster.metadata.image().topic_by_name(LOG_TOPIC).is_none());
        bench.write("from the plugin \"quoted\"", 2);
        bench.logs.line("orders", 3, 0, LogLevel::Error, &"x".repeat(LOG_LINE_BYTES_MAX + 1));
        let lines = bench.lines().await;
        let expected = json!({
            "deployment": "orders", "version": 3, "partition": 1, "level": "warn", "source": "stderr",
            "message": "from the plugin \"quoted\"", "dropped": 2,
        });
        assert_eq!(lines[0], expected);
        assert_eq!((&lines[1]["source"], &lines[1]["level"]), (&json!("runner"), &json!("error")));
        assert_eq!(lines[1]["message"], "x".repeat(LOG_LINE_BYTES_MAX));
        let image = bench.cluster.metadata.image();
        let topic = image.topic_by_name(LOG_TOPIC).unwrap();
        assert_eq!(topic.configs.get("retention.ms").map(String::as_str), Some("604800000"));
        assert_eq!(bench.dropped(), "2");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_told() {
        let bench = Bench::start().await;
        // The task does not run before this test waits.
        let message = "x".repeat(LOG_LINE_BYTES_MAX);
        for _ in 0..600 {
            bench.write(&message, 0);
        }
        let kept = bench.lines().await.len();
        assert!(kept > 400 && kept < 600, "{kept}");
        bench.write("later", 0);
        assert_eq!(bench.lines().await[kept]["dropped"], 600 - kept);
        bench.write("last", 0);
        assert_eq!(bench.lines().await[kept + 1]["dropped"], 0);
        assert_eq!(bench.dropped(), (600 - kept).to_string());
    }

    #[tokio::test]
    async fn a_failing_append_is_repeated_and_then_given_up() {
        let bench = Bench::start().await;
        bench.write("first", 0);
        assert_eq!(bench.lines().await.len(), 1);
        let partition = bench.cluster.partitions.partition(LOG_TOPIC, 0);
        let full = || AppendFailure::Passing("the disk is full".into());
        bench.cluster.partitions.fail_appends(partition, [full(), full()]);
        bench.write("second", 0);
        assert_eq!(bench.lines().await[1]["message"], "second");
        bench.cluster.partitions.fail_appends(partition, [AppendFailure::Refused("no".into())]);
        bench.write("lost", 0);
        bench.logs.flush().await;
        bench.cluster.partitions.fail_appends(partition, std::iter::repeat_with(full).take(4));
        bench.write("lost, too", 0);
        bench.logs.flush().await;
        bench.write("third", 0);
        let lines = bench.lines().await;
        assert_eq!((lines.len(), &lines[2]["message"]), (3, &json!("third")));
        assert_eq!(lines[2]["dropped"], 2);
    }
}
