//! Records from JSON Lines, and batches of them.

use std::fmt;

use anyhow::Context;
use millrace_protocol::batch::{Batch, BatchBuilder, Header, ProducerState, stamp};
use millrace_protocol::compression::Codec;
use serde_json::Value;

pub use crate::record_json::FileRecord;
use crate::record_json::{from_object, is_record};

/// A line that says it is a record and is none.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    line: usize,
    reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is no record: {}", self.line, self.reason)
    }
}

impl std::error::Error for BadLine {}

/// Reads a record a line, but for empty lines. A JSON object with a member `value` says what the record is; any
/// other line is itself the value.
pub fn parse_lines(text: &[u8]) -> Result<Vec<FileRecord>, BadLine> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| parse_line(line).map_err(|reason| BadLine { line: index + 1, reason }))
        .collect()
}

fn parse_line(line: &[u8]) -> Result<FileRecord, String> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) if is_record(&object) => from_object(object),
        _ => Ok(FileRecord { value: Some(line.to_vec()), ..FileRecord::default() }),
    }
}

/// The batch that a broker would hand to a plugin: `records` from `base_offset` on.
pub fn batch(records: &[FileRecord], base_offset: usize, now_ms: i64) -> anyhow::Result<Batch> {
    let mut builder = BatchBuilder::default();
    for record in records {
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(name, value)| Header::new(name, value.as_deref())).collect();
        let timestamp = record.timestamp_ms.unwrap_or(now_ms);
        builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    let built = builder.finish(Codec::None, ProducerState::NONE).context("make a batch of the records")?;
    let mut bytes = built.to_vec();
    stamp(&mut bytes, i64::try_from(base_offset)?, 0);
    Batch::parse(bytes.into()).context("make a batch of the records")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> FileRecord {
        let records = parse_lines(line.as_bytes()).unwrap();
        assert_eq!(records.len(), 1, "{line}");
        records.into_iter().next().unwrap()
    }

    fn text(bytes: Option<&Vec<u8>>) -> Option<&str> {
        bytes.map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    #[test]
    fn an_object_with_a_value_says_what_the_record_is() {
        let record = one(r#"{"key":"k","value":{"a":1},"headers":{"h":"v","n":null},"timestamp":5}"#);
        assert_eq!((text(record.key.as_ref()), text(record.value.as_ref())), (Some("k"), Some(r#"{"a":1}"#)));
        assert_eq!(record.headers, [("h".to_owned(), Some(b"v".to_vec())), ("n".to_owned(), None)]);
        assert_eq!(record.timestamp_ms, Some(5));
        assert_eq!(
            one(r#"{"key":7,"value":null}"#),
            FileRecord { key: Some(b"7".to_vec()), ..FileRecord::default() }
        );
        assert_eq!(one(r#"{"value":"v","timestamp":"1970-01-01T00:00:01Z"}"#).timestamp_ms, Some(1000));
        // As `millrace consume --format json` writes it.
        let consumed = one(
            r#"{"topic":"t","partition":0,"offset":3,"value":"v","headers":[{"name":"a","value":"1"},{"name":"a","value":"2"}]}"#,
        );
        assert_eq!(consumed.headers.len(), 2);
    }

    #[test]
    fn any_other_line_is_the_value() {
        for line in ["plain text", r#"{"a":1}"#, "[1,2]", r#"{"value":"#, "17"] {
            assert_eq!(
                one(line),
                FileRecord { value: Some(line.as_bytes().to_vec()), ..FileRecord::default() }
            );
        }
        assert_eq!(parse_lines(b"a\r\n\nb\n").unwrap().len(), 2);
        assert_eq!(parse_lines(&[0xff, b'\n']).unwrap()[0].value, Some(vec![0xff]));
    }

    #[test]
    fn a_record_that_is_none_is_told_with_its_line() {
        for (line, reason) in [
            (r#"{"value":"v","timestamp":"soon"}"#, "RFC 3339"),
            (r#"{"value":"v","headers":[1]}"#, "'headers' must be"),
            (r#"{"value":"v","colour":"red"}"#, "an unknown one, 'colour'"),
        ] {
            let error = parse_lines(format!("ok\n{line}").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 2 is no record") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_batch_holds_the_records() {
        let records =
            parse_lines(b"{\"key\":\"k\",\"value\":\"v\",\"headers\":{\"h\":\"1\"}}\nplain").unwrap();
        let batch = batch(&records, 40, 9).unwrap();
        batch.verify().unwrap();
        let read = batch.records(1 << 20).unwrap();
        let read: Vec<_> = read.iter().collect::<Result<_, _>>().unwrap();
        assert_eq!((read[0].offset, read[1].offset, read[1].timestamp_ms), (40, 41, 9));
        assert_eq!((read[0].key, read[1].key), (Some(&b"k"[..]), None));
        assert_eq!(read[0].headers.iter().next().unwrap().value, Some(&b"1"[..]));
    }
}
