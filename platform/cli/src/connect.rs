//! How a command reaches its broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use millrace_client::{Client, ConnectError, Transport};

/// Where `millrace dev` leaves its authority's certificate, relative to where it was started.
const DEV_CA: &str = "./millrace-data/tls/ca.pem";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TransportArg {
    #[default]
    Quic,
    Tcp,
    Tls,
}

#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// Brokers to ask first, separated by commas
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        env = "MILLRACE_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        help_heading = "Connection"
    )]
    pub bootstrap: String,
    /// How to connect
    #[arg(long, value_enum, default_value_t, env = "MILLRACE_TRANSPORT", help_heading = "Connection")]
    pub transport: TransportArg,
    /// The authority (PEM) that signed the brokers' certificate [default: ./millrace-data/tls/ca.pem]
    #[arg(long, value_name = "FILE", env = "MILLRACE_CA", help_heading = "Connection")]
    pub ca: Option<PathBuf>,
    /// Certificate chain (PEM) to show to brokers that ask for one
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = "Connection")]
    pub client_cert: Option<PathBuf>,
    /// Private key (PEM) of --client-cert
    #[arg(long, value_name = "FILE", requires = "client_cert", help_heading = "Connection")]
    pub client_key: Option<PathBuf>,
    /// How long connecting may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::time::parse_duration,
        help_heading = "Connection")]
    pub connect_timeout: Duration,
}

/// How long the brokers' goodbye is waited for. QUIC sends it at once and would then linger for three probe
/// timeouts in case it was lost, which only spares the broker an idle timeout.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(30);

/// Tells the brokers that this client goes.
pub async fn close(client: &Client) {
    tokio::time::timeout(CLOSE_TIMEOUT, client.close()).await.ok();
}

impl ConnectArgs {
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let transport = match self.transport {
            TransportArg::Quic => Transport::Quic,
            TransportArg::Tcp => Transport::Tcp,
            TransportArg::Tls => Transport::Tls,
        };
        let mut builder = Client::builder()
            .bootstrap(&self.bootstrap)
            .transport(transport)
            .client_id("millrace-cli")
            .connect_timeout(self.connect_timeout);
        if transport != Transport::Tcp {
            builder = builder.ca_file(self.ca_file()?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            builder = builder.client_certificate_files(cert, key);
        }
        builder.connect().await.map_err(|error| self.explained(error))
    }

    /// The error with what may help against it.
    fn explained(&self, error: ConnectError) -> anyhow::Error {
        let last = match &error {
            ConnectError::NoneAnswered { last } => last,
            error => error,
        };
        let help = match last {
            ConnectError::Certificate { .. } => {
                "--ca names the authority that signed the brokers' certificate, --client-cert and --client-key what \
                 is shown to brokers that ask for a certificate"
            }
            ConnectError::Connect { .. } | ConnectError::Timeout { .. } | ConnectError::Resolve { .. } => {
                "is a broker running there? `millrace dev` starts one; --bootstrap names another"
            }
            _ => return anyhow::Error::new(error).context(format!("cannot connect to {}", self.bootstrap)),
        };
        anyhow::Error::new(error).context(format!("cannot reach {} ({help})", self.bootstrap))
    }

    /// The given file, or the one that a broker started here with `millrace dev` has made.
    fn ca_file(&self) -> anyhow::Result<PathBuf> {
        let (path, origin) = match &self.ca {
            Some(path) => (path.as_path(), "as --ca or MILLRACE_CA says"),
            None => (Path::new(DEV_CA), "where `millrace dev` would have made it"),
        };
        if !path.is_file() {
            bail!(
                "there is no CA certificate at {}, {origin}: name the brokers' with --ca FILE, or connect without \
                 encryption with --transport tcp",
                path.display()
            );
        }
        Ok(path.to_owned())
    }
}
