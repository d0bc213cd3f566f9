//! What plugins do, counted for Prometheus.
//!
//! | metric | type | meaning, for the deployment in the label `deployment` |
//! |---|---|---|
//! | `millrace_plugin_records_in_total` | counter | records given to the plugin, repetitions included |
//! | `millrace_plugin_bytes_in_total` | counter | bytes of them, decompressed |
//! | `millrace_plugin_records_out_total` | counter | records that a transform gave back |
//! | `millrace_plugin_bytes_out_total` | counter | bytes of them |
//! | `millrace_plugin_errors_total` | counter | calls that failed |
//! | `millrace_plugin_retries_total` | counter | calls that repeated a failed one |
//! | `millrace_plugin_dead_letters_total` | counter | records sent to the dead-letter topic |
//! | `millrace_plugin_skipped_total` | counter | records left out after a failure |
//! | `millrace_plugin_execution_seconds` | histogram | duration of a call, waiting included |
//! | `millrace_plugin_cpu_seconds_total` | counter | processor time of all calls |
//! | `millrace_plugin_memory_bytes` | gauge | the most linear memory that one instance has used |
//! | `millrace_plugin_lag_records` | gauge | input records that are not dealt with yet |
//! | `millrace_plugin_instances` | gauge | instances that live now |
//! | `millrace_plugin_cold_starts_total` | counter | calls that started an instance |
//! | `millrace_plugin_log_lines_dropped_total` | counter | log lines that were not kept |
//!
//! | metric | type | meaning, for the whole broker |
//! |---|---|---|
//! | `millrace_plugin_modules_loaded` | gauge | modules whose code is in memory |
//! | `millrace_plugin_modules_compiled_total` | counter | modules compiled |
//! | `millrace_plugin_instances_started_total` | counter | instances started |
//!
//! There may be thousands of deployments, most of them idle: the numbers of one are a few hundred bytes,
//! labels are made when they are scraped, and a deployment that has never done anything has none.

mod collector;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use millrace_plugin_host::{HostStats, Kind, Usage};
use parking_lot::Mutex;
use prometheus::Registry;

use collector::PluginCollector;

/// Upper bounds of a call's duration in microseconds: from a warm instance with a few records to the longest
/// call that the default limits allow.
const BOUNDS_US: [u64; 12] =
    [10, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000, 30_000_000];

/// One deployment's numbers.
#[derive(Debug)]
pub struct DeploymentMetrics {
    kind: Kind,
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    records_out: AtomicU64,
    bytes_out: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    dead_letters: AtomicU64,
    skipped: AtomicU64,
    /// Calls by the first bound that they are not above; the last are above all.
    calls: [AtomicU64; BOUNDS_US.len() + 1],
    elapsed_us: AtomicU64,
    busy_us: AtomicU64,
    memory_peak: AtomicUsize,
    lag: AtomicI64,
    instances: AtomicI64,
    cold_starts: AtomicU64,
    log_lines_dropped: AtomicU64,
}

impl DeploymentMetrics {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            records_in: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            records_out: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            errors: AtomicU64::default(),
            retries: AtomicU64::default(),
            dead_letters: AtomicU64::default(),
            skipped: AtomicU64::default(),
            calls: Default::default(),
            elapsed_us: AtomicU64::default(),
            busy_us: AtomicU64::default(),
            memory_peak: AtomicUsize::default(),
            lag: AtomicI64::default(),
            instances: AtomicI64::default(),
            cold_starts: AtomicU64::default(),
            log_lines_dropped: AtomicU64::default(),
        }
    }

    /// A call with `records_in` records ended, well or not.
    pub fn call(&self, usage: &Usage, records_in: u64) {
        self.records_in.fetch_add(records_in, Relaxed);
        self.bytes_in.fetch_add(usage.input_bytes as u64, Relaxed);
        self.records_out.fetch_add(usage.output_records, Relaxed);
        self.bytes_out.fetch_add(usage.output_bytes as u64, Relaxed);
        let elapsed_us = micros(usage.elapsed);
        self.calls[BOUNDS_US.partition_point(|bound| *bound < elapsed_us)].fetch_add(1, Relaxed);
        self.elapsed_us.fetch_add(elapsed_us, Relaxed);
        self.busy_us.fetch_add(micros(usage.busy), Relaxed);
        self.memory_peak.fetch_max(usage.memory_peak, Relaxed);
        self.cold_starts.fetch_add(u64::from(usage.cold_start), Relaxed);
    }

    /// A call failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// A failed call is repeated.
    pub fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub fn dead_letters(&self, records: u64) {
        self.dead_letters.fetch_add(records, Relaxed);
    }

    pub fn skipped(&self, records: u64) {
        self.skipped.fetch_add(records, Relaxed);
    }

    /// The lag of one partition has changed by so much.
    pub fn change_lag(&self, by: i64) {
        self.lag.fetch_add(by, Relaxed);
    }

    /// So many more instances live, or fewer.
    pub fn change_instances(&self, by: i64) {
        self.instances.fetch_add(by, Relaxed);
    }

    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.fetch_add(lines, Relaxed);
    }

    fn call_count(&self) -> u64 {
        self.calls.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Whether there is anything to tell.
    fn is_used(&self) -> bool {
        let events = [&self.errors, &self.dead_letters, &self.skipped, &self.log_lines_dropped];
        self.call_count() > 0
            || self.lag.load(Relaxed) != 0
            || events.iter().any(|events| events.load(Relaxed) > 0)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Table {
    deployments: Mutex<BTreeMap<Arc<str>, Arc<DeploymentMetrics>>>,
    modules_loaded: AtomicUsize,
    modules_compiled: AtomicU64,
    instances_started: AtomicU64,
}

/// See the module's text. Clones are the same numbers.
#[derive(Clone, Debug)]
pub struct PluginMetrics(Arc<Table>);

impl PluginMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let table = Arc::<Table>::default();
        registry.register(Box::new(PluginCollector::new(Arc::clone(&table))?))?;
        Ok(Self(table))
    }

    /// The numbers of a deployment, which all who count for it share. `kind` decides what is told of it.
    pub fn deployment(&self, name: &str, kind: Kind) -> Arc<DeploymentMetrics> {
        let mut deployments = self.0.deployments.lock();
        if let Some(known) = deployments.get(name)
            && known.kind == kind
        {
            return Arc::clone(known);
        }
        let metrics = Arc::new(DeploymentMetrics::new(kind));
        deployments.insert(name.into(), Arc::clone(&metrics));
        metrics
    }

    /// A deployment is gone, and nobody will ask for its numbers.
    pub fn forget(&self, name: &str) {
        self.0.deployments.lock().remove(name);
    }

    /// Log lines of a deployment were not kept.
    pub fn log_lines_dropped(&self, name: &str, lines: u64) {
        if let Some(metrics) = self.0.deployments.lock().get(name) {
            metrics.log_lines_dropped(lines);
        }
    }

    /// Takes over what the host has counted.
    pub fn host(&self, stats: &HostStats) {
        self.0.modules_loaded.store(stats.library.loaded, Relaxed);
        self.0.modules_compiled.store(stats.library.compiled, Relaxed);
        self.0.instances_started.store(stats.instances_started, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn usage() -> Usage {
        Usage {
            elapsed: Duration::from_millis(20),
            busy: Duration::from_millis(5),
            memory_peak: 1 << 20,
            input_bytes: 300,
            output_bytes: 200,
            output_records: 2,
            cold_start: true,
            ..Usage::default()
        }
    }

    #[test]
    fn what_a_deployment_does_is_told_under_its_name() {
        let registry = Registry::new();
        let metrics = PluginMetrics::register(&registry).unwrap();
        let orders = metrics.deployment("orders", Kind::Transform);
        metrics.deployment("idle", Kind::Sink);
        orders.call(&usage(), 3);
        orders.call(&Usage { elapsed: Duration::from_secs(100), ..usage() }, 3);
        metrics.deployment("orders", Kind::Transform).error();
        orders.dead_letters(4);
        orders.change_lag(10);
        orders.change_lag(-3);
        metrics.log_lines_dropped("orders", 7);
        metrics.host(&HostStats { instances_started: 9, ..HostStats::default() });
        let text = text(&registry);
        for line in [
            r#"millrace_plugin_records_in_total{deployment="orders"} 6"#,
            r#"millrace_plugin_bytes_out_total{deployment="orders"} 400"#,
            r#"millrace_plugin_errors_total{deployment="orders"} 1"#,
            r#"millrace_plugin_dead_letters_total{deployment="orders"} 4"#,
            r#"millrace_plugin_execution_seconds_bucket{deployment="orders",le="0.01"} 0"#,
            r#"millrace_plugin_execution_seconds_bucket{deployment="orders",le="0.03"} 1"#,
            r#"millrace_plugin_execution_seconds_bucket{deployment="orders",le="30"} 1"#,
            r#"millrace_plugin_execution_seconds_bucket{deployment="orders",le="+Inf"} 2"#,
            r#"millrace_plugin_execution_seconds_count{deployment="orders"} 2"#,
            r#"millrace_plugin_cpu_seconds_total{deployment="orders"} 0.01"#,
            r#"millrace_plugin_memory_bytes{deployment="orders"} 1048576"#,
            r#"millrace_plugin_lag_records{deployment="orders"} 7"#,
            r#"millrace_plugin_cold_starts_total{deployment="orders"} 2"#,
            r#"millrace_plugin_log_lines_dropped_total{deployment="orders"} 7"#,
            "millrace_plugin_instances_started_total 9",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("idle"), "{text}");
        metrics.forget("orders");
        assert!(!self::text(&registry).contains("orders"));
    }

    #[test]
    fn a_kind_tells_only_what_it_has() {
        let registry = Registry::new();
        let metrics = PluginMetrics::register(&registry).unwrap();
        metrics.deployment("place", Kind::Partitioner).call(&usage(), 1);
        metrics.deployment("ship", Kind::Sink).call(&usage(), 1);
        let text = text(&registry);
        let tells = |family: &str, name: &str| {
            text.contains(&format!("millrace_plugin_{family}{{deployment=\"{name}\"}}"))
        };
        assert!(tells("records_in_total", "place") && tells("records_in_total", "ship"));
        assert!(!tells("lag_records", "place") && tells("lag_records", "ship"));
        assert!(!tells("records_out_total", "place") && !tells("records_out_total", "ship"));
    }

    #[test]
    fn thousands_of_deployments_cost_little() {
        assert!(size_of::<DeploymentMetrics>() < 512);
    }
}
