//! What the user of the transports implements, and what it learns about a peer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::Payload;

use crate::tls::ClientIdentity;

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    Tcp,
    /// TLS on TCP.
    Tls,
    Quic,
}

impl TransportKind {
    /// In the order of their discriminants, which metrics use as index.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Quic];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub transport: TransportKind,
    /// Counts the listener's connections from 1; names one in logs.
    pub connection_id: u64,
    /// Who the client's certificate says it is, where one was asked for and given.
    pub identity: Option<ClientIdentity>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connection {} from {}", self.transport, self.connection_id, self.address)
    }
}

/// Answers all connections of a listener.
pub trait Service: Send + Sync + 'static {
    /// Called once per connection, after its handshake.
    fn connect(&self, peer: &Peer) -> Arc<dyn Connection>;
}

/// One peer's connection; dropped when the connection has gone.
pub trait Connection: Send + Sync + 'static {
    /// Called once on TCP, once for every bidirectional stream on QUIC.
    fn open_pipeline(&self) -> Box<dyn Pipeline>;
}

/// One ordered sequence of requests.
pub trait Pipeline: Send {
    /// Starts the request in `frame` (without its length prefix). Requests start in order, one at a time,
    /// and the next frame is not started while this future waits: what must be waited for without holding
    /// up the requests behind it belongs into [`Reply::Later`].
    fn start(&mut self, frame: Bytes) -> BoxFuture<'_, Result<Reply, CloseReason>>;
}

/// What became of a request. Payloads carry their length prefix.
pub enum Reply {
    /// Sent as soon as the replies before it.
    Ready(Payload),
    /// Polled once at once, so that it can start its work and register its waker, and from then on when all
    /// replies before it are out. Dropped unfinished when the connection goes.
    Later(BoxFuture<'static, Payload>),
    /// The request has no reply (Kafka's `acks=0`).
    None,
}

/// Why a connection, or one QUIC stream, was closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    #[error("the peer closed it")]
    PeerClosed,
    #[error("no request for longer than the idle timeout")]
    Idle,
    #[error("all connections were taken, and this one had been idle for the longest")]
    Crowded,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("the handshake, or the first byte of a request, did not arrive in time")]
    HandshakeTimeout,
    #[error("handshake failed: {0}")]
    HandshakeFailed(String),
    #[error("plain TCP is refused here: connect with TLS (tls.tcp or tls.client_auth is 'required')")]
    TlsRequired,
    #[error("TLS on TCP is off here (tls.tcp is 'off')")]
    TlsDisabled,
    #[error(
        "a frame announces {announced} bytes, the limit is {limit}; these bytes may not be Kafka's protocol"
    )]
    FrameTooLarge { announced: i64, limit: usize },
    #[error("the peer closed it in the middle of a frame")]
    Truncated,
    #[error("a frame stopped half-way, or came too slowly")]
    FrameTimeout,
    #[error("the peer did not read its replies, or too slowly")]
    SlowReader,
    /// The service refuses to go on: a request that it cannot answer.
    #[error("{0}")]
    Service(String),
    /// The service's protocol error: bytes that are no request.
    #[error("malformed request: {0}")]
    MalformedRequest(String),
    #[error("{action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("its task panicked; this is a bug")]
    Panicked,
}

impl CloseReason {
    /// Every label that [`label`](Self::label) can give.
    pub const LABELS: [&'static str; 16] = [
        "peer_closed",
        "idle",
        "shutdown",
        "handshake_timeout",
        "handshake_failed",
        "tls_required",
        "tls_disabled",
        "frame_too_large",
        "truncated",
        "frame_timeout",
        "slow_reader",
        "service",
        "malformed_request",
        "io",
        "panicked",
        "crowded",
    ];

    /// The reason as a metric's label.
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::Idle => 1,
            Self::Shutdown => 2,
            Self::HandshakeTimeout => 3,
            Self::HandshakeFailed(_) => 4,
            Self::TlsRequired => 5,
            Self::TlsDisabled => 6,
            Self::FrameTooLarge { .. } => 7,
            Self::Truncated => 8,
            Self::FrameTimeout => 9,
            Self::SlowReader => 10,
            Self::Service(_) => 11,
            Self::MalformedRequest(_) => 12,
            Self::Io { .. } => 13,
            Self::Panicked => 14,
            Self::Crowded => 15,
        }
    }

    /// Whether the peer broke the protocol, as opposed to leaving, or being told to.
    pub const fn is_protocol_error(&self) -> bool {
        matches!(
            self,
            Self::HandshakeFailed(_)
                | Self::TlsRequired
                | Self::TlsDisabled
                | Self::FrameTooLarge { .. }
                | Self::Truncated
                | Self::FrameTimeout
                | Self::MalformedRequest(_)
        )
    }
}
