//! TLS 1.3 for both transports: certificates, client authentication, renewal.
//!
//! Without certificates of the operator's, the broker makes an authority and a server certificate of its own
//! (`generate`); clients trust the authority by its `ca.pem`. Either kind is replaced while running
//! when it is renewed or its files change; connections keep what they started with.

mod context;
mod generate;
mod identity;
mod pem;
mod x509;

use std::io;
use std::path::PathBuf;

pub use context::TlsContext;
pub use generate::{ClientCertificate, issue_client_certificate};
pub use identity::ClientIdentity;

/// Where the server's certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// A certificate authority and a server certificate of our own, made at the first start and renewed
    /// before they expire: `ca.pem`, `ca.key`, `server.pem`, `server.key` in `dir`.
    Generated {
        dir: PathBuf,
        /// Names and addresses that clients connect to, besides `localhost`, `127.0.0.1` and `::1`.
        hosts: Vec<String>,
    },
    /// The operator's PEM files; read again when they change.
    Files { certificate: PathBuf, key: PathBuf },
}

/// Whether TLS is spoken on the TCP port. It is told from plain Kafka by its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpTls {
    /// Plain and TLS connections side by side.
    #[default]
    Allowed,
    Required,
    Off,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    /// Verified if shown.
    Optional,
    Required,
}

/// What [`TlsContext::load`] needs.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    pub certificate: CertificateSource,
    pub client_auth: ClientAuth,
    /// Authorities (PEM) that clients' certificates must come from, read at the start. `None`: the generated
    /// authority, see [`issue_client_certificate`].
    pub client_ca: Option<PathBuf>,
}

/// A certificate that cannot be loaded, made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no PEM file of {expected}: {problem}", path.display())]
    Pem { path: PathBuf, expected: &'static str, problem: String },
    #[error("{} does not belong to {}: give the private key of the first certificate in that file", key.display(), certificate.display())]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error("{} expired {days} days ago: replace it, or remove the tls settings for a generated one", path.display())]
    Expired { path: PathBuf, days: i64 },
    #[error("'{host}' is neither a DNS name nor an IP address, so no certificate can be made for it")]
    Host { host: String },
    #[error(
        "client certificates are asked for, but by whom they are issued is not set: set client_ca to a PEM file of authorities"
    )]
    NoClientAuthority,
    #[error("{} exists without {}: restore it, or remove both for a new authority (clients then need the new ca.pem)", present.display(), missing.display())]
    HalfAuthority { present: PathBuf, missing: PathBuf },
    #[error("make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    #[error("set up TLS: {0}")]
    Rustls(String),
}
