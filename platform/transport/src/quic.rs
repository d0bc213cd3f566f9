//! QUIC: each bidirectional stream is one pipeline.

/// The protocol's name in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"millrace/1";

/// What QUIC's speed depends on, each with its reason.
#[derive(Clone, Debug, Default)]
pub struct QuicTuning {}
