//! The rustls configurations of a listener, and the certificate behind them, which can be replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_base::Clock;
use millrace_disk::{Disk as _, OpenMode, RealDisk};
use parking_lot::{Mutex, RwLock};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version;

use super::generate;
use super::pem::{certificates, pem_error, private_key, provider, trust};
use super::{CertificateSource, ClientAuth, TlsError, TlsOptions, x509};
use crate::quic::ALPN;
use crate::reset::ResetKey;

/// The TLS configurations of a listener. Cheap to clone; a renewal reaches every clone.
#[derive(Clone)]
pub struct TlsContext(Arc<Inner>);

struct Inner {
    source: CertificateSource,
    clock: Arc<dyn Clock>,
    current: Arc<Current>,
    /// When the files of `current` were last changed.
    modified: Mutex<Vec<Option<i64>>>,
    tcp: Arc<ServerConfig>,
    quic: Arc<QuicServerConfig>,
    reset_key: ResetKey,
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl TlsContext {
    /// Loads the certificates, or makes them. Blocking: it reads and writes files.
    pub fn load(options: TlsOptions, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let TlsOptions { certificate: source, client_auth, client_ca } = options;
        let (certified, paths) = obtain(&source, clock.as_ref())?;
        let modified = modification_times(&paths);
        let reset_key = ResetKey::derive(&private_key(&RealDisk, &paths[1])?);
        let current = Arc::new(Current(RwLock::new(certified)));
        let clients = client_verifier(client_auth, client_ca.as_deref(), &source)?;
        let tcp = server_config(clients.clone(), Arc::clone(&current))?;
        let mut quic = server_config(clients, Arc::clone(&current))?;
        quic.alpn_protocols = vec![ALPN.to_vec()];
        let quic = QuicServerConfig::try_from(quic).map_err(|error| TlsError::Rustls(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            source,
            clock,
            current,
            modified: Mutex::new(modified),
            tcp: Arc::new(tcp),
            quic: Arc::new(quic),
            reset_key,
        })))
    }

    /// Renews a generated certificate that ends soon, and reads the operator's files again if they changed;
    /// whether there was a change. On an error the certificate in use stays. Blocking.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let inner = &self.0;
        let mut modified = inner.modified.lock();
        if let CertificateSource::Generated { dir, hosts } = &inner.source {
            generate::ensure(&RealDisk, dir, hosts, inner.clock.as_ref())?;
        }
        if *modified == modification_times(&paths(&inner.source)) {
            return Ok(false);
        }
        let (certified, paths) = obtain(&inner.source, inner.clock.as_ref())?;
        *inner.current.0.write() = certified;
        *modified = modification_times(&paths);
        Ok(true)
    }

    /// When the certificate in use ends, in seconds since the Unix epoch.
    pub fn expires_at(&self) -> Option<i64> {
        let certified = Arc::clone(&self.0.current.0.read());
        Some(x509::read(certified.end_entity_cert().ok()?)?.not_after)
    }

    pub(crate) fn tcp(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.tcp)
    }

    /// Of the certificate that was loaded first; a renewal leaves a running listener's as it is.
    pub(crate) fn reset_key(&self) -> ResetKey {
        self.0.reset_key.clone()
    }

    /// The configuration of QUIC listeners.
    pub fn quic(&self) -> Arc<QuicServerConfig> {
        Arc::clone(&self.0.quic)
    }
}

fn server_config(
    clients: Arc<dyn ClientCertVerifier>,
    current: Arc<Current>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| TlsError::Rustls(error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(current);
    config.ignore_client_order = true;
    Ok(config)
}

fn client_verifier(
    auth: ClientAuth,
    client_ca: Option<&Path>,
    source: &CertificateSource,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if auth == ClientAuth::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = match (client_ca, source) {
        (Some(path), _) => trust(&RealDisk, path)?,
        (None, CertificateSource::Generated { dir, .. }) => {
            trust(&RealDisk, &generate::Files::in_dir(dir).ca)?
        }
        (None, CertificateSource::Files { .. }) => return Err(TlsError::NoClientAuthority),
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| TlsError::Rustls(error.to_string()))?;
    Ok(verifier)
}

/// The certificate and key of `source`, made first if need be, and the files they came from.
fn obtain(
    source: &CertificateSource,
    clock: &dyn Clock,
) -> Result<(Arc<CertifiedKey>, [PathBuf; 2]), TlsError> {
    if let CertificateSource::Generated { dir, hosts } = source {
        generate::ensure(&RealDisk, dir, hosts, clock)?;
    }
    let files = paths(source);
    let [certificate, key] = &files;
    let chain = certificates(&RealDisk, certificate)?;
    let private = private_key(&RealDisk, key)?;
    let expired_ms = chain
        .first()
        .and_then(|own| x509::read(own))
        .map_or(0, |facts| clock.now_ms().saturating_sub(facts.not_after.saturating_mul(1000)));
    if expired_ms > 0 {
        return Err(TlsError::Expired { path: certificate.clone(), days: expired_ms / 86_400_000 });
    }
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::KeyMismatch { key: key.clone(), certificate: certificate.clone() }
        }
        error => pem_error(key, "a usable private key", error),
    })?;
    Ok((Arc::new(certified), files))
}

fn paths(source: &CertificateSource) -> [PathBuf; 2] {
    match source {
        CertificateSource::Generated { dir, .. } => {
            let files = generate::Files::in_dir(dir);
            [files.server, files.server_key]
        }
        CertificateSource::Files { certificate, key } => [certificate.clone(), key.clone()],
    }
}

/// In milliseconds since 1970, where a file is there.
fn modification_times(paths: &[PathBuf; 2]) -> Vec<Option<i64>> {
    let mode = OpenMode { read_only: true, ..OpenMode::default() };
    let modified_ms = |path| RealDisk.open(path, mode)?.modified_ms();
    paths.iter().map(|path| modified_ms(path).ok()).collect()
}
