//! Input batches for the test vectors.

use millrace_protocol::batch::{BatchBuilder, Header, ProducerState};
use millrace_protocol::compression::Codec;
use serde_json::{Value, json};

/// A batch and its records as JSON.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub bytes: Vec<u8>,
    pub meaning: Value,
}

const NOON: i64 = 1_764_590_400_000;
const MAX_TIMESTAMP_AT: usize = 35;

/// Text as a string, other bytes as an object with their hexadecimal form, nothing as null.
pub fn bytes_json(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

/// Builds a batch as a producer does, and its meaning beside it.
struct Both {
    builder: BatchBuilder,
    base_offset: i64,
    meaning: Vec<Value>,
}

impl Both {
    fn new(base_offset: i64) -> Self {
        Self { builder: BatchBuilder::default(), base_offset, meaning: Vec::new() }
    }

    fn add(mut self, time: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) -> Self {
        let wire: Vec<Header<'_>> =
            headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: *value }).collect();
        let delta = self.builder.append(time, key, value, &wire);
        let headers: Vec<Value> =
            headers.iter().map(|(key, value)| json!([key, bytes_json(*value)])).collect();
        self.meaning.push(json!({
            "offset": self.base_offset + i64::from(delta),
            "timestamp": time,
            "key": bytes_json(key),
            "value": bytes_json(value),
            "headers": headers,
        }));
        self
    }

    fn finish(self, name: &'static str, about: &'static str) -> Case {
        let mut bytes = self.builder.finish(Codec::None, ProducerState::NONE).unwrap().to_vec();
        bytes[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        Case { name, about, bytes, meaning: Value::Array(self.meaning) }
    }
}

/// All input batches.
pub fn batches() -> Vec<Case> {
    vec![one_record(), nulls_and_headers(), many(), append_time(), gaps()]
}

fn one_record() -> Case {
    Both::new(0)
        .add(NOON, Some(b"customer-7"), Some(b"{\"id\":1}"), &[])
        .finish("batch-one-record", "One record with a key and a value.")
}

fn nulls_and_headers() -> Case {
    Both::new(41)
        .add(NOON, None, Some(b"no key"), &[])
        .add(NOON - 5_000, Some(b"tombstone"), None, &[])
        .add(NOON + 86_400_000, None, None, &[])
        .add(NOON, Some(b""), Some(b""), &[("empty", Some(b"")), ("none", None)])
        .add(
            NOON,
            Some(b"\xff\x00"),
            Some("Grüße".as_bytes()),
            &[("twice", Some(b"1")), ("twice", Some(b"2"))],
        )
        .add(NOON, Some(b"long"), Some(&[b'x'; 9_000]), &[("content-type", Some(b"text/plain"))])
        .finish(
            "batch-nulls-and-headers",
            "Absent and empty keys, values and header values; text and bytes; times before and after the \
             first; a value whose length takes three bytes.",
        )
}

fn many() -> Case {
    let texts: Vec<String> = (0..80).map(|number| format!("order {number}")).collect();
    let records = texts.iter().enumerate();
    records
        .fold(Both::new(1_000_000_000_000), |both, (number, text)| {
            both.add(NOON + 7 * number as i64, Some(&text.as_bytes()[..6]), Some(text.as_bytes()), &[])
        })
        .finish("batch-many", "80 records: deltas of one and of two bytes; offsets beyond 32 bits.")
}

fn append_time() -> Case {
    let mut case = Both::new(7)
        .add(NOON - 30, Some(b"a"), Some(b"1"), &[])
        .add(NOON - 20, Some(b"b"), Some(b"2"), &[("h", Some(b"v"))])
        .add(NOON - 10, Some(b"c"), Some(b"3"), &[])
        .finish(
            "batch-append-time",
            "The broker's time counts: attribute bit 3 is set, and every record has the maximum timestamp.",
        );
    case.bytes[22] |= 1 << 3;
    case.bytes[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&NOON.to_be_bytes());
    for record in case.meaning.as_array_mut().unwrap() {
        record["timestamp"] = json!(NOON);
    }
    case
}

/// As compaction leaves it: the first and every third record are gone.
fn gaps() -> Case {
    let whole = many();
    let kept = |number: usize| number != 0 && !number.is_multiple_of(3);
    let mut bytes = whole.bytes[..61].to_vec();
    let (mut at, mut number, mut count) = (61, 0, 0_i32);
    while at < whole.bytes.len() {
        // These records are short: their length takes one byte.
        let end = at + 1 + usize::from(whole.bytes[at] >> 1);
        if kept(number) {
            bytes.extend_from_slice(&whole.bytes[at..end]);
            count += 1;
        }
        (at, number) = (end, number + 1);
    }
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let meaning = whole.meaning.as_array().unwrap().iter().enumerate();
    let meaning = meaning.filter(|(number, _)| kept(*number)).map(|(_, record)| record.clone()).collect();
    Case {
        name: "batch-gaps",
        about: "Offsets with gaps: of 80 records the first and every third have been removed.",
        bytes,
        meaning,
    }
}
