//! Settings of a [`Client`](crate::Client), each with its default and the reason for it.

use std::path::PathBuf;
use std::time::Duration;

/// How frames travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// One UDP connection per broker, a stream per role; TLS 1.3 always.
    #[default]
    Quic,
    /// Plain TCP, a connection per role.
    Tcp,
    /// TLS over TCP, a connection per role.
    Tls,
}

impl Transport {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "QUIC",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// QUIC's knobs. The defaults are measured on loopback and on 10 Gbit/s; few users need others.
#[derive(Clone, Debug)]
pub struct QuicTuning {
    /// Kernel buffers of the UDP socket, each way. Default 4 MiB: a burst of one stream window must fit.
    pub socket_buffer_bytes: usize,
    /// Data in flight on one stream. Default 4 MiB; 16 MiB measured slower (it falls out of the cache).
    pub stream_window_bytes: u32,
    /// Data in flight on the connection. Default 16 MiB.
    pub connection_window_bytes: u32,
    /// Data sent and not acknowledged by the peer's transport. Default 8 MiB.
    pub send_window_bytes: u32,
    /// Largest UDP payload that path MTU discovery tries. Default 6550: one segmented send carries ten of them
    /// and must stay below 65 KiB.
    pub mtu_upper_bound: u16,
    /// Idle time after which the connection is given up. Default 30 s.
    pub idle_timeout: Duration,
    /// Keep-alive interval, well below the idle timeout. Default 5 s.
    pub keep_alive: Duration,
}

impl Default for QuicTuning {
    fn default() -> Self {
        Self {
            socket_buffer_bytes: 4 << 20,
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 16 << 20,
            send_window_bytes: 8 << 20,
            mtu_upper_bound: 6550,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
        }
    }
}

/// Where certificates and keys come from.
#[derive(Clone, Debug)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

/// Collects a client's settings; [`ClientBuilder::connect`] makes the client.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    pub(crate) bootstrap: Vec<String>,
    pub(crate) transport: Transport,
    pub(crate) ca: Option<Pem>,
    pub(crate) client_certificate: Option<(Pem, Pem)>,
    pub(crate) server_name: Option<String>,
    pub(crate) client_id: String,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) metadata_max_age: Duration,
    pub(crate) quic: QuicTuning,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            transport: Transport::default(),
            ca: None,
            client_certificate: None,
            server_name: None,
            client_id: "millrace-client".to_owned(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            metadata_max_age: Duration::from_secs(300),
            quic: QuicTuning::default(),
        }
    }
}

impl ClientBuilder {
    /// Brokers to ask first, `host:port`, several separated by commas. May be called again to add more.
    pub fn bootstrap(mut self, addresses: &str) -> Self {
        self.bootstrap.extend(addresses.split(',').map(|address| address.trim().to_owned()));
        self
    }

    /// Default [`Transport::Quic`].
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The authority that signed the brokers' certificates, a PEM file. A broker started with `millrace dev`
    /// writes its own to `<data directory>/tls/ca.pem`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Pem::File(path.into()));
        self
    }

    /// As [`ClientBuilder::ca_file`], from memory.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Pem::Text(pem.into()));
        self
    }

    /// Certificate chain and private key (PEM files) that this client shows to brokers which ask for them.
    pub fn client_certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((Pem::File(chain.into()), Pem::File(key.into())));
        self
    }

    /// As [`ClientBuilder::client_certificate_files`], from memory.
    pub fn client_certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client_certificate = Some((Pem::Text(chain.into()), Pem::Text(key.into())));
        self
    }

    /// The name that brokers' certificates must carry. Default: the host that is connected to.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Shows up in the brokers' logs and quotas. Default `millrace-client`.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// How long one request may take. Default 30 s, as Kafka's clients.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long one attempt to connect may take. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Age at which the cluster's picture is fetched again though nothing failed. Default 5 minutes.
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.metadata_max_age = age;
        self
    }

    pub fn quic(mut self, tuning: QuicTuning) -> Self {
        self.quic = tuning;
        self
    }
}
