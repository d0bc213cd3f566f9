//! The log's counters, read when they are scraped.
//!
//! | metric | type | meaning |
//! |---|---|---|
//! | `millrace_log_appended_bytes_total` | counter | bytes of batches appended |
//! | `millrace_log_appended_batches_total` | counter | batches appended |
//! | `millrace_log_wal_bytes_total` | counter | bytes written to the write-ahead log, padding included |
//! | `millrace_log_wal_groups_total` | counter | commit groups: durable writes of the write-ahead log |
//! | `millrace_log_wal_entries_total` | counter | partitions' stretches in those groups |
//! | `millrace_log_wal_seconds` | histogram | duration of those writes |
//! | `millrace_log_segment_bytes_total` | counter | bytes written to segments, padding included |
//! | `millrace_log_direct_commits_total` | counter | commits that went straight to a segment |
//! | `millrace_log_direct_seconds` | histogram | duration of those commits |
//! | `millrace_log_checkpoints_total` | counter | checkpoints taken |
//! | `millrace_log_syncs_total` | counter | calls that made something durable |
//! | `millrace_log_disk_errors_total` | counter | failed writes, syncs and reads |
//! | `millrace_log_compactions_total` | counter | runs of compaction that came to their end |
//! | `millrace_log_compaction_read_bytes_total` | counter | bytes that compaction read |
//! | `millrace_log_compaction_written_bytes_total` | counter | bytes that compaction wrote |
//! | `millrace_log_compaction_removed_bytes_total` | counter | bytes by which compaction made logs smaller |
//! | `millrace_log_uncleanable_partitions` | gauge | partitions that are not compacted any more, since a segment could not be read or written |
//! | `millrace_log_dirty_percent_max` | gauge | the share of bytes that are not compacted, of the partition where it is largest |
//! | `millrace_log_last_compaction_milliseconds` | gauge | when a run of compaction ended last, since 1970; 0: none has |
//! | `millrace_log_tail_bytes` | gauge | memory that holds recent records |
//! | `millrace_log_pending_bytes` | gauge | appended bytes that are not yet durable |
//! | `millrace_log_healthy` | gauge | 1: takes appends; 0: the disk is full or has failed |

use millrace_log::{Health, LatencyHistogram, LogManager, LogMetrics};
use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// A number of [`LogMetrics`], its name and help.
type Number = (&'static str, &'static str, fn(&LogMetrics) -> u64);
type Latency = (&'static str, &'static str, fn(&LogMetrics) -> &LatencyHistogram);

const COUNTERS: &[Number] = &[
    ("millrace_log_appended_bytes_total", "Bytes of batches appended.", |m| m.appended_bytes),
    ("millrace_log_appended_batches_total", "Batches appended.", |m| m.appended_batches),
    ("millrace_log_wal_bytes_total", "Bytes written to the write-ahead log.", |m| m.wal_bytes),
    ("millrace_log_wal_groups_total", "Commit groups of the write-ahead log.", |m| m.wal_groups),
    ("millrace_log_wal_entries_total", "Partitions' stretches in commit groups.", |m| m.wal_entries),
    ("millrace_log_segment_bytes_total", "Bytes written to segments.", |m| m.segment_bytes),
    ("millrace_log_direct_commits_total", "Commits straight to a segment.", |m| m.direct_commits),
    ("millrace_log_checkpoints_total", "Checkpoints taken.", |m| m.checkpoints),
    ("millrace_log_syncs_total", "Calls that made something durable.", |m| m.syncs),
    ("millrace_log_disk_errors_total", "Failed writes, syncs and reads.", |m| m.disk_errors),
    ("millrace_log_compactions_total", "Runs of compaction.", |m| m.compactions),
    ("millrace_log_compaction_read_bytes_total", "Bytes that compaction read.", |m| m.compaction_read_bytes),
    ("millrace_log_compaction_written_bytes_total", "Bytes that compaction wrote.", |m| {
        m.compaction_written_bytes
    }),
    ("millrace_log_compaction_removed_bytes_total", "Bytes by which compaction made logs smaller.", |m| {
        m.compaction_removed_bytes
    }),
];

const GAUGES: &[Number] = &[
    ("millrace_log_tail_bytes", "Memory that holds recent records.", |m| m.tail_bytes),
    ("millrace_log_uncleanable_partitions", "Partitions that are not compacted any more.", |m| {
        m.uncleanable_partitions
    }),
    ("millrace_log_dirty_percent_max", "The largest share of bytes that are not compacted.", |m| {
        m.dirty_percent_max
    }),
    ("millrace_log_last_compaction_milliseconds", "When a run of compaction ended last.", |m| {
        m.last_compaction_ms
    }),
    ("millrace_log_pending_bytes", "Appended bytes that are not yet durable.", |m| m.pending_bytes),
];

const LATENCIES: &[Latency] = &[
    ("millrace_log_wal_seconds", "Duration of durable writes of the write-ahead log.", |m| &m.wal_latency),
    ("millrace_log_direct_seconds", "Duration of commits straight to a segment.", |m| &m.direct_latency),
];

const HEALTHY: (&str, &str) = ("millrace_log_healthy", "1: the log takes appends.");

/// Reads the log's counters for Prometheus.
pub(crate) struct LogCollector {
    log: LogManager,
    descriptions: Vec<Desc>,
}

impl LogCollector {
    pub(crate) fn new(log: LogManager) -> prometheus::Result<Self> {
        let numbers = COUNTERS.iter().chain(GAUGES).map(|(name, help, _)| (*name, *help));
        let names = numbers.chain(LATENCIES.iter().map(|(name, help, _)| (*name, *help))).chain([HEALTHY]);
        let describe =
            |(name, help): (&str, &str)| Desc::new(name.into(), help.into(), Vec::new(), Default::default());
        Ok(Self { log, descriptions: names.map(describe).collect::<Result<_, _>>()? })
    }
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: proto::MetricType,
    metrics: Vec<proto::Metric>,
) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(value: f64) -> proto::Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value);
    let mut metric = proto::Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64) -> proto::Metric {
    gauge_of(value, &[])
}

/// A gauge with labels, which are in the order of their names.
pub(super) fn gauge_of(value: f64, labels: &[(&str, &String)]) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = proto::Metric::default();
    metric.set_gauge(gauge);
    let labels = labels.iter().map(|(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).clone());
        label
    });
    metric.set_label(labels.collect());
    metric
}

fn histogram(latency: &LatencyHistogram) -> proto::Metric {
    let mut buckets = Vec::with_capacity(LatencyHistogram::BOUNDS_US.len());
    let mut cumulative = 0;
    for (bound_us, count) in LatencyHistogram::BOUNDS_US.iter().zip(latency.counts) {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound_us as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(latency.counts.iter().sum());
    histogram.set_sample_sum(latency.sum_us as f64 / 1e6);
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}

impl Collector for LogCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        use proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};
        let metrics = self.log.metrics();
        let healthy = if self.log.health() == Health::Ok { 1.0 } else { 0.0 };
        let counters = COUNTERS
            .iter()
            .map(|(name, help, of)| family(name, help, COUNTER, vec![counter(of(&metrics) as f64)]));
        let gauges =
            GAUGES.iter().map(|(name, help, of)| family(name, help, GAUGE, vec![gauge(of(&metrics) as f64)]));
        let latencies = LATENCIES
            .iter()
            .map(|(name, help, of)| family(name, help, HISTOGRAM, vec![histogram(of(&metrics))]));
        let health = family(HEALTHY.0, HEALTHY.1, GAUGE, vec![gauge(healthy)]);
        counters.chain(gauges).chain(latencies).chain([health]).collect()
    }
}
