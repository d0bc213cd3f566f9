//! Commands without a broker: what is refused before anything is connected to, and with which words.

mod support;

use support::{Home, millrace, run, stderr, stdout};

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_way_out() {
    for (arguments, message) in [
        (&["topic", "create", "t", "--config", "retention.sm=1"][..], "did you mean 'retention.ms'?"),
        (&["topic", "create", "t", "--config", "retention.ms=x"], "allowed is a whole number, at least -1"),
        (&["topic", "create", "t", "--config", "retention.ms"], "expected NAME=VALUE"),
        (&["topic", "create", "t", "--partitions", "0"], "0 is not in 1.."),
        (&["topic", "alter", "t"], "required arguments"),
        (&["topic", "alter", "t", "--delete-config", "nonsense"], "there is no setting 'nonsense'"),
        (&["topic", "delete"], "required arguments"),
        (&["produce", "t", "--acks", "2"], "possible values: 0, 1, all"),
        (&["produce", "t", "--headers", "novalue"], "expected NAME=VALUE"),
        (&["produce", "t", "--timeout", "soon"], "expected a duration such as 250ms, 10s or 5m"),
        (&["produce", "t", "--compression", "rar"], "possible values: none, gzip, snappy, lz4, zstd"),
        (&["consume", "t", "--from-beginning", "--offset", "1"], "cannot be used with"),
        (&["consume", "t", "--timestamp", "yesterday"], "RFC 3339"),
        (&["consume", "t", "--format", "%q"], "%q is not known"),
        (&["consume", "t", "--transport", "pigeon"], "possible values: quic, tcp, tls"),
        (&["dev", "--listen", "9092"], "invalid socket address"),
        (
            &["dev", "--advertise", "0.0.0.0"],
            "'0.0.0.0' is not a host name or an IP address that clients can",
        ),
        (&["server"], "--config <FILE>"),
    ] {
        let output = run(millrace(arguments), b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains(message), "{arguments:?} said {said}");
    }
}

#[test]
fn a_missing_ca_is_named_with_both_ways_out() {
    let home = Home::new();
    let mut command = millrace(["topic", "list"]);
    command.current_dir(home.0.path());
    let said = stderr(&run(command, b""));
    assert!(said.contains("no CA certificate at ./millrace-data/tls/ca.pem"), "{said}");
    assert!(said.contains("--ca FILE") && said.contains("--transport tcp"), "{said}");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let output = run(millrace(["topic", "list", "--transport", "tcp", "--bootstrap", "127.0.0.1:1"]), b"");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("error: cannot reach 127.0.0.1:1 (is a broker running there?"), "{said}");
}

#[test]
fn errors_are_json_where_output_is() {
    let output = run(
        millrace(["topic", "list", "--transport", "tcp", "--bootstrap", "127.0.0.1:1", "--output", "json"]),
        b"",
    );
    let said: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert!(said["error"].as_str().unwrap().contains("127.0.0.1:1"), "{said}");
}

#[test]
fn a_configuration_is_checked_without_a_broker() {
    let home = Home::new();
    let good = home.config("");
    let output = run(millrace(["config".as_ref(), "check".as_ref(), good.as_os_str()]), b"");
    assert_eq!(stdout(&output), format!("{}: valid\n", good.display()));

    let bad = home.config("tail_byts = 1\n");
    for command in [
        millrace(["config".as_ref(), "check".as_ref(), bad.as_os_str()]),
        millrace(["server".as_ref(), "--config".as_ref(), bad.as_os_str()]),
    ] {
        let said = stderr(&run(command, b""));
        assert!(said.contains("line 9: there is no setting 'log.tail_byts'"), "{said}");
        assert!(said.contains("did you mean 'log.tail_bytes'?"), "{said}");
    }
}

#[test]
fn the_reference_is_printed_as_text_and_json() {
    let text = stdout(&run(millrace(["config", "reference"]), b""));
    assert!(text.starts_with("# Settings\n") && text.contains("### `cleanup.policy`"));
    let json = stdout(&run(millrace(["config", "reference", "--output", "json"]), b""));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["topic"].as_array().unwrap().iter().any(|setting| setting["name"] == "retention.ms"));
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let mut command = millrace(["config", "reference"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
