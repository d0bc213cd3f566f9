//! TLS 1.3 for both transports: certificates, client authentication, renewal.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_base::Clock;

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

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

/// What [`TlsContext::load`] needs.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    pub certificate: CertificateSource,
    pub client_auth: ClientAuth,
    /// Authorities that clients' certificates must come from. `None`: the generated authority.
    pub client_ca: Option<PathBuf>,
}

/// Who a client's certificate, verified against the client authorities, says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject as RFC 4514 writes it, e.g. `CN=orders,O=Example`.
    pub subject: String,
}

/// A certificate that cannot be loaded, made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {}

/// The TLS configurations of a listener. Cheap to clone; a renewal reaches every clone.
#[derive(Clone)]
pub struct TlsContext {}

impl TlsContext {
    /// Loads the certificates, or makes them.
    pub fn load(_options: TlsOptions, _clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        unimplemented!()
    }
}
