//! Keys and certificates in PEM files, and the cryptography that uses them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_disk::{Disk, read};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// aws-lc-rs with AES-128-GCM first: it is the fastest with AES instructions, and ChaCha20, last, several
/// times slower. The server's order counts (`ignore_client_order`).
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

pub(super) fn private_key(disk: &dyn Disk, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(disk, path).map_err(file_error("read", path))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| pem_error(path, "a private key", error))
}

/// All certificates of a PEM file.
pub(super) fn certificates(disk: &dyn Disk, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(disk, path).map_err(file_error("read", path))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(path, "certificates", error))?;
    if certificates.is_empty() {
        return Err(pem_error(path, "certificates", "it has none"));
    }
    Ok(certificates)
}

/// The authorities of a PEM file.
pub(super) fn trust(disk: &dyn Disk, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(disk, path)? {
        roots.add(certificate).map_err(|error| pem_error(path, "authorities", error))?;
    }
    Ok(roots)
}

pub(super) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { action, path, source }
}

pub(super) fn pem_error(path: &Path, expected: &'static str, problem: impl ToString) -> TlsError {
    TlsError::Pem { path: path.to_owned(), expected, problem: problem.to_string() }
}
