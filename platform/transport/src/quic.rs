//! QUIC: each bidirectional stream is one pipeline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_base::Piece;
use millrace_base::limits::KIB;
use quinn::{ConnectionError, Incoming, RecvStream, SendStream};
use rustls_pki_types::CertificateDer;

use crate::connection::{Account, Handshaking, Shared};
use crate::file;
use crate::framing::Assembler;
use crate::idle::Usage;
use crate::metrics::Rejection;
use crate::outgoing::Outgoing;
use crate::phase::Phase;
use crate::pipeline::{self, ByteSink, ByteSource};
use crate::service::{CloseReason, Connection, TransportKind};
use crate::tls::ClientIdentity;

/// The protocol's name in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"millrace/1";

/// Application error codes of closed connections and reset streams.
pub mod code {
    /// Nothing is wrong: the peer, or its stream, is no longer needed.
    pub const DONE: u32 = 0;
    /// The peer broke the protocol; the reason's text says how.
    pub const PROTOCOL: u32 = 1;
    /// The broker shuts down; connect to another, or again later.
    pub const SHUTDOWN: u32 = 2;
    /// Too many streams are open; ask again later, or on one that is open.
    pub const CROWDED: u32 = 3;
}

/// Serves one QUIC connection from its handshake to its end.
pub(crate) async fn serve(incoming: Incoming, mut account: Account, handshaking: Handshaking) {
    let shared = Arc::clone(&account.shared);
    let mut phase = shared.phase();
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(shared.limits.handshake_timeout, handshake(incoming)) => shaken,
        () = phase.reached(Phase::Draining) => return account.close(CloseReason::Shutdown),
    };
    drop(handshaking);
    let connection = match shaken {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return account.close(CloseReason::HandshakeFailed(error.to_string())),
        Err(_) => return account.close(CloseReason::HandshakeTimeout),
    };
    let connections = u64::try_from(shared.metrics.of(TransportKind::Quic).open.get()).unwrap_or(0);
    shared.quic.limit(&connection, connections);
    let peer = account.established(identity(&connection));
    let service = shared.service.connect(peer);
    let reason = tokio::select! {
        reason = serve_streams(&shared, &account.usage, &connection, service) => reason,
        () = account.usage.must_leave() => CloseReason::Crowded,
    };
    let code = match &reason {
        CloseReason::Shutdown => code::SHUTDOWN,
        reason if reason.is_protocol_error() => code::PROTOCOL,
        _ => code::DONE,
    };
    connection.close(code.into(), reason.to_string().as_bytes());
    account.close(reason);
}

async fn handshake(incoming: Incoming) -> Result<quinn::Connection, ConnectionError> {
    incoming.accept()?.await
}

fn identity(connection: &quinn::Connection) -> Option<ClientIdentity> {
    let certificates = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    ClientIdentity::of(Some(&certificates))
}

/// Accepts streams until the peer goes, breaks the protocol, opens none for long, or the listener ends.
async fn serve_streams(
    shared: &Arc<Shared>,
    usage: &Arc<Usage>,
    connection: &quinn::Connection,
    service: Arc<dyn Connection>,
) -> CloseReason {
    let mut phase = shared.phase();
    let mut pipelines = tokio::task::JoinSet::new();
    let reason = loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) if is_crowded(shared) => turn_away(shared, send, receive),
                Ok((send, receive)) => {
                    let (shared, usage) = (Arc::clone(shared), Arc::clone(usage));
                    let pipeline = serve_stream(shared, usage, send, receive, service.open_pipeline());
                    pipelines.spawn(pipeline);
                }
                Err(error) => return connection_end(error),
            },
            Some(ended) = pipelines.join_next() => match ended {
                Ok(reason) if ends_connection(&reason) => return reason,
                Ok(_) => {}
                Err(_) => return CloseReason::Panicked,
            },
            () = tokio::time::sleep(shared.limits.idle_timeout), if pipelines.is_empty() => {
                return CloseReason::Idle;
            }
            () = phase.reached(Phase::Draining) => break CloseReason::Shutdown,
        }
    };
    while pipelines.join_next().await.is_some() {}
    reason
}

/// Whether as many streams are open as all connections may have together.
fn is_crowded(shared: &Shared) -> bool {
    let open = shared.metrics.of(TransportKind::Quic).pipelines.get();
    usize::try_from(open).unwrap_or(0) >= shared.limits.quic_streams_max
}

fn turn_away(shared: &Shared, mut send: SendStream, mut receive: RecvStream) {
    shared.metrics.rejected(Rejection::QuicStreams);
    // They fail for a stream that the peer has ended, which is as good.
    let _ = send.reset(code::CROWDED.into());
    let _ = receive.stop(code::CROWDED.into());
}

/// Whether what ended one stream ends them all: a peer that breaks the protocol cannot be trusted on another.
const fn ends_connection(reason: &CloseReason) -> bool {
    reason.is_protocol_error() || matches!(reason, CloseReason::Service(_) | CloseReason::SlowReader)
}

fn connection_end(error: ConnectionError) -> CloseReason {
    match error {
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed => CloseReason::PeerClosed,
        ConnectionError::TimedOut => CloseReason::Idle,
        error => CloseReason::Io { action: "keep a QUIC connection", source: error.into() },
    }
}

async fn serve_stream(
    shared: Arc<Shared>,
    usage: Arc<Usage>,
    send: SendStream,
    receive: RecvStream,
    pipeline: Box<dyn crate::service::Pipeline>,
) -> CloseReason {
    let context = shared.pipeline_context(TransportKind::Quic, &usage);
    let source = QuicSource { stream: receive, chunks: Default::default() };
    let sink = QuicSink { stream: send, chunks: Vec::with_capacity(CHUNKS) };
    pipeline::serve(context, source, sink, pipeline).await
}

/// For the peer to acknowledge a stream's end. One that has vanished must not hold up a listener that drains.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Chunks moved per call: each call takes the connection's lock once.
const CHUNKS: usize = 32;
/// About what a chunk has: it comes out of one packet.
const CHUNK_BYTES: usize = 2 * KIB;

struct QuicSource {
    stream: RecvStream,
    chunks: [Bytes; CHUNKS],
}

impl ByteSource for QuicSource {
    async fn fill(&mut self, frames: &mut Assembler) -> Result<usize, CloseReason> {
        let most = frames.feed_max().div_ceil(CHUNK_BYTES).min(CHUNKS);
        let count = match self.stream.read_chunks(&mut self.chunks[..most]).await {
            Ok(count) => count.unwrap_or(0),
            Err(error) => return Err(CloseReason::Io { action: "receive", source: error.into() }),
        };
        let mut read = 0;
        for chunk in &mut self.chunks[..count] {
            read += chunk.len();
            // Copied and let go: a chunk pins the whole datagram it came in.
            frames.feed(&std::mem::take(chunk));
        }
        Ok(read)
    }
}

struct QuicSink {
    stream: SendStream,
    chunks: Vec<Bytes>,
}

impl ByteSink for QuicSink {
    async fn write_some(&mut self, out: &mut Outgoing) -> io::Result<usize> {
        if let Some(front @ Piece::File { .. }) = out.front()
            && let Some(read) = file::read_front(front).await?
        {
            out.replace_front(read);
        }
        out.chunks(CHUNKS, &mut self.chunks);
        let written = self.stream.write_chunks(&mut self.chunks).await?;
        out.advance(written.bytes);
        Ok(written.bytes)
    }

    async fn finish(&mut self) -> io::Result<()> {
        // A stream that the peer has stopped needs no end.
        if self.stream.finish().is_ok() {
            let _ = tokio::time::timeout(FINISH_TIMEOUT, self.stream.stopped()).await;
        }
        Ok(())
    }
}
