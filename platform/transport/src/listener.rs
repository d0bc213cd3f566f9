//! The listener: UDP and TCP on one port number, and the end of both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::TransportLimits;
use crate::metrics::TransportMetrics;
use crate::quic::QuicTuning;
use crate::service::Service;
use crate::tls::TlsContext;

/// Whether TLS is spoken on the TCP port. It is told from plain Kafka by its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpTls {
    /// Plain and TLS connections side by side.
    #[default]
    Allowed,
    Required,
    Off,
}

/// How to listen.
#[derive(Clone)]
pub struct ListenOptions {
    /// Address and port of both transports; port 0 picks one that is free on both.
    pub address: SocketAddr,
    pub tls: TlsContext,
    pub tcp_tls: TcpTls,
    pub limits: TransportLimits,
    pub quic: QuicTuning,
}

/// A listener that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {}

/// A running listener. Dropping it closes every connection at once.
pub struct Listener {
    local_addr: SocketAddr,
}

/// Binds both sockets and serves them on the current tokio runtime.
pub fn listen(
    _options: ListenOptions,
    _service: Arc<dyn Service>,
    _metrics: Arc<TransportMetrics>,
) -> Result<Listener, ListenError> {
    unimplemented!()
}

impl Listener {
    /// The address with the port that was picked.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting connections and requests, lets requests in flight finish until `deadline` has
    /// passed, then closes what is left.
    pub async fn shutdown(self, _deadline: Duration) {
        unimplemented!()
    }
}
