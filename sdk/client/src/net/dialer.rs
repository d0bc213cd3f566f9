//! Connecting to brokers by the transport that the client was told to use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{ClientBuilder, Transport};
use crate::error::ConnectError;
use crate::net::lane::Lane;
use crate::net::pool::BufferPool;
use crate::net::quic::QuicDialer;
use crate::net::tls;
use crate::net::wire::{Inbound, Outbound};

enum Kind {
    Tcp,
    Tls(TlsConnector),
    Quic(Box<QuicDialer>),
}

/// Makes links and lanes; one per client.
pub(crate) struct Dialer {
    kind: Kind,
    transport: Transport,
    server_name: Option<String>,
    connect_timeout: Duration,
    pool: Arc<BufferPool>,
}

/// What lanes to one broker share: on QUIC the connection, on TCP only the address.
#[derive(Clone)]
pub(crate) enum Link {
    Address(SocketAddr),
    Quic(quinn::Connection),
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Quic(connection) if connection.close_reason().is_some())
    }
}

impl Dialer {
    pub(crate) fn new(settings: &ClientBuilder) -> Result<Self, ConnectError> {
        let kind = match settings.transport {
            Transport::Tcp => Kind::Tcp,
            Transport::Tls => Kind::Tls(tls::client_config(settings, false)?.into()),
            Transport::Quic => {
                Kind::Quic(Box::new(QuicDialer::new(&settings.quic, tls::client_config(settings, true)?)?))
            }
        };
        Ok(Self {
            kind,
            transport: settings.transport,
            server_name: settings.server_name.clone(),
            connect_timeout: settings.connect_timeout,
            pool: Arc::default(),
        })
    }

    /// Connects to the first of `host`'s addresses that answers and opens a first lane.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<(Link, Lane), ConnectError> {
        let name = format!("{host}:{port}");
        let resolved = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| ConnectError::Resolve { address: name.clone(), source: Arc::new(source) })?;
        let mut last = None;
        for address in resolved {
            match self.connect_to(address, host, &name).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ConnectError::BadAddress { address: name }))
    }

    async fn connect_to(&self, to: SocketAddr, host: &str, name: &str) -> Result<(Link, Lane), ConnectError> {
        let link = match &self.kind {
            Kind::Tcp | Kind::Tls(_) => Link::Address(to),
            Kind::Quic(dialer) => {
                let server_name = self.server_name.as_deref().unwrap_or(host);
                let connecting = dialer.connect(to, server_name);
                let connection = timeout(self.connect_timeout, connecting)
                    .await
                    .map_err(|_| self.timed_out(name))?
                    .map_err(|reason| self.failed(name, reason))?;
                Link::Quic(connection)
            }
        };
        let lane = self.open_lane(&link, host, name).await?;
        Ok((link, lane))
    }

    /// Opens a further lane beside others: a stream of the same QUIC connection, or another TCP connection.
    pub(crate) async fn open_lane(&self, link: &Link, host: &str, name: &str) -> Result<Lane, ConnectError> {
        let halves = timeout(self.connect_timeout, self.halves(link, host))
            .await
            .map_err(|_| self.timed_out(name))?
            .map_err(|reason| self.failed(name, reason))?;
        Ok(Lane::start(halves.0, halves.1, Arc::clone(&self.pool)))
    }

    async fn halves(&self, link: &Link, host: &str) -> Result<(Outbound, Inbound), String> {
        match link {
            Link::Quic(connection) => {
                let (send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
                Ok((Outbound::Quic(send), Inbound::Quic(receive)))
            }
            Link::Address(address) => {
                let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                let Kind::Tls(connector) = &self.kind else {
                    let (read, write) = stream.into_split();
                    return Ok((Outbound::Tcp(write), Inbound::Tcp(read)));
                };
                let server_name = self.server_name.as_deref().unwrap_or(host).to_owned();
                let server_name = ServerName::try_from(server_name).map_err(|error| error.to_string())?;
                let stream =
                    connector.connect(server_name, stream).await.map_err(|error| error.to_string())?;
                let (read, write) = tokio::io::split(stream);
                Ok((Outbound::Tls(write), Inbound::Tls(read)))
            }
        }
    }

    /// Says goodbye where the transport has a word for it.
    pub(crate) async fn close(&self) {
        if let Kind::Quic(dialer) = &self.kind {
            dialer.close().await;
        }
    }

    fn failed(&self, name: &str, reason: String) -> ConnectError {
        ConnectError::Connect { address: name.to_owned(), transport: self.transport.name(), reason }
    }

    fn timed_out(&self, name: &str) -> ConnectError {
        ConnectError::Timeout {
            address: name.to_owned(),
            transport: self.transport.name(),
            after: self.connect_timeout,
        }
    }
}
