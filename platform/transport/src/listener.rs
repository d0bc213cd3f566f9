//! The listener: UDP and TCP on one port number, and the end of both.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::accept;
use crate::connection::Shared;
use crate::limits::{LimitsError, TransportLimits};
use crate::metrics::TransportMetrics;
use crate::phase::Phase;
use crate::quic::code;
use crate::quic_tuning::QuicTuning;
use crate::service::Service;
use crate::tls::{TcpTls, TlsContext};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;
/// Attempts to find a port that is free on both sides.
const PORT_ATTEMPTS: usize = 64;
/// How often certificates are looked at.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// For tasks to end once they are told to, and for QUIC peers to hear of it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

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
pub enum ListenError {
    #[error("listen on {protocol} {address}: {source}; stop what uses the port, or set another address")]
    Bind { protocol: &'static str, address: SocketAddr, source: io::Error },
    #[error("no port of {0} was free on both TCP and UDP in {PORT_ATTEMPTS} attempts: set one")]
    NoPort(SocketAddr),
    #[error("limits of the transport: {0}")]
    Limits(#[from] LimitsError),
    #[error("{action}: {source}")]
    Setup { action: &'static str, source: io::Error },
}

/// A running listener. Dropping it closes every connection at once.
pub struct Listener {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    endpoint: Endpoint,
    accepting: Vec<JoinHandle<()>>,
    refreshing: JoinHandle<()>,
}

/// Binds both sockets and serves them on the current tokio runtime.
pub fn listen(
    options: ListenOptions,
    service: Arc<dyn Service>,
    metrics: Arc<TransportMetrics>,
) -> Result<Listener, ListenError> {
    let ListenOptions { address, tls, tcp_tls, limits, quic } = options;
    limits.validate()?;
    let (tcp, udp) = bind(address)?;
    let setup = |action| move |source| ListenError::Setup { action, source };
    let local_addr = tcp.local_addr().map_err(setup("read the port that was picked"))?;
    let buffer_bytes = quic.size_buffers(&udp).map_err(setup("size the UDP socket's buffers"))?;
    if buffer_bytes < quic.socket_buffer_bytes {
        tracing::warn!(
            "the UDP socket's buffers are {buffer_bytes} bytes, not {}: QUIC will lose packets under load; raise \
             net.core.rmem_max and net.core.wmem_max",
            quic.socket_buffer_bytes
        );
    }
    let mut server = ServerConfig::with_crypto(tls.quic());
    server.transport_config(Arc::new(quic.transport_config(limits.streams_max)));
    let mut endpoint_config = quic.endpoint_config();
    tls.reset_key().install(&mut endpoint_config);
    let endpoint = Endpoint::new(endpoint_config, Some(server), udp, Arc::new(TokioRuntime))
        .map_err(setup("start the QUIC endpoint"))?;
    let tcp = tokio::net::TcpListener::from_std(tcp).map_err(setup("register the TCP listener"))?;
    let shared = Shared::new(service, metrics, limits, quic);
    let acceptor = TlsAcceptor::from(tls.tcp());
    let accepting = vec![
        tokio::spawn(accept::tcp(Arc::clone(&shared), tcp, acceptor, tcp_tls)),
        tokio::spawn(accept::quic(Arc::clone(&shared), endpoint.clone())),
    ];
    let refreshing = tokio::spawn(refresh(tls));
    Ok(Listener { local_addr, shared, endpoint, accepting, refreshing })
}

impl Listener {
    /// The address with the port that was picked.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting connections and requests, lets requests in flight finish until `deadline` has
    /// passed, then closes what is left.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.shared.enter(Phase::Draining);
        self.endpoint.set_server_config(None);
        for task in self.accepting.drain(..) {
            // It has no way to fail but a panic, which is reported where it happens.
            let _ = task.await;
        }
        if tokio::time::timeout(deadline, self.shared.all_closed()).await.is_err() {
            tracing::warn!(
                seconds = deadline.as_secs_f64(),
                "requests did not finish in time; closing their connections"
            );
        }
        self.shared.enter(Phase::Aborting);
        let _ = tokio::time::timeout(ABORT_TIMEOUT, self.shared.all_closed()).await;
        self.endpoint.close(code::SHUTDOWN.into(), b"the broker is shutting down");
        let _ = tokio::time::timeout(ABORT_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.enter(Phase::Aborting);
        self.endpoint.close(code::SHUTDOWN.into(), b"the broker is shutting down");
        self.refreshing.abort();
    }
}

/// Looks at the certificates from time to time.
async fn refresh(tls: TlsContext) {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        let tls = tls.clone();
        match tokio::task::spawn_blocking(move || tls.refresh()).await {
            Ok(Ok(true)) => tracing::info!("new connections get the renewed certificate"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => tracing::error!(%error, "the certificate in use stays"),
        }
    }
}

/// Binds TCP and UDP to the same port.
fn bind(address: SocketAddr) -> Result<(TcpListener, UdpSocket), ListenError> {
    for _ in 0..PORT_ATTEMPTS {
        let tcp =
            bind_tcp(address).map_err(|source| ListenError::Bind { protocol: "TCP", address, source })?;
        let picked = tcp
            .local_addr()
            .map_err(|source| ListenError::Setup { action: "read the port that was picked", source })?;
        match bind_udp(picked) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(ListenError::Bind { protocol: "UDP", address: picked, source }),
        }
    }
    Err(ListenError::NoPort(address))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A restarted broker takes its port back from connections that linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // [::] serves IPv4 as well, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}
