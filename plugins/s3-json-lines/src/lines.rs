//! Records as lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_plugin::{Error, Record, Result};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// What a line holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Value,
    Record,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "value" => Ok(Self::Value),
            "record" => Ok(Self::Record),
            other => {
                let message = format!("the setting `format` is `{other}`; expected `value` or `record`");
                Err(Error::new(message))
            }
        }
    }

    /// Appends a record's line; a tombstone's value is `null`.
    pub(crate) fn append(self, record: &Record<'_>, body: &mut Vec<u8>) -> Result<()> {
        match (self, record.value()) {
            (Self::Record, _) => serde_json::to_writer(&mut *body, &Line(record))?,
            (Self::Value, None) => body.extend_from_slice(b"null"),
            (Self::Value, Some(value)) => append_json(body, serde_json::from_slice(value)?),
        }
        body.push(b'\n');
        Ok(())
    }
}

/// In one line: within JSON, line ends are but white space.
fn append_json(body: &mut Vec<u8>, json: &RawValue) {
    body.extend(json.get().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// A record as a JSON object.
struct Line<'a, 'b>(&'a Record<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(record) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offset", &record.offset())?;
        map.serialize_entry("timestamp", &record.timestamp_ms())?;
        bytes(&mut map, "key", "key_base64", record.key())?;
        if record.headers().len() > 0 {
            map.serialize_entry("headers", &Headers(record))?;
        }
        match record.value().map(serde_json::from_slice::<&RawValue>) {
            // JSON that spans lines is kept as text: a line is a record.
            Some(Ok(json)) if !json.get().contains(['\n', '\r']) => map.serialize_entry("value", json)?,
            _ => bytes(&mut map, "value_text", "value_base64", record.value())?,
        }
        map.end()
    }
}

struct Headers<'a, 'b>(&'a Record<'b>);

impl Serialize for Headers<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A list of pairs: names may repeat.
        serializer.collect_seq(self.0.headers().map(|header| {
            let value = header.value.map(String::from_utf8_lossy);
            (String::from_utf8_lossy(header.key), value)
        }))
    }
}

/// Text under one name, other bytes in base64 under the other, nothing for nothing.
fn bytes<M: SerializeMap>(
    map: &mut M,
    text_name: &'static str,
    base64_name: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => Ok(()),
        Some((_, Ok(text))) => map.serialize_entry(text_name, text),
        Some((bytes, Err(_))) => map.serialize_entry(base64_name, &STANDARD.encode(bytes)),
    }
}
