//! Counters of the transports, resolved once so that the data path touches plain atomics.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::service::{CloseReason, TransportKind};

/// Why a connection or a stream was turned away before it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    Connections,
    PerIp,
    QuicStreams,
}

/// All transports' metrics; one value per listener or registry.
pub struct TransportMetrics {
    per_transport: [PerTransport; 3],
    rejected: [IntCounter; 3],
    pub(crate) handshakes: IntGauge,
    pub(crate) receive_bytes: IntGauge,
    pub(crate) reply_bytes: IntGauge,
    pub(crate) accept_errors: IntCounter,
    pub(crate) retries: IntCounter,
}

/// The counters of one transport.
pub(crate) struct PerTransport {
    pub(crate) open: IntGauge,
    pub(crate) accepted: IntCounter,
    pub(crate) pipelines: IntGauge,
    pub(crate) bytes_in: IntCounter,
    pub(crate) bytes_out: IntCounter,
    pub(crate) frames_in: IntCounter,
    pub(crate) replies: IntCounter,
    closed: Vec<IntCounter>,
    protocol_errors: Vec<IntCounter>,
}

impl TransportMetrics {
    /// Creates the metrics and registers them. Fails when the registry has metrics of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| gauges(registry, name, help, &["transport"]);
        let open = gauge("connections", "Open connections")?;
        let pipelines = gauge("pipelines", "Open request pipelines: TCP connections and QUIC streams")?;
        let counter = |name: &str, help: &str| counters(registry, name, help, &["transport"]);
        let accepted = counter("accepted_total", "Connections accepted")?;
        let bytes_in = counter("received_bytes_total", "Bytes of frames received, decrypted")?;
        let bytes_out = counter("sent_bytes_total", "Bytes of replies sent, before encryption")?;
        let frames_in = counter("frames_total", "Request frames received")?;
        let replies = counter("replies_total", "Replies sent")?;
        let closed =
            counters(registry, "closed_total", "Connections closed, by reason", &["transport", "reason"])?;
        let errors = counters(
            registry,
            "protocol_errors_total",
            "Pipelines and handshakes ended by a peer's mistake, by kind",
            &["transport", "kind"],
        )?;
        let rejected = counters(
            registry,
            "rejected_total",
            "Connections and QUIC streams turned away, by limit",
            &["limit"],
        )?;
        let per_transport = TransportKind::ALL.map(|kind| {
            let label = [kind.name()];
            PerTransport {
                open: open.with_label_values(&label),
                accepted: accepted.with_label_values(&label),
                pipelines: pipelines.with_label_values(&label),
                bytes_in: bytes_in.with_label_values(&label),
                bytes_out: bytes_out.with_label_values(&label),
                frames_in: frames_in.with_label_values(&label),
                replies: replies.with_label_values(&label),
                closed: by_reason(&closed, kind),
                protocol_errors: by_reason(&errors, kind),
            }
        });
        Ok(Self {
            per_transport,
            rejected: ["connections_max", "connections_per_ip_max", "quic_streams_max"]
                .map(|limit| rejected.with_label_values(&[limit])),
            handshakes: registered(
                registry,
                IntGauge::with_opts(opts("handshakes", "Handshakes in progress"))?,
            )?,
            receive_bytes: registered(
                registry,
                IntGauge::with_opts(opts("receive_buffer_bytes", "Receive buffers in use"))?,
            )?,
            reply_bytes: registered(
                registry,
                IntGauge::with_opts(opts("reply_buffer_bytes", "Replies in memory that are not sent yet"))?,
            )?,
            retries: registered(
                registry,
                IntCounter::with_opts(opts(
                    "quic_retries_total",
                    "QUIC clients told to prove their address first",
                ))?,
            )?,
            accept_errors: registered(
                registry,
                IntCounter::with_opts(opts(
                    "accept_errors_total",
                    "Failures of accept, e.g. no descriptors left",
                ))?,
            )?,
        })
    }

    pub(crate) const fn of(&self, kind: TransportKind) -> &PerTransport {
        &self.per_transport[kind as usize]
    }

    pub(crate) fn rejected(&self, rejection: Rejection) {
        self.rejected[rejection as usize].inc();
    }
}

impl PerTransport {
    pub(crate) fn closed(&self, reason: &CloseReason) {
        self.closed[reason.index()].inc();
    }

    pub(crate) fn protocol_error(&self, reason: &CloseReason) {
        if reason.is_protocol_error() {
            self.protocol_errors[reason.index()].inc();
        }
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("millrace_transport_{name}"), help)
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    registered(registry, IntGaugeVec::new(opts(name, help), labels)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(registry, IntCounterVec::new(opts(name, help), labels)?)
}

fn by_reason(vec: &IntCounterVec, kind: TransportKind) -> Vec<IntCounter> {
    CloseReason::LABELS.iter().map(|reason| vec.with_label_values(&[kind.name(), reason])).collect()
}
