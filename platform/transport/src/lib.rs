//! Connections: one port number, QUIC on its UDP side, Kafka's TCP (plain or TLS) on the other.
//!
//! The transports carry frames (a big-endian 32-bit length, then that many bytes) and know nothing of what
//! is in them. Each ordered sequence of frames is a [`Pipeline`]: a TCP connection, or one bidirectional
//! stream of a QUIC connection. A [`Service`] says what to do with a frame; its replies go out in the order
//! of the requests.
//!
//! Invariants:
//! - What a peer can make the broker hold is bounded, in size and in time, by what it pays for itself; see the table.
//! - The payload of a reply is never joined or copied on plain TCP; files go through `sendfile`.
//! - A connection leaves at most one log line; the rest is metrics.
//!
//! | what a peer can hold | how much | for how long |
//! |---|---|---|
//! | a connection | `connections_max`, `connections_per_ip_max` | `idle_timeout` without a request; a shorter time when all are taken and another comes |
//! | a connection before its first byte, a TLS or QUIC handshake | the same; QUIC clients beyond `retry_above` prove their address first | `handshake_timeout` |
//! | a QUIC stream | `streams_max` a connection, `quic_streams_max` of all | `idle_timeout` without a request |
//! | a frame on its way | a little more than has arrived, of `receive_bytes_max` for all; frames of up to 64 KiB have an eighth of it for themselves, and a reserve sees to it that one of any size comes through | a pace, a quicker one while this memory is short |
//! | a frame that is worked on, or waits for a request before it | the frame, of the same memory; none is read on while `in_flight_max` or `in_flight_bytes_max` are reached | the service's |
//! | replies not read yet | `in_flight_bytes_max` a pipeline, four times `reply_bytes_max` of all, and one reply beyond each | a pace; a shorter stop while this memory is short |
//! | replies to a peer that has ended its side | the same | `half_close_timeout`; over QUIC until the peer is gone |
//! | bytes in QUIC's own buffers, unread or not acknowledged | windows, smaller the more connections there are | as long as the connection |
//!
//! Descriptors are short at times, and so is memory: a failed accept is tried again.

mod accept;
mod connection;
mod file;
mod flow;
mod framing;
mod idle;
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
mod quic_tuning;
mod replies;
mod reset;
pub mod service;
mod stream;
mod tcp;
pub mod tls;

pub use in_process::InProcess;
pub use limits::TransportLimits;
pub use listener::{ListenError, ListenOptions, Listener, listen};
pub use metrics::TransportMetrics;
pub use quic_tuning::QuicTuning;
pub use service::{CloseReason, Connection, Peer, Pipeline, Reply, Service, TransportKind};
pub use tls::{CertificateSource, ClientAuth, ClientIdentity, TcpTls, TlsContext, TlsError, TlsOptions};
