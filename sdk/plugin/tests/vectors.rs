//! The test vectors in `sdk/wit/vectors`: that they are what they say, and that the SDK reads and writes them.
//!
//! Input batches are made by `millrace-protocol`, which brokers and producers use, so the two sides of the
//! packing are proven against each other. `MILLRACE_WRITE_VECTORS=1` writes the files anew.

mod cases;

use std::fs;
use std::path::PathBuf;

use millrace_plugin::testing::Setup;
use millrace_plugin::{Batch, Draft, Output, Outputs, Record, Transform};
use serde_json::{Value, json};

use cases::{Case, batches, bytes_json};

/// Compares a file with what it must hold, or writes it.
fn settle(name: &str, expected: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../wit/vectors").join(name);
    if std::env::var_os("MILLRACE_WRITE_VECTORS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    assert!(found == expected, "{name} differs from what the code makes");
}

fn settle_both(name: &str, bytes: &[u8], meaning: &Value) {
    settle(&format!("{name}.bin"), bytes);
    settle(&format!("{name}.json"), (serde_json::to_string_pretty(meaning).unwrap() + "\n").as_bytes());
}

fn record_json(record: &Record<'_>) -> Value {
    let headers: Vec<Value> =
        record.headers().map(|header| json!([header.key_str().unwrap(), bytes_json(header.value)])).collect();
    json!({
        "offset": record.offset(),
        "timestamp": record.timestamp_ms(),
        "key": bytes_json(record.key()),
        "value": bytes_json(record.value()),
        "headers": headers,
    })
}

#[test]
fn batches_read_as_they_were_written() {
    for Case { name, about, bytes, meaning } in batches() {
        let read: Vec<Value> =
            Batch::check(&bytes).unwrap().records().map(|record| record_json(&record)).collect();
        assert_eq!(Value::Array(read), meaning, "{name}");
        settle_both(name, &bytes, &json!({ "about": about, "records": meaning }));
    }
}

/// Sends every record on to the output that its offset's lowest bits name, every fourth to none.
struct ByOffset;

impl Transform for ByOffset {
    fn start(_: &millrace_plugin::Context) -> millrace_plugin::Result<Self> {
        Ok(Self)
    }

    fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> millrace_plugin::Result<()> {
        let rest = record.offset() % 4;
        if rest != 3 {
            out.forward_to(Output::new(rest as u32), record);
        }
        Ok(())
    }
}

/// Sends every record on as it is.
struct Identity;

impl Transform for Identity {
    fn start(_: &millrace_plugin::Context) -> millrace_plugin::Result<Self> {
        Ok(Self)
    }

    fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> millrace_plugin::Result<()> {
        out.forward(record);
        Ok(())
    }
}

/// Makes something new of every record.
struct Rewrite;

impl Transform for Rewrite {
    fn start(_: &millrace_plugin::Context) -> millrace_plugin::Result<Self> {
        Ok(Self)
    }

    fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> millrace_plugin::Result<()> {
        out.send(&record.draft().key("k").add_headers(&[("seen", b"yes")]));
        let later = record.timestamp_ms() + 1;
        out.send(&Draft::new(later).value("new"));
        Ok(())
    }
}

/// The blocks that a transform makes of a case, and their meaning.
fn blocks<T: Transform>(case: &Case) -> (Vec<u8>, Value) {
    let topics = ["zero", "one", "two"];
    let setup = topics.iter().fold(Setup::new(), |setup, topic| setup.output(topic));
    let bytes = setup.transform::<T>().unwrap().run_packed(case.bytes.clone()).unwrap();
    let sent = millrace_plugin::testing::unpack(&bytes, &topics.map(str::to_owned)).unwrap();
    let outputs: Vec<Value> = topics
        .iter()
        .map(|topic| {
            let records = sent.records(topic).iter().map(|record| {
                let headers: Vec<Value> = record
                    .headers
                    .iter()
                    .map(|(key, value)| json!([key, bytes_json(value.as_deref())]))
                    .collect();
                json!({
                    "timestamp": record.timestamp_ms,
                    "key": bytes_json(record.key.as_deref()),
                    "value": bytes_json(record.value.as_deref()),
                    "headers": headers,
                })
            });
            records.collect()
        })
        .collect();
    (bytes, json!(outputs))
}

#[test]
fn identity_keeps_every_record() {
    for case in batches() {
        let (bytes, meaning) = blocks::<Identity>(&case);
        let kept = case.meaning.as_array().unwrap().iter().map(|record| {
            let mut record = record.clone();
            record.as_object_mut().unwrap().remove("offset");
            record
        });
        assert_eq!(meaning[0], kept.collect::<Value>(), "{}", case.name);
        let about = format!("What the identity makes of {}: the first output gets every record.", case.name);
        settle_both(
            &format!("out-identity-of-{}", case.name),
            &bytes,
            &json!({"about": about, "outputs": meaning}),
        );
    }
}

#[test]
fn routing_renumbers_records() {
    for case in batches() {
        let (bytes, meaning) = blocks::<ByOffset>(&case);
        let about = format!(
            "What becomes of {} when each record goes to the output numbered offset modulo 4, and nowhere at 3. \
             Blocks may come in any order of outputs.",
            case.name
        );
        settle_both(
            &format!("out-route-of-{}", case.name),
            &bytes,
            &json!({"about": about, "outputs": meaning}),
        );
    }
}

#[test]
fn new_records_are_written() {
    for case in batches() {
        let (bytes, meaning) = blocks::<Rewrite>(&case);
        let about = format!(
            "What becomes of {} when each record gets the key `k` and one more header, and a new record a \
             millisecond later follows it.",
            case.name
        );
        settle_both(
            &format!("out-rewrite-of-{}", case.name),
            &bytes,
            &json!({"about": about, "outputs": meaning}),
        );
    }
}

#[test]
fn damage_is_found_or_harmless() {
    for case in batches() {
        for at in 0..case.bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = case.bytes.clone();
                bytes[at] ^= flip;
                if let Ok(batch) = Batch::check(&bytes) {
                    assert_eq!(batch.records().count(), batch.len(), "{} byte {at}", case.name);
                }
            }
        }
        for len in 0..case.bytes.len() {
            assert!(Batch::check(&case.bytes[..len]).is_err(), "{} cut to {len}", case.name);
        }
    }
}
