//! TLS: names, expiry, renewal, client certificates, and who may speak what on the port.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use millrace_base::{Clock, ManualClock, SystemClock};
use millrace_transport::tls::{TlsError, issue_client_certificate};
use millrace_transport::{CertificateSource, ClientAuth, TcpTls, TlsContext, TlsOptions, quic};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use support::{Setup, ends, receive, send, tls_options, within};

const DAY_MS: i64 = 86_400_000;

fn load(dir: &Path, clock: Arc<dyn Clock>) -> Result<TlsContext, TlsError> {
    TlsContext::load(tls_options(dir), clock)
}

/// What a client that trusts `dir`'s authority says at `now_ms` to `dir`'s server certificate.
fn verdict(dir: &Path, name: &str, now_ms: i64) -> Result<(), String> {
    use rustls::client::danger::ServerCertVerifier;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let own = CertificateDer::from_pem_file(dir.join("server.pem")).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms as u64));
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(&own, &[], &name, &[], now).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_generated_certificate_names_this_machine_and_the_advertised_host() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), Arc::new(SystemClock)).unwrap();
    let now = SystemClock.now_ms();
    for name in ["localhost", "127.0.0.1", "::1", "broker.test"] {
        verdict(dir.path(), name, now).unwrap();
    }
    assert!(verdict(dir.path(), "other.test", now).is_err());
    for key in ["ca.key", "server.key"] {
        assert_eq!(fs::metadata(dir.path().join(key)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_certificate_is_kept_until_it_ends_soon_or_lacks_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_ms(SystemClock.now_ms()));
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    load(dir.path(), clock.clone()).unwrap();
    let (authority, server) = (read("ca.pem"), read("server.pem"));
    load(dir.path(), clock.clone()).unwrap();
    assert!(server == read("server.pem"), "nothing to renew");

    let mut options = tls_options(dir.path());
    if let CertificateSource::Generated { hosts, .. } = &mut options.certificate {
        hosts.push("10.1.2.3".into());
    }
    TlsContext::load(options, clock.clone()).unwrap();
    verdict(dir.path(), "10.1.2.3", clock.now_ms()).unwrap();
    let server = read("server.pem");

    clock.advance_ms(400 * DAY_MS);
    let error = verdict(dir.path(), "localhost", clock.now_ms()).unwrap_err();
    assert!(error.contains("expired"), "{error}");
    load(dir.path(), clock.clone()).unwrap();
    assert!(server != read("server.pem"), "renewed");
    verdict(dir.path(), "localhost", clock.now_ms()).unwrap();
    assert!(authority == read("ca.pem"), "clients still trust it");

    clock.advance_ms(4000 * DAY_MS);
    load(dir.path(), clock.clone()).unwrap();
    assert!(authority != read("ca.pem"), "authorities end, too");
    verdict(dir.path(), "localhost", clock.now_ms()).unwrap();
}

#[test]
fn a_running_broker_renews_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_ms(SystemClock.now_ms()));
    let context = load(dir.path(), clock.clone()).unwrap();
    assert!(!context.refresh().unwrap());
    let first = context.expires_at().unwrap();
    clock.advance_ms(380 * DAY_MS);
    assert!(context.refresh().unwrap());
    assert!(context.expires_at().unwrap() > first);
    assert!(!context.refresh().unwrap());
}

#[test]
fn unusable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    load(&one, Arc::new(SystemClock)).unwrap();
    load(&other, Arc::new(SystemClock)).unwrap();
    let files = |certificate: &Path, key: &Path| TlsOptions {
        certificate: CertificateSource::Files { certificate: certificate.to_owned(), key: key.to_owned() },
        client_auth: ClientAuth::None,
        client_ca: None,
    };
    let load = |options| TlsContext::load(options, Arc::new(SystemClock)).map(drop);
    let (pem, key) = (one.join("server.pem"), one.join("server.key"));
    load(files(&pem, &key)).unwrap();
    let check = |options: TlsOptions, expect: &str| {
        let error = load(options).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(files(&pem, &other.join("server.key")), "does not belong to");
    check(files(&key, &key), "it has none");
    check(files(&one.join("missing.pem"), &key), "missing.pem");
    check(TlsOptions { client_auth: ClientAuth::Required, ..files(&pem, &key) }, "set client_ca");
    let later = Arc::new(ManualClock::at_ms(SystemClock.now_ms() + 400 * DAY_MS));
    let error = TlsContext::load(files(&pem, &key), later).map(drop).unwrap_err().to_string();
    assert!(error.contains("expired 3 days ago"), "{error}");
    fs::remove_file(one.join("ca.key")).unwrap();
    check(tls_options(&one), "ca.pem exists without");
}

#[tokio::test]
async fn the_wrong_protocol_name_is_refused_with_a_clear_error() {
    let server = Setup::default().start();
    let error = server.quic(server.client_config(None), b"h3").await.unwrap_err().to_string();
    assert!(error.contains("no_application_protocol") || error.contains("protocol"), "{error}");
    server.until_metric("closed_total", &["quic", "handshake_failed"], 1).await;
    assert_eq!(server.metric("protocol_errors_total", &["quic", "handshake_failed"]), 1);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_says_so() {
    let server = Setup::default().start();
    let elsewhere = tempfile::tempdir().unwrap();
    load(elsewhere.path(), Arc::new(SystemClock)).unwrap();
    let config = || support::client_config(&elsewhere.path().join("ca.pem"), None);
    let error = server.tls(config()).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let error = server.quic(config(), quic::ALPN).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    server.until_metric("closed_total", &["handshake_failed"], 2).await;
}

#[tokio::test]
async fn client_certificates_are_required_verified_and_named() {
    let server = Setup { client_auth: ClientAuth::Required, ..Setup::default() }.start();
    let issue = |days: i64| {
        let clock = ManualClock::at_ms(SystemClock.now_ms() + days * DAY_MS);
        issue_client_certificate(server.dir.path(), "orders", &clock).unwrap()
    };
    let good = issue(0);
    let config = server.client_config(Some((&good.certificate_pem, &good.key_pem)));
    let mut stream = server.tls(config.clone()).await.unwrap();
    send(&mut stream, b"e").await;
    receive(&mut stream).await;
    let (_endpoint, connection) = server.quic(config, quic::ALPN).await.unwrap();
    let (mut request, mut reply) = connection.open_bi().await.unwrap();
    send(&mut request, b"e").await;
    receive(&mut reply).await;
    let orders = Some("CN=orders".to_owned());
    assert_eq!(*server.service.identities.lock().unwrap(), [orders.clone(), orders]);

    let old = issue(-500);
    let expired = server.client_config(Some((&old.certificate_pem, &old.key_pem)));
    for (config, expect) in [(expired, "ertificate"), (server.client_config(None), "ertificate")] {
        // In TLS 1.3 a client may learn of its refusal only after its own handshake is done.
        match server.quic(config, quic::ALPN).await {
            Ok((_endpoint, connection)) => {
                let error = within(connection.closed()).await.to_string();
                assert!(error.contains(expect), "{error}");
            }
            Err(error) => assert!(error.to_string().contains(expect), "{error}"),
        }
    }
    server.until_metric("closed_total", &["quic", "handshake_failed"], 2).await;
}

#[tokio::test]
async fn an_optional_client_certificate_may_be_left_out() {
    let server = Setup { client_auth: ClientAuth::Optional, ..Setup::default() }.start();
    let mut stream = server.tls(server.client_config(None)).await.unwrap();
    send(&mut stream, b"e").await;
    receive(&mut stream).await;
    assert_eq!(*server.service.identities.lock().unwrap(), [None]);
}

#[tokio::test]
async fn the_port_speaks_what_it_is_told_to() {
    let server = Setup { tcp_tls: TcpTls::Required, ..Setup::default() }.start();
    let mut plain = server.tcp().await;
    send(&mut plain, b"e").await;
    ends(&mut plain).await;
    server.until_metric("closed_total", &["tcp", "tls_required"], 1).await;
    let mut stream = server.tls(server.client_config(None)).await.unwrap();
    send(&mut stream, b"e").await;
    receive(&mut stream).await;

    let server = Setup { tcp_tls: TcpTls::Off, ..Setup::default() }.start();
    assert!(server.tls(server.client_config(None)).await.is_err());
    server.until_metric("closed_total", &["tls", "tls_disabled"], 1).await;
}
