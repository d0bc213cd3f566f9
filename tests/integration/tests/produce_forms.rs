//! `millrace produce` in every form of its input, through a broker: what `consume --format json` then prints is what
//! was sent, and sent again it is the same once more.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_test_harness::{Broker, Program};
use serde_json::{Value, json};

fn produce(broker: &Broker, topic: &str, arguments: &[&str], input: &[u8]) {
    let command = broker.cli(&[&["produce", topic], arguments].concat());
    Program::from(command).input(input).succeed().unwrap();
}

/// A topic's records as they are printed, but for the topic's name.
fn consumed(broker: &Broker, topic: &str) -> (String, Vec<Value>) {
    let words = ["consume", topic, "--from-beginning", "--exit-at-end", "--format", "json"];
    let printed = Program::from(broker.cli(&words)).succeed().unwrap();
    let records = printed.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record.as_object_mut().unwrap().remove("topic"), Some(json!(topic)));
        record
    });
    let records = records.collect();
    (printed, records)
}

fn create(broker: &Broker, topic: &str) {
    Program::from(broker.cli(&["topic", "create", topic, "--partitions", "1"])).succeed().unwrap();
}

#[test]
fn every_form_of_input_comes_back_and_goes_again_as_json() {
    let broker = Broker::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("record.bin");
    std::fs::write(&file, "a file\nis one record\n").unwrap();
    let file = file.display().to_string();
    let cases: [(&str, &[&str], &[u8], Value); 5] = [
        ("lines", &["--input", "lines"], b"one\ntwo\n", json!([{ "value": "one" }, { "value": "two" }])),
        (
            "keys",
            &["--key-separator", "=", "--headers", "from=here", "--null-value", "NULL"],
            b"a=1\nb=NULL\n",
            json!([{ "key": "a", "value": "1" }, { "key": "b", "value": null }]),
        ),
        (
            "nul",
            &["--input", "nul"],
            b"with\na newline\0last",
            json!([{ "value": "with\na newline" }, { "value": "last" }]),
        ),
        (
            "length",
            &["--input", "length"],
            b"\0\0\0\x03x\ny\0\0\0\x02\xff\0\0\0\0\0",
            json!([{ "value": "x\ny" }, { "value_base64": "/wA=" }, { "value": "" }]),
        ),
        ("file", &["--file", &file], b"", json!([{ "value": "a file\nis one record\n" }])),
    ];
    for (name, arguments, input, expected) in cases {
        create(&broker, name);
        produce(&broker, name, arguments, input);
        let (printed, records) = consumed(&broker, name);
        let expected = expected.as_array().unwrap();
        assert_eq!(records.len(), expected.len(), "{name}: {printed}");
        for (record, expected) in records.iter().zip(expected) {
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&record[field], value, "{name}: {printed}");
            }
        }
        let again = format!("{name}-again");
        create(&broker, &again);
        produce(&broker, &again, &["--input", "json"], printed.as_bytes());
        assert_eq!(consumed(&broker, &again).1, records, "{name}: keys, headers, timestamps and offsets");
    }
}

#[test]
fn a_bad_line_tells_what_was_stored_before_it() {
    let broker = Broker::start().unwrap();
    create(&broker, "bad");
    let input = "{\"value\":\"one\"}\n{\"value\":\"two\"}\nno object\n{\"value\":\"four\"}\n";
    let command = broker.cli(&["produce", "bad", "--input", "json"]);
    let said = Program::from(command).input(input).fail().unwrap();
    assert!(said.contains("line 3") && said.contains("2 records"), "{said}");
    let values: Vec<_> = consumed(&broker, "bad").1.iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, ["one", "two"]);
}
