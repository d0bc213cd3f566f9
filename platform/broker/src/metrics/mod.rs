//! What the broker counts, for Prometheus.
//!
//! | metric | type | labels | meaning |
//! |---|---|---|---|
//! | `millrace_requests_total` | counter | `api` | requests answered, or whose connection was closed for them |
//! | `millrace_request_errors_total` | counter | `api`, `code` | errors told to clients, one per topic or partition |
//! | `millrace_request_seconds` | histogram | `api` | from the request's start to its answer, long polls included |
//! | `millrace_bad_requests_total` | counter | | connections closed because of what the client sent |
//! | `millrace_topic_bytes_in_total` | counter | `topic` | record batches appended, in bytes |
//! | `millrace_topic_bytes_out_total` | counter | `topic` | record batches handed to consumers, in bytes |
//! | `millrace_partitions` | gauge | | partitions with a log on this broker |
//! | `millrace_topics` | gauge | | topics of the cluster |
//! | `millrace_fetch_sessions` | gauge | | incremental fetch sessions open |
//! | `millrace_fetch_session_partitions` | gauge | | partitions in all of them |
//!
//! The log's own metrics are listed in [`log`], those of groups in [`groups`]. Cardinality is bounded: `api` and `code` by the protocol,
//! `topic` by [`topics::TOPIC_LABELS_MAX`], beyond which topics share the label `other`.

pub(crate) mod groups;
pub(crate) mod log;
mod topics;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use millrace_protocol::api::SERVED;
use millrace_protocol::private::PrivateApi;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

pub(crate) use topics::TopicTraffic;
use topics::Topics;

/// Upper bounds in seconds: from an answer out of memory to a long poll's half minute.
const LATENCY_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

/// Counters of one API.
#[derive(Debug)]
pub(crate) struct ApiMetrics {
    label: String,
    requests: IntCounter,
    seconds: Histogram,
}

impl ApiMetrics {
    pub(crate) fn answered(&self, after: Duration) {
        self.requests.inc();
        self.seconds.observe(after.as_secs_f64());
    }
}

/// Everything counted, registered once.
#[derive(Debug)]
pub(crate) struct Metrics {
    apis: Vec<Arc<ApiMetrics>>,
    private_apis: Vec<Arc<ApiMetrics>>,
    errors: IntCounterVec,
    pub(crate) bad_requests: IntCounter,
    traffic: Topics,
    pub(crate) partitions: IntGauge,
    pub(crate) topics: IntGauge,
    pub(crate) fetch_sessions: IntGauge,
    pub(crate) fetch_session_partitions: IntGauge,
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = counters(registry, "millrace_requests_total", "Requests answered, by API.", &["api"])?;
        let options = HistogramOpts::new("millrace_request_seconds", "Time from a request to its answer.");
        let seconds = HistogramVec::new(options.buckets(LATENCY_BUCKETS.to_vec()), &["api"])?;
        registry.register(Box::new(seconds.clone()))?;
        let api = |label: String| {
            Arc::new(ApiMetrics {
                requests: requests.with_label_values(&[&label]),
                seconds: seconds.with_label_values(&[&label]),
                label,
            })
        };
        let bad_requests = IntCounter::new(
            "millrace_bad_requests_total",
            "Connections closed because of what the client sent.",
        )?;
        registry.register(Box::new(bad_requests.clone()))?;
        let errors = "Errors told to clients, by API and Kafka's error.";
        let bytes_in = "Bytes of record batches appended, by topic.";
        let bytes_out = "Bytes of record batches handed to consumers, by topic.";
        let sessions = "Incremental fetch sessions open.";
        let session_partitions = "Partitions in all fetch sessions.";
        Ok(Self {
            // Kafka's names for its own.
            apis: SERVED.iter().map(|spec| api(format!("{:?}", spec.key))).collect(),
            private_apis: PrivateApi::ALL.iter().map(|private| api(private.name().to_owned())).collect(),
            errors: counters(registry, "millrace_request_errors_total", errors, &["api", "code"])?,
            bad_requests,
            traffic: Topics::new(
                counters(registry, "millrace_topic_bytes_in_total", bytes_in, &["topic"])?,
                counters(registry, "millrace_topic_bytes_out_total", bytes_out, &["topic"])?,
            ),
            partitions: gauge(registry, "millrace_partitions", "Partitions with a log on this broker.")?,
            topics: gauge(registry, "millrace_topics", "Topics of the cluster.")?,
            fetch_sessions: gauge(registry, "millrace_fetch_sessions", sessions)?,
            fetch_session_partitions: gauge(
                registry,
                "millrace_fetch_session_partitions",
                session_partitions,
            )?,
        })
    }

    /// The counters of the API at `position` in [`SERVED`].
    pub(crate) fn api(&self, position: usize) -> &Arc<ApiMetrics> {
        &self.apis[position]
    }

    /// The counters of the API at `position` in [`PrivateApi::ALL`].
    pub(crate) fn private_api(&self, position: usize) -> &Arc<ApiMetrics> {
        &self.private_apis[position]
    }

    /// Counts an error that a client is told: one of Kafka's, or the kind of one about plugins.
    pub(crate) fn error(&self, api: &ApiMetrics, code: impl Debug) {
        self.errors.with_label_values(&[api.label.clone(), format!("{code:?}")]).inc();
    }

    /// The counters of a topic, shared by its partitions.
    pub(crate) fn traffic(&self, topic: &str) -> Arc<TopicTraffic> {
        self.traffic.traffic(topic)
    }

    /// Forgets the counters of a deleted topic.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.traffic.forget(topic);
    }
}
