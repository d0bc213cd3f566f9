//! Accepting on both sockets, and what a TCP connection is before it is a pipeline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::connection::{Account, Handshaking, Shared};
use crate::limits::TLS_HANDSHAKE;
use crate::phase::Phase;
use crate::pipeline;
use crate::quic;
use crate::service::{CloseReason, TransportKind};
use crate::stream::{StreamSink, StreamSource};
use crate::tcp::{TcpSink, TcpSource};
use crate::tls::{ClientIdentity, TcpTls};

/// Pause after a failed accept: it fails when descriptors are short, and goes on failing until some are freed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Failures of accept are reported once in this many, each being worth a line only as a group.
const ACCEPT_ERRORS_PER_LINE: u64 = 200;

/// Accepts TCP connections until the listener drains.
pub(crate) async fn tcp(shared: Arc<Shared>, listener: TcpListener, tls: TlsAcceptor, mode: TcpTls) {
    let mut phase = shared.phase();
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = phase.reached(Phase::Draining) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                shared.metrics.accept_errors.inc();
                if failures % ACCEPT_ERRORS_PER_LINE == 0 {
                    tracing::warn!(%error, "cannot accept connections, trying again: {}", way_out(&error));
                }
                failures += 1;
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if let Some(account) = shared.admit(address, TransportKind::Tcp) {
            tokio::spawn(serve_tcp(account, stream, tls.clone(), mode));
        }
    }
}

/// What an operator can do about a failed accept. None of the errors is for ever: what is short comes back.
fn way_out(error: &io::Error) -> &'static str {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::MFILE) => {
            "raise the descriptor limit (ulimit -n), or lower limits.max_connections"
        }
        Some(rustix::io::Errno::NFILE) => "raise the system's limit of open files (fs.file-max)",
        _ => "memory may be short",
    }
}

/// Accepts QUIC connections until the listener drains.
pub(crate) async fn quic(shared: Arc<Shared>, endpoint: Endpoint) {
    let mut phase = shared.phase();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = phase.reached(Phase::Draining) => return,
        };
        let Some(incoming) = incoming else {
            if phase.current() == Phase::Running {
                tracing::error!(
                    "QUIC has ended, since its socket failed: restart the broker to serve it again"
                );
            }
            return;
        };
        let crowded =
            usize::try_from(shared.metrics.handshakes.get()).unwrap_or(0) >= shared.limits.retry_above;
        if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
            shared.metrics.retries.inc();
            // Only fails for a validated address.
            let _ = incoming.retry();
            continue;
        }
        match shared.admit(incoming.remote_address(), TransportKind::Quic) {
            Some(account) => {
                let handshaking = Handshaking::begin(&shared);
                tokio::spawn(quic::serve(incoming, account, handshaking));
            }
            None => incoming.refuse(),
        }
    }
}

/// A TCP connection from its first byte to its end.
async fn serve_tcp(mut account: Account, stream: TcpStream, tls: TlsAcceptor, mode: TcpTls) {
    let usage = Arc::clone(&account.usage);
    let reason = tokio::select! {
        reason = serve_until_end(&mut account, stream, tls, mode) => reason,
        () = usage.must_leave() => CloseReason::Crowded,
    };
    account.close(reason);
}

/// Until its first byte a connection costs this small task and its socket.
async fn serve_until_end(
    account: &mut Account,
    stream: TcpStream,
    tls: TlsAcceptor,
    mode: TcpTls,
) -> CloseReason {
    let shared = Arc::clone(&account.shared);
    let opened = tokio::time::Instant::now();
    let deadline = opened + shared.limits.handshake_timeout;
    let mut phase = shared.phase();
    let first = tokio::select! {
        first = tokio::time::timeout_at(deadline, first_byte(&stream)) => first,
        () = phase.reached(Phase::Draining) => return CloseReason::Shutdown,
    };
    match first {
        Err(_) => CloseReason::HandshakeTimeout,
        Ok(Err(_) | Ok(None)) => CloseReason::PeerClosed,
        Ok(Ok(Some(TLS_HANDSHAKE))) => {
            account.becomes(TransportKind::Tls);
            match mode {
                TcpTls::Off => CloseReason::TlsDisabled,
                _ => Box::pin(serve_tls(&shared, account, stream, tls, deadline)).await,
            }
        }
        Ok(Ok(Some(_))) if mode == TcpTls::Required => CloseReason::TlsRequired,
        Ok(Ok(Some(_))) => Box::pin(serve_plain(&shared, account, stream)).await,
    }
}

async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.peek(&mut byte).await? > 0).then_some(byte[0]))
}

async fn serve_plain(shared: &Arc<Shared>, account: &mut Account, stream: TcpStream) -> CloseReason {
    if let Err(source) = stream.set_nodelay(true) {
        return CloseReason::Io { action: "set TCP_NODELAY", source };
    }
    let connection = shared.service.connect(account.established(None));
    let context = shared.pipeline_context(TransportKind::Tcp, &account.usage);
    pipeline::serve(context, TcpSource(&stream), TcpSink(&stream), connection.open_pipeline()).await
}

async fn serve_tls(
    shared: &Arc<Shared>,
    account: &mut Account,
    stream: TcpStream,
    tls: TlsAcceptor,
    deadline: tokio::time::Instant,
) -> CloseReason {
    if let Err(source) = stream.set_nodelay(true) {
        return CloseReason::Io { action: "set TCP_NODELAY", source };
    }
    let mut phase = shared.phase();
    let handshaking = Handshaking::begin(shared);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout_at(deadline, tls.accept(stream)) => shaken,
        () = phase.reached(Phase::Draining) => return CloseReason::Shutdown,
    };
    drop(handshaking);
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return CloseReason::HandshakeFailed(error.to_string()),
        Err(_) => return CloseReason::HandshakeTimeout,
    };
    let identity = ClientIdentity::of(stream.get_ref().1.peer_certificates());
    let connection = shared.service.connect(account.established(identity));
    let context = shared.pipeline_context(TransportKind::Tls, &account.usage);
    let (read, write) = tokio::io::split(stream);
    pipeline::serve(context, StreamSource(read), StreamSink(write), connection.open_pipeline()).await
}
