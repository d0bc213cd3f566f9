//! Connecting to brokers by the transport that the client was told to use.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::ConnectError;
use crate::net::certificates;
use crate::net::eyeballs::{HEAD_START, interleaved, race};
use crate::net::lane::Lane;
use crate::net::pool::BufferPool;
use crate::net::quic::QuicDialer;
use crate::net::tls;
use crate::net::wire::{Inbound, Outbound};
use crate::settings::{ClientBuilder, Transport};

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
        self.connect_any(interleaved(resolved), host, &name).await
    }

    /// As [`Self::connect`], to these addresses.
    async fn connect_any(
        &self,
        addresses: Vec<SocketAddr>,
        host: &str,
        name: &str,
    ) -> Result<(Link, Lane), ConnectError> {
        let connected = race(addresses, HEAD_START, |address| self.connect_to(address, host, name)).await;
        connected.map_err(|last| last.unwrap_or(ConnectError::BadAddress { address: name.to_owned() }))
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
                    .map_err(|error| self.failed(name, &error))?;
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
            .map_err(|error| self.failed(name, &error))?;
        Ok(Lane::start(halves.0, halves.1, Arc::clone(&self.pool)))
    }

    async fn halves(&self, link: &Link, host: &str) -> Result<(Outbound, Inbound), io::Error> {
        match link {
            Link::Quic(connection) => {
                let (send, receive) = connection.open_bi().await?;
                Ok((Outbound::Quic(send), Inbound::Quic(receive)))
            }
            Link::Address(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let Kind::Tls(connector) = &self.kind else {
                    let (read, write) = stream.into_split();
                    return Ok((Outbound::Tcp(write), Inbound::Tcp(read)));
                };
                let server_name = self.server_name.as_deref().unwrap_or(host).to_owned();
                let server_name = ServerName::try_from(server_name).map_err(io::Error::other)?;
                let stream = connector.connect(server_name, stream).await?;
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

    fn failed(&self, name: &str, error: &io::Error) -> ConnectError {
        let address = name.to_owned();
        match certificates::trouble(error) {
            Some(reason) => ConnectError::Certificate { address, reason },
            None => {
                let (transport, reason) = (self.transport.name(), error.to_string());
                ConnectError::Connect { address, transport, reason }
            }
        }
    }

    fn timed_out(&self, name: &str) -> ConnectError {
        ConnectError::Timeout {
            address: name.to_owned(),
            transport: self.transport.name(),
            after: self.connect_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::Client;

    /// A QUIC server for `localhost` and its certificate.
    fn server() -> (quinn::Endpoint, String) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
        tls.alpn_protocols = vec![b"millrace/1".to_vec()];
        let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        (endpoint, certified.cert.pem())
    }

    /// As where `localhost` is ::1 first and the broker is on 127.0.0.1: the one never answers.
    #[tokio::test]
    async fn an_address_that_is_silent_does_not_use_up_the_connect_timeout() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (server, ca) = server();
        let settings = Client::builder()
            .transport(Transport::Quic)
            .ca_pem(ca)
            .connect_timeout(Duration::from_secs(3600));
        let dialer = Dialer::new(&settings).unwrap();
        let addresses = vec![silent.local_addr().unwrap(), server.local_addr().unwrap()];
        let accepting = tokio::spawn(async move { (server.accept().await.unwrap().await.unwrap(), server) });
        let connecting = dialer.connect_any(addresses, "localhost", "localhost:9092");
        let connected = timeout(Duration::from_secs(60), connecting).await.expect("waits for the silent one");
        connected.unwrap();
        drop(accepting.await.unwrap());
    }
}
