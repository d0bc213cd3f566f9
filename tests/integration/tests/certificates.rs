//! Certificates that one side does not accept: the client says that it is a certificate, whose, and why.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_client::{ClientBuilder, ConnectError, Transport};
use millrace_test_harness::Broker;

const ENCRYPTED: [Transport; 2] = [Transport::Quic, Transport::Tls];

/// What the client says of a certificate when it cannot connect.
async fn refusal(client: ClientBuilder) -> String {
    let error = client.connect().await.map(drop).expect_err("not accepted");
    assert!(!error.is_retriable(), "{error}");
    let last = match error {
        ConnectError::NoneAnswered { last } => *last,
        error => error,
    };
    let ConnectError::Certificate { reason, .. } = last else {
        panic!("not taken for a certificate's: {last}")
    };
    reason
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_told_by_its_certificate() {
    let (broker, other) = (Broker::start().unwrap(), Broker::start().unwrap());
    for transport in ENCRYPTED {
        let reason = refusal(broker.client(transport).ca_file(other.ca_file())).await;
        assert!(reason.starts_with("the broker's certificate is not accepted: the authority"), "{reason}");
        let reason = refusal(broker.client(transport).server_name("orders.example.com")).await;
        assert!(reason.contains("is not accepted") && reason.contains("orders.example.com"), "{reason}");
    }
}

#[tokio::test]
async fn a_client_is_told_that_its_certificate_is_missing_or_not_accepted() {
    let broker = Broker::builder().setting("tls", "client_auth = \"required\"").start().unwrap();
    let stranger = Broker::start().unwrap();
    let theirs = |file: &str| stranger.data_dir().join("tls").join(file);
    for transport in ENCRYPTED {
        let reason = refusal(broker.client(transport)).await;
        assert_eq!(reason, "the broker asks for a certificate of the client, and none was given");
        let with =
            broker.client(transport).client_certificate_files(theirs("server.pem"), theirs("server.key"));
        let reason = refusal(with).await;
        assert!(reason.starts_with("the broker does not accept the client's certificate"), "{reason}");
    }
}

#[test]
fn the_command_line_names_the_options_for_certificates() {
    let (broker, other) = (Broker::start().unwrap(), Broker::start().unwrap());
    let mut command = broker.cli(&["topic", "list", "--ca"]);
    let output = command.arg(other.ca_file()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("--ca names the authority") && said.contains("certificate is not accepted"),
        "{said}"
    );
    assert!(!said.contains("is a broker running there?"), "{said}");
}
