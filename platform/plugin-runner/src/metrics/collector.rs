//! Makes Prometheus' families of the numbers when they are scraped.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use millrace_plugin_host::Kind;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricType};

use super::{BOUNDS_US, DeploymentMetrics, Table};

const LABEL: &str = "deployment";

/// A family: its name without the prefix, its help, and its value for a deployment that has one.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    kinds: &'static [Kind],
    value: fn(&DeploymentMetrics) -> f64,
}

const ALL: &[Kind] = &Kind::ALL;
const TRANSFORMS: &[Kind] = &[Kind::Transform];
/// Those that read a topic at their own pace.
const READERS: &[Kind] = &[Kind::Transform, Kind::Sink];

const fn counter(
    name: &'static str,
    help: &'static str,
    kinds: &'static [Kind],
    value: fn(&DeploymentMetrics) -> f64,
) -> Family {
    Family { name, help, kind: MetricType::COUNTER, kinds, value }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    kinds: &'static [Kind],
    value: fn(&DeploymentMetrics) -> f64,
) -> Family {
    Family { name, help, kind: MetricType::GAUGE, kinds, value }
}

const FAMILIES: [Family; 14] = [
    counter("records_in_total", "Records given to the plugin.", ALL, |m| m.records_in.load(Relaxed) as f64),
    counter("bytes_in_total", "Bytes given to the plugin.", ALL, |m| m.bytes_in.load(Relaxed) as f64),
    counter("records_out_total", "Records that the plugin gave back.", TRANSFORMS, |m| {
        m.records_out.load(Relaxed) as f64
    }),
    counter("bytes_out_total", "Bytes that the plugin gave back.", TRANSFORMS, |m| {
        m.bytes_out.load(Relaxed) as f64
    }),
    counter("errors_total", "Calls that failed.", ALL, |m| m.errors.load(Relaxed) as f64),
    counter("retries_total", "Calls that repeated a failed one.", READERS, |m| {
        m.retries.load(Relaxed) as f64
    }),
    counter("dead_letters_total", "Records sent to the dead-letter topic.", READERS, |m| {
        m.dead_letters.load(Relaxed) as f64
    }),
    counter("skipped_total", "Records left out after a failure.", READERS, |m| {
        m.skipped.load(Relaxed) as f64
    }),
    counter("cpu_seconds_total", "Processor time of all calls.", ALL, |m| {
        m.busy_us.load(Relaxed) as f64 / 1e6
    }),
    gauge("memory_bytes", "The most memory that one instance has used.", ALL, |m| {
        m.memory_peak.load(Relaxed) as f64
    }),
    gauge("lag_records", "Input records that are not dealt with yet.", READERS, |m| {
        m.lag.load(Relaxed) as f64
    }),
    gauge("instances", "Instances that live now.", ALL, |m| m.instances.load(Relaxed) as f64),
    counter("cold_starts_total", "Calls that started an instance.", ALL, |m| {
        m.cold_starts.load(Relaxed) as f64
    }),
    counter("log_lines_dropped_total", "Log lines that were not kept.", ALL, |m| {
        m.log_lines_dropped.load(Relaxed) as f64
    }),
];

const SECONDS: (&str, &str) = ("execution_seconds", "Duration of a call, waiting included.");

/// A number of the whole broker.
type HostNumber = (&'static str, &'static str, MetricType, fn(&Table) -> f64);

const HOST: [HostNumber; 3] = [
    ("modules_loaded", "Modules whose code is in memory.", MetricType::GAUGE, |t| {
        t.modules_loaded.load(Relaxed) as f64
    }),
    ("modules_compiled_total", "Modules compiled.", MetricType::COUNTER, |t| {
        t.modules_compiled.load(Relaxed) as f64
    }),
    ("instances_started_total", "Instances started.", MetricType::COUNTER, |t| {
        t.instances_started.load(Relaxed) as f64
    }),
];

/// Reads the numbers for Prometheus.
pub(super) struct PluginCollector {
    table: Arc<Table>,
    descriptions: Vec<Desc>,
}

impl PluginCollector {
    pub fn new(table: Arc<Table>) -> prometheus::Result<Self> {
        let labelled = FAMILIES.iter().map(|family| (family.name, family.help)).chain([SECONDS]);
        let labelled = labelled.map(|(name, help)| (name, help, vec![LABEL.to_owned()]));
        let host = HOST.iter().map(|(name, help, ..)| (*name, *help, Vec::new()));
        let describe = |(name, help, labels): (&str, &str, Vec<String>)| {
            Desc::new(full_name(name), help.to_owned(), labels, Default::default())
        };
        let descriptions = labelled.chain(host).map(describe).collect::<Result<_, _>>()?;
        Ok(Self { table, descriptions })
    }
}

impl Collector for PluginCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let deployments = self.table.deployments.lock();
        let used: Vec<(Arc<str>, Arc<DeploymentMetrics>)> = deployments
            .iter()
            .filter(|(_, metrics)| metrics.is_used())
            .map(|(name, metrics)| (Arc::clone(name), Arc::clone(metrics)))
            .collect();
        drop(deployments);
        let mut families: Vec<proto::MetricFamily> =
            FAMILIES.iter().map(|family| of_deployments(family, &used)).collect();
        let seconds = used.iter().map(|(name, metrics)| histogram(name, metrics)).collect();
        families.push(family(SECONDS.0, SECONDS.1, MetricType::HISTOGRAM, seconds));
        for (name, help, kind, value) in HOST {
            families.push(family(name, help, kind, vec![number(kind, value(&self.table))]));
        }
        // A family of nothing is an error to the registry.
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn full_name(name: &str) -> String {
    format!("millrace_plugin_{name}")
}

fn of_deployments(of: &Family, used: &[(Arc<str>, Arc<DeploymentMetrics>)]) -> proto::MetricFamily {
    let having = used.iter().filter(|(_, metrics)| of.kinds.contains(&metrics.kind));
    let numbers = having.map(|(name, metrics)| {
        let mut metric = number(of.kind, (of.value)(metrics));
        metric.set_label(vec![label(name)]);
        metric
    });
    family(of.name, of.help, of.kind, numbers.collect())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(full_name(name));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn number(kind: MetricType, value: f64) -> proto::Metric {
    let mut metric = proto::Metric::default();
    if kind == MetricType::GAUGE {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    } else {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    }
    metric
}

fn label(deployment: &str) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(LABEL.to_owned());
    label.set_value(deployment.to_owned());
    label
}

fn histogram(deployment: &str, metrics: &DeploymentMetrics) -> proto::Metric {
    let counts = metrics.calls.each_ref().map(|count| count.load(Relaxed));
    let mut cumulative = 0;
    let buckets = BOUNDS_US.iter().zip(counts).map(|(bound_us, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound_us as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(metrics.elapsed_us.load(Relaxed) as f64 / 1e6);
    let mut metric = proto::Metric::default();
    metric.set_label(vec![label(deployment)]);
    metric.set_histogram(histogram);
    metric
}
