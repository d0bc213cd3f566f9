//! A QUIC client that speaks another protocol is refused in the handshake.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use millrace_test_harness::Broker;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

async fn connect(broker: &Broker, protocol: &[u8]) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(broker.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    endpoint.set_default_client_config(config);
    let connecting = endpoint.connect(broker.address(), "localhost").unwrap();
    tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("an answer to the handshake")
}

#[tokio::test]
async fn only_our_protocol_is_spoken() {
    let broker = Broker::start().unwrap();
    connect(&broker, b"millrace/1").await.unwrap();
    for protocol in [&b"h3"[..], b"millrace/0", b"x"] {
        let refusal = connect(&broker, protocol).await.expect_err("another protocol was accepted");
        assert!(!matches!(refusal, quinn::ConnectionError::TimedOut), "{refusal}");
    }
    connect(&broker, b"millrace/1").await.unwrap();
}
