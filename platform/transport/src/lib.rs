//! Connections: one port number, QUIC on its UDP side, Kafka's TCP (plain or TLS) on the other.
//!
//! The transports carry frames (a big-endian 32-bit length, then that many bytes) and know nothing of what
//! is in them. Each ordered sequence of frames is a [`Pipeline`]: a TCP connection, or one bidirectional
//! stream of a QUIC connection. A [`Service`] says what to do with a frame; its replies go out in the order
//! of the requests.
//!
//! Invariants:
//! - What a peer can make the broker hold is bounded: connections, half-open connections by a deadline,
//!   receive buffers by one budget, replies in flight per pipeline by count and bytes.
//! - A peer that stops (half-way through a handshake, a frame, or while it is being written to) is closed
//!   by a deadline.
//! - The payload of a reply is never joined or copied on plain TCP; files go through `sendfile`.
//! - A connection leaves at most one log line; the rest is metrics.

mod accept;
mod connection;
mod file;
mod flow;
mod framing;
mod in_process;
pub mod limits;
pub mod listener;
mod memory;
pub mod metrics;
mod outgoing;
mod pace;
mod phase;
mod pipeline;
pub mod quic;
mod reset;
pub mod service;
mod stream;
mod tcp;
pub mod tls;

pub use in_process::InProcess;
pub use limits::TransportLimits;
pub use listener::{ListenError, ListenOptions, Listener, TcpTls, listen};
pub use metrics::TransportMetrics;
pub use quic::QuicTuning;
pub use service::{CloseReason, Connection, Peer, Pipeline, Reply, Service, TransportKind};
pub use tls::{CertificateSource, ClientAuth, ClientIdentity, TlsContext, TlsError, TlsOptions};
