//! Topics, records and settings through the command line, over each transport.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Broker, Home, run};

fn records(broker: &Broker, arguments: &[&str]) -> Vec<Value> {
    let text =
        broker.stdout(&[&["consume"], arguments, &["--exit-at-end", "--format", "json"]].concat(), b"");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn records_come_back_over_every_transport() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    let mut expected = String::new();
    for transport in ["quic", "tcp", "tls"] {
        broker.stdout(&["produce", "t", "--transport", transport], format!("over {transport}\n").as_bytes());
        expected.push_str(&format!("over {transport}\n"));
        let read = ["consume", "t", "--from-beginning", "--exit-at-end", "--transport", transport];
        assert_eq!(broker.stdout(&read, b""), expected);
    }
}

#[test]
fn every_way_to_acknowledge_stores_everything() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    let input: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let mut expected = String::new();
    for acks in ["0", "1", "all"] {
        broker.stdout(&["produce", "t", "--acks", acks], input.as_bytes());
        expected.push_str(&input);
        // Nothing tells when a record sent with acks=0 is durable, hence readable.
        let count = expected.lines().count().to_string();
        let read = ["consume", "t", "--from-beginning", "-n", &count, "--timeout", "20s"];
        assert!(broker.stdout(&read, b"") == expected, "acks={acks}: the records differ from what was sent");
    }
}

#[test]
fn keys_headers_and_nulls_survive() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    let input = b"trace:7\ta=1\n\tb=NULL\n\tc=with=more\n";
    let flags = ["--key-separator", "=", "--line-headers", "--headers", "source=cli", "--null-value", "NULL"];
    broker.stdout(&[&["produce", "t", "--compression", "zstd"], &flags[..]].concat(), input);
    let records = records(&broker, &["t", "--from-beginning"]);
    let seen: Vec<_> = records
        .iter()
        .map(|record| json!([record["offset"], record["key"], record["value"], record["headers"]]))
        .collect();
    let source = json!({ "name": "source", "value": "cli" });
    let trace = json!({ "name": "trace", "value": "7" });
    assert_eq!(
        seen,
        [
            json!([0, "a", "1", [source, trace]]),
            json!([1, "b", null, [source]]),
            json!([2, "c", "with=more", [source]]),
        ]
    );
}

#[test]
fn reading_begins_and_ends_where_it_is_told_to() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.stdout(&["produce", "t", "--partition", "0"], b"a\nb\nc\n");
    broker.stdout(&["produce", "t", "--partition", "1"], b"x\ny\n");
    for (arguments, expected) in [
        (&["--partition", "0", "--offset", "1"][..], "b\nc\n"),
        (&["--partition", "0", "--offset", "-1"], "c\n"),
        (&["--partition", "1", "--timestamp", "0"], "x\ny\n"),
        (&["--partition", "1", "--timestamp", "2100-01-01T00:00:00Z"], ""),
        (&["--partition", "0", "--from-beginning", "--max-messages", "2"], "a\nb\n"),
        (&["--partition", "1", "--from-beginning", "--format", "%t-%p@%o %s"], "t-1@0 x\nt-1@1 y\n"),
    ] {
        let read = [&["consume", "t", "--exit-at-end"], arguments].concat();
        assert_eq!(broker.stdout(&read, b""), expected, "{arguments:?}");
    }
    let both = broker.stdout(&["consume", "t", "--from-beginning", "--exit-at-end"], b"");
    let mut lines: Vec<&str> = both.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "c", "x", "y"]);
    let said = broker.stderr(&["consume", "t", "--from-beginning", "-n", "9", "--timeout", "200ms"], b"");
    assert!(said.contains("got 5 records of 9 from topic 't'"), "{said}");
}

#[test]
fn a_topic_lives_from_creation_to_deletion() {
    let home = Home::new();
    let broker = home.start();
    let created = broker.json(&["topic", "create", "t", "-p", "2", "--config", "retention.ms=1000"]);
    assert_eq!((&created["partitions"], &created["created"]), (&json!(2), &json!(true)));
    let said = broker.stderr(&["topic", "create", "t"], b"");
    assert!(said.contains("create topic 't'"), "{said}");
    assert_eq!(broker.json(&["topic", "create", "t", "--if-not-exists"])["created"], json!(false));

    let topics = broker.json(&["topic", "list"]);
    assert_eq!((&topics[0]["name"], &topics[0]["partitions"]), (&json!("t"), &json!(2)));

    let altered =
        ["topic", "alter", "t", "-p", "3", "-c", "segment.ms=5000", "--delete-config", "retention.ms"];
    broker.stdout(&altered, b"");
    let described = &broker.json(&["topic", "describe", "t"])[0];
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(described["configs"], json!({ "segment.ms": { "value": "5000", "default": false } }));
    let all = &broker.json(&["topic", "describe", "t", "--all"])[0];
    assert_eq!(all["configs"]["flush.messages"], json!({ "value": "1", "default": true }));
    let text = broker.stdout(&["topic", "describe", "t"], b"");
    assert!(text.starts_with("topic 't', 3 partitions, id "), "{text}");

    let said = broker.stderr(&["topic", "alter", "t", "-p", "1"], b"");
    assert!(said.contains("has 3 partitions and cannot have 1"), "{said}");

    broker.stdout(&["topic", "delete", "t"], b"");
    assert_eq!(broker.json(&["topic", "list"]), json!([]));
    let said = broker.stderr(&["topic", "delete", "t"], b"");
    assert!(said.contains("delete topic 't'"), "{said}");
    broker.stdout(&["topic", "delete", "t", "--if-exists"], b"");
}

#[test]
fn what_cannot_be_sent_or_read_is_named() {
    let home = Home::new();
    let broker = home.start_with("[topics]\nauto_create = false\n");
    let said = broker.stderr(&["produce", "missing"], b"x\n");
    assert!(said.contains("'missing' does not exist"), "{said}");
    let said = broker.stderr(&["consume", "missing", "--from-beginning"], b"");
    assert!(said.contains("'missing' does not exist"), "{said}");
    broker.stdout(&["topic", "create", "t"], b"");
    let said = broker.stderr(&["consume", "t", "--partition", "4"], b"");
    assert!(said.contains("topic 't' has 1 partition, there is no partition 4"), "{said}");
    let said = broker.stderr(&["produce", "t", "--key-separator", ":"], b"a:1\nb\n");
    assert!(said.contains("line 2 is no record: it has no key"), "{said}");
    let long = vec![b'x'; 4096];
    let said = broker.stderr(&["produce", "t", "--max-bytes", "1024"], &long);
    assert!(said.contains("1024"), "{said}");
}

#[test]
fn many_records_keep_their_order() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    let input: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let sent = broker.stdout(&["produce", "t", "--output", "json"], input.as_bytes());
    let sent: Value = serde_json::from_str(&sent).expect("a report in JSON");
    assert_eq!(sent["records"], json!(200_000));
    let read = run(broker.command(&["consume", "t", "--from-beginning", "--exit-at-end"]), b"");
    assert!(read.status.success());
    assert!(read.stdout == input.as_bytes(), "the records differ from what was sent, or in their order");
}

#[test]
fn an_offset_outside_the_partition_is_refused_in_words() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    broker.stdout(&["produce", "t"], b"a\nb\n");
    let said = broker.stderr(&["consume", "t", "--offset", "7"], b"");
    assert!(said.contains("topic 't', partition 0: offset 7 is beyond its end, which is 2"), "{said}");
    let said = broker.stderr(&["consume", "t", "--partition", "1"], b"");
    assert!(said.contains("topic 't' has 1 partition, there is no partition 1"), "{said}");
}

#[test]
fn a_consumer_whose_reader_is_gone_ends_though_no_further_record_comes() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    broker.stdout(&["produce", "t"], b"a\nb\n");
    let mut command = broker.command(&["consume", "t", "--from-beginning"]);
    let mut consumer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(consumer.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "a\n");
    let (ended, end) = mpsc::channel();
    let mut errors = consumer.stderr.take().unwrap();
    thread::spawn(move || ended.send(std::io::read_to_string(&mut errors)));
    let said = end.recv_timeout(Duration::from_secs(60));
    consumer.kill().ok();
    let status = consumer.wait().unwrap();
    assert_eq!(said.expect("the end of a consumer that nobody reads").unwrap(), "");
    assert!(status.success(), "{status}");
}
