//! Records as events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_plugin::clock::Utc;
use millrace_plugin::http::Request;
use millrace_plugin::{Context, Record};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

/// What an event has of its own, so that no header may be it.
const ATTRIBUTES: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "partitionkey",
    "datacontenttype",
    "dataschema",
    "data",
    "database64",
];

/// Names and values of an event's extensions. Servers refuse a head of more than 8 to 16 KiB, whatever is in it;
/// percent-encoding may lengthen it.
const EXTENSION_BYTES_MAX: usize = 8 << 10;

/// What all events of a deployment share.
#[derive(Debug)]
pub(crate) struct Attributes {
    id_prefix: String,
    kind: String,
    source: String,
    content_type: String,
}

impl Attributes {
    pub(crate) fn new(context: &Context) -> Self {
        let (topic, partition) = (context.topic(), context.partition());
        let text = |key: &str, default: String| context.get(key).map_or(default, str::to_owned);
        Self {
            id_prefix: format!("{topic}-{partition}-"),
            kind: text("type", "millrace.record".to_owned()),
            source: text("source", format!("/topics/{topic}/{partition}")),
            content_type: text("content-type", "application/json".to_owned()),
        }
    }
}

/// A record as a CloudEvent. Its key is the `subject`, and the `partitionkey` of the partitioning extension.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    shared: &'a Attributes,
    record: Record<'a>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(shared: &'a Attributes, record: Record<'a>) -> Self {
        Self { shared, record }
    }

    fn id(&self) -> String {
        format!("{}{}", self.shared.id_prefix, self.record.offset())
    }

    pub(crate) fn offset(&self) -> i64 {
        self.record.offset()
    }

    /// The key, where it may be an attribute.
    fn key(&self) -> Option<String> {
        self.record.key_str().filter(|key| !key.is_empty()).map(printable)
    }

    /// The record's headers as attributes: names in their order, each once.
    fn extensions(&self) -> Vec<(String, String)> {
        let mut extensions: Vec<(String, String)> = Vec::new();
        let mut bytes = 0;
        for header in self.record.headers() {
            let (Some(name), Some(value)) = (header.key_str(), header.value_str()) else { continue };
            let Some(name) = extension_name(name) else { continue };
            let value = printable(value);
            let length = name.len() + value.len();
            let is_taken = extensions.iter().any(|(taken, _)| *taken == name);
            if value.is_empty() || is_taken || bytes + length > EXTENSION_BYTES_MAX {
                continue;
            }
            bytes += length;
            extensions.push((name, value));
        }
        extensions
    }

    fn time(&self) -> String {
        Utc::from_ms(self.record.timestamp_ms()).rfc3339()
    }

    /// Attributes as headers, the value as the body.
    pub(crate) fn binary(&self, request: Request) -> Request {
        let mut request = request
            .header("ce-specversion", "1.0")
            .header("ce-id", escape(&self.id()))
            .header("ce-source", escape(&self.shared.source))
            .header("ce-type", escape(&self.shared.kind))
            .header("ce-time", self.time());
        if let Some(key) = self.key() {
            request = request.header("ce-subject", escape(&key)).header("ce-partitionkey", escape(&key));
        }
        for (name, value) in self.extensions() {
            request = request.header(format!("ce-{name}"), escape(&value));
        }
        match self.record.value() {
            Some(value) => request.header("content-type", &self.shared.content_type).body(value),
            None => request,
        }
    }
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.id())?;
        map.serialize_entry("source", &self.shared.source)?;
        map.serialize_entry("type", &self.shared.kind)?;
        map.serialize_entry("time", &self.time())?;
        if let Some(key) = self.key() {
            map.serialize_entry("subject", &key)?;
            map.serialize_entry("partitionkey", &key)?;
        }
        for (name, value) in self.extensions() {
            map.serialize_entry(&name, &value)?;
        }
        let Some(value) = self.record.value() else { return map.end() };
        map.serialize_entry("datacontenttype", &self.shared.content_type)?;
        if self.shared.content_type.ends_with("json") {
            if let Ok(json) = serde_json::from_slice::<&RawValue>(value) {
                map.serialize_entry("data", json)?;
                return map.end();
            }
        } else if let Ok(text) = str::from_utf8(value) {
            map.serialize_entry("data", text)?;
            return map.end();
        }
        map.serialize_entry("data_base64", &STANDARD.encode(value))?;
        map.end()
    }
}

/// A header's name as CloudEvents wants those of attributes: letters in lower case and digits.
fn extension_name(header: &str) -> Option<String> {
    let legal = header.chars().filter(char::is_ascii_alphanumeric);
    let name: String = legal.map(|letter| letter.to_ascii_lowercase()).collect();
    match name.as_str() {
        "" => None,
        own if ATTRIBUTES.contains(&own) => Some(format!("header{name}")),
        _ => Some(name),
    }
}

/// With control characters, which an attribute must not have, percent-encoded.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        } else {
            out.push(letter);
        }
    }
    out
}

/// As CloudEvents' HTTP binding wants header values: spaces, quotes, percent signs and all that is not
/// printable ASCII percent-encoded.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
