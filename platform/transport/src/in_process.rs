//! Connections that are pipes within this process, served as those of a listener are. Tests play peers on them, which
//! then live in a time of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Shared;
use crate::limits::{LimitsError, TransportLimits};
use crate::metrics::TransportMetrics;
use crate::pipeline;
use crate::quic_tuning::QuicTuning;
use crate::service::{CloseReason, Service, TransportKind};
use crate::stream::{StreamSink, StreamSource};

/// Serves streams of bytes; what they hold together is bounded as on one listener.
pub struct InProcess(Arc<Shared>);

impl InProcess {
    pub fn new(
        service: Arc<dyn Service>,
        metrics: Arc<TransportMetrics>,
        limits: TransportLimits,
    ) -> Result<Self, LimitsError> {
        limits.validate()?;
        Ok(Self(Shared::new(service, metrics, limits, QuicTuning::default())))
    }

    /// Serves one connection to its end, and says what ended it, as metrics name it. `None`: there are too many.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send) -> Option<&'static str> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut account = self.0.admit(address, TransportKind::Tls)?;
        let connection = self.0.service.connect(account.established(None));
        let context = self.0.pipeline_context(TransportKind::Tls, &account.usage);
        let (read, write) = tokio::io::split(stream);
        let (source, sink) = (StreamSource(read), StreamSink(write));
        let usage = Arc::clone(&account.usage);
        let reason = tokio::select! {
            reason = pipeline::serve(context, source, sink, connection.open_pipeline()) => reason,
            () = usage.must_leave() => CloseReason::Crowded,
        };
        let label = reason.label();
        account.close(reason);
        Some(label)
    }

    /// Bytes of receive buffers that are paid for now.
    pub fn receive_bytes(&self) -> usize {
        usize::try_from(self.0.metrics.receive_bytes.get()).unwrap_or_default()
    }

    /// Bytes of replies that are held in memory now.
    pub fn reply_bytes(&self) -> usize {
        usize::try_from(self.0.metrics.reply_bytes.get()).unwrap_or_default()
    }
}
