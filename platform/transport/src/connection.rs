//! What all connections of a listener share, and the accounts of each: admission, metrics, its log line.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::{Notify, watch};

use crate::idle::{Usage, Usages};
use crate::limits::TransportLimits;
use crate::memory::ReceiveMemory;
use crate::metrics::{Rejection, TransportMetrics};
use crate::phase::{Phase, PhaseWatch};
use crate::pipeline::PipelineContext;
use crate::quic_tuning::QuicTuning;
use crate::replies::ReplyMemory;
use crate::service::{CloseReason, Peer, Service, TransportKind};
use crate::tls::ClientIdentity;

/// One listener's shared state.
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) metrics: Arc<TransportMetrics>,
    pub(crate) limits: TransportLimits,
    pub(crate) memory: ReceiveMemory,
    pub(crate) replies: ReplyMemory,
    pub(crate) quic: QuicTuning,
    phase: watch::Sender<Phase>,
    open: AtomicUsize,
    /// Told when the last connection has gone.
    all_closed: Notify,
    connections_accepted: AtomicU64,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    usages: Usages,
}

impl Shared {
    pub(crate) fn new(
        service: Arc<dyn Service>,
        metrics: Arc<TransportMetrics>,
        limits: TransportLimits,
        quic: QuicTuning,
    ) -> Arc<Self> {
        let memory = ReceiveMemory::new(&limits, metrics.receive_bytes.clone());
        let replies = ReplyMemory::new(limits.reply_bytes_max, metrics.reply_bytes.clone());
        let usages = Usages::new(limits.idle_min);
        Arc::new(Self {
            service,
            metrics,
            limits,
            memory,
            replies,
            quic,
            phase: watch::Sender::new(Phase::Running),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            connections_accepted: AtomicU64::new(0),
            per_ip: Mutex::default(),
            usages,
        })
    }

    pub(crate) fn phase(&self) -> PhaseWatch {
        PhaseWatch::new(self.phase.subscribe())
    }

    /// Moves on to `phase`; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            closed.await;
        }
    }

    pub(crate) fn pipeline_context(
        &self,
        transport: TransportKind,
        usage: &Arc<Usage>,
    ) -> PipelineContext<'_> {
        PipelineContext {
            usage: Arc::clone(usage),
            limits: &self.limits,
            memory: &self.memory,
            replies: &self.replies,
            metrics: self.metrics.of(transport),
            transport,
            phase: self.phase(),
        }
    }

    /// Counts a connection in, unless a limit is reached. Where all places are taken, one that is idle makes room.
    pub(crate) fn admit(self: &Arc<Self>, address: SocketAddr, transport: TransportKind) -> Option<Account> {
        let admitted = self.open.fetch_add(1, Ordering::SeqCst) < self.limits.connections_max;
        if !admitted && !self.usages.make_room(tokio::time::Instant::now()) {
            self.leave();
            self.metrics.rejected(Rejection::Connections);
            return None;
        }
        if let Some(max) = self.limits.connections_per_ip_max {
            let mut per_ip = self.per_ip.lock();
            let count = per_ip.entry(address.ip()).or_default();
            if *count >= max {
                drop(per_ip);
                self.leave();
                self.metrics.rejected(Rejection::PerIp);
                return None;
            }
            *count += 1;
        }
        self.metrics.of(transport).open.inc();
        let connection_id = self.connections_accepted.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Account {
            shared: Arc::clone(self),
            peer: Peer { address, transport, connection_id, identity: None },
            usage: self.usages.open(connection_id),
            opened: Instant::now(),
            established: false,
            reason: None,
        })
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.all_closed.notify_waiters();
        }
    }
}

/// One connection's place in the books, closed when dropped.
pub(crate) struct Account {
    pub(crate) shared: Arc<Shared>,
    pub(crate) usage: Arc<Usage>,
    peer: Peer,
    opened: Instant,
    established: bool,
    reason: Option<CloseReason>,
}

impl Account {
    /// A TCP connection turns out to speak TLS.
    pub(crate) fn becomes(&mut self, transport: TransportKind) {
        self.shared.metrics.of(self.peer.transport).open.dec();
        self.shared.metrics.of(transport).open.inc();
        self.peer.transport = transport;
    }

    /// The handshake is done.
    pub(crate) fn established(&mut self, identity: Option<ClientIdentity>) -> &Peer {
        self.peer.identity = identity;
        self.established = true;
        self.shared.metrics.of(self.peer.transport).accepted.inc();
        &self.peer
    }

    /// Ends the connection's account.
    pub(crate) fn close(mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let metrics = self.shared.metrics.of(self.peer.transport);
        let panicked = std::thread::panicking();
        let reason = self.reason.take().unwrap_or(if panicked {
            CloseReason::Panicked
        } else {
            // The runtime itself goes.
            CloseReason::Shutdown
        });
        metrics.open.dec();
        metrics.closed(&reason);
        if !self.established {
            metrics.protocol_error(&reason);
        }
        let seconds = self.opened.elapsed().as_secs_f64();
        // Peers that leave are routine; those that break the protocol are what an operator looks for.
        if reason.is_protocol_error() || matches!(reason, CloseReason::SlowReader | CloseReason::Service(_)) {
            tracing::info!(peer = %self.peer, seconds, "closed: {reason}");
        } else if matches!(reason, CloseReason::Panicked) {
            tracing::error!(peer = %self.peer, seconds, "closed: {reason}");
        } else {
            tracing::debug!(peer = %self.peer, seconds, "closed: {reason}");
        }
        if self.shared.limits.connections_per_ip_max.is_some() {
            let mut per_ip = self.shared.per_ip.lock();
            if let Some(count) = per_ip.get_mut(&self.peer.address.ip()) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&self.peer.address.ip());
                }
            }
        }
        self.shared.usages.close(self.peer.connection_id);
        self.shared.leave();
    }
}

/// Counts a handshake in progress.
pub(crate) struct Handshaking(IntGauge);

impl Handshaking {
    pub(crate) fn begin(shared: &Shared) -> Self {
        shared.metrics.handshakes.inc();
        Self(shared.metrics.handshakes.clone())
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.0.dec();
    }
}
