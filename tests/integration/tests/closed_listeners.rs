//! A broker that wants a certificate of every client, tried from outside by clients that have none: whatever they
//! speak, none gets an answer.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use millrace_integration_tests::raw::Connection;
use millrace_test_harness::Broker;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// ApiVersions, which any client may ask, in version 0.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
const PATIENCE: Duration = Duration::from_secs(20);

fn closed_broker() -> Broker {
    Broker::builder().setting("tls", "client_auth = \"required\"").start().unwrap()
}

/// Trusts the broker, and has nothing to show.
fn without_certificate(broker: &Broker) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(broker.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[test]
fn plain_tcp_is_refused() {
    let broker = closed_broker();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.send(&API_VERSIONS);
    assert_eq!(connection.receive().unwrap(), None, "an answer without a certificate");
    assert!(broker.log().contains("plain TCP is refused"), "{}", broker.log());
}

#[test]
fn tls_without_a_certificate_is_refused() {
    let broker = closed_broker();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::new(without_certificate(&broker)), name).unwrap();
    let mut tcp = TcpStream::connect(broker.address()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    // The client's side of the handshake is done before the broker looks for the certificate.
    let _ = stream.write_all(&API_VERSIONS);
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).expect_err("the broker says why it closes");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    assert!(answer.is_empty(), "an answer without a certificate");
}

#[tokio::test]
async fn quic_without_a_certificate_is_refused() {
    let broker = closed_broker();
    let mut tls = without_certificate(&broker);
    tls.alpn_protocols = vec![b"millrace/1".to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    endpoint.set_default_client_config(config);
    let ask = async {
        let connection = endpoint.connect(broker.address(), "localhost").unwrap().await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        // Refused now or when the answer is waited for.
        let _ = send.write_all(&API_VERSIONS).await;
        let answer = receive.read_chunk(100, true).await;
        assert!(answer.is_err(), "an answer without a certificate: {answer:?}");
        Err::<(), _>(connection.closed().await)
    };
    let error = tokio::time::timeout(PATIENCE, ask).await.expect("an end").unwrap_err();
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
}

/// HTTP asks for no certificate; what keeps strangers away is that it is served on this machine alone.
#[test]
fn http_is_not_there_for_other_addresses() {
    let broker = Broker::start().unwrap();
    let here = broker.http_address();
    TcpStream::connect(here).unwrap();
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], here.port()));
    TcpStream::connect(elsewhere).expect_err("served on every address");
}
