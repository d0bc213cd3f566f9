//! The TLS settings of a client, for QUIC and for TCP alike.

use std::fs;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::error::ConnectError;
use crate::settings::{ClientBuilder, Pem};

/// What Millrace's QUIC listeners speak.
const ALPN: &[u8] = b"millrace/1";

/// Only TLS 1.3, AES-128-GCM preferred: with the CPU's instructions it is the quickest of the three suites.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn failed(what: impl Into<String>, reason: impl ToString) -> ConnectError {
    ConnectError::Tls { what: what.into(), reason: reason.to_string() }
}

fn read(pem: &Pem) -> Result<(Vec<u8>, String), ConnectError> {
    match pem {
        Pem::File(path) => {
            let name = path.display().to_string();
            let bytes = fs::read(path).map_err(|error| failed(format!("read {name}"), error))?;
            Ok((bytes, name))
        }
        Pem::Text(bytes) => Ok((bytes.clone(), "the PEM text given".to_owned())),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let (bytes, name) = read(pem)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(format!("read certificates from {name}"), error))?;
    if found.is_empty() {
        return Err(failed(format!("read certificates from {name}"), "there is none in it"));
    }
    Ok(found)
}

fn private_key(pem: &[u8], name: &str) -> Result<PrivateKeyDer<'static>, ConnectError> {
    /// How PKCS #8 and OpenSSL's older form mark a key that needs a password.
    const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
    let what = || format!("read a private key from {name}");
    let text = String::from_utf8_lossy(pem);
    if ENCRYPTED.iter().any(|mark| text.contains(mark)) {
        return Err(failed(
            what(),
            "it is encrypted, and passwords are not asked for; `openssl pkey -in FILE -out PLAIN` decrypts it",
        ));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => failed(what(), "there is none in it"),
        error => failed(what(), error),
    })
}

/// The settings for [`crate::Transport::Quic`] (`quic`) or [`crate::Transport::Tls`].
pub(crate) fn client_config(settings: &ClientBuilder, quic: bool) -> Result<Arc<ClientConfig>, ConnectError> {
    let Some(ca) = &settings.ca else {
        return Err(failed(
            format!("connect over {}", settings.transport.name()),
            "the authority that signed the brokers' certificates is needed: ClientBuilder::ca_file(<data \
             directory>/tls/ca.pem for `millrace dev`), or Transport::Tcp for none",
        ));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| failed("take the authority's certificate", error))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed("set up TLS", error))?
        .with_root_certificates(roots);
    let mut config = match &settings.client_certificate {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain)?;
            let (bytes, name) = read(key)?;
            let key = private_key(&bytes, &name)?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| failed("use the client certificate", error))?
        }
    };
    if quic {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let said = |text: &str| private_key(text.as_bytes(), "client.key").unwrap_err().to_string();
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let said = said(encrypted);
            assert!(said.starts_with("read a private key from client.key: it is encrypted"), "{said}");
        }
        assert_eq!(said("nothing"), "read a private key from client.key: there is none in it");
    }
}
