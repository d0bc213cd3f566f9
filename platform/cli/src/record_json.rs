//! A record as a JSON object: what `millrace consume --format json` prints, `millrace produce --input json` and
//! `millrace plugin test` read.
//!
//! Bytes that are text stand under their name, others in base64 under their name with `_base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Names and values; names may repeat.
type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A record that an object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    /// `None`: when the command began.
    pub timestamp_ms: Option<i64>,
}

/// Whether an object says that it is a record.
pub fn is_record(object: &Map<String, Value>) -> bool {
    object.contains_key("value") || object.contains_key("value_base64")
}

/// Bytes that are no text.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn from_base64(name: &str, value: &Value) -> Result<Vec<u8>, String> {
    let decoded = value.as_str().map(|text| STANDARD.decode(text));
    match decoded {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) => Err(format!("'{name}' is no base64: {error}")),
        None => Err(format!("'{name}' is {value}: expected a text in base64")),
    }
}

/// The record that an object says it is; its place in a log counts for nothing.
pub fn from_object(object: Map<String, Value>) -> Result<FileRecord, String> {
    let mut record = FileRecord::default();
    for (name, value) in object {
        match name.as_str() {
            "key" => record.key = bytes(value),
            "key_base64" => record.key = Some(from_base64(&name, &value)?),
            "value" => record.value = bytes(value),
            "value_base64" => record.value = Some(from_base64(&name, &value)?),
            "headers" => record.headers = headers(value)?,
            "timestamp" => {
                let millis = value.as_i64().filter(|millis| *millis >= 0);
                let millis = millis
                    .or_else(|| value.as_str().and_then(|text| crate::time::parse_timestamp_ms(text).ok()));
                let wrong = || {
                    format!("'timestamp' is {value}: expected milliseconds since 1970 or an RFC 3339 time")
                };
                record.timestamp_ms = Some(millis.ok_or_else(wrong)?);
            }
            // What `millrace consume --format json` writes besides.
            "topic" | "partition" | "offset" => {}
            _ => {
                return Err(format!(
                    "it has a member 'value' and an unknown one, '{name}': expected key, value, headers and \
                     timestamp (key_base64 and value_base64 for what is no text); if the line itself is the value, \
                     write it as {{\"value\": …}}"
                ));
            }
        }
    }
    Ok(record)
}

/// A text stands for its bytes, anything else for its JSON.
fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

/// `{"name": "value"}`, or `[{"name": "name", "value": "value"}]` where names repeat.
fn headers(value: Value) -> Result<Headers, String> {
    const EXPECTED: &str = r#"'headers' must be {"name": "value"} or [{"name": "name", "value": "value"}]"#;
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(object) => Ok(object.into_iter().map(|(name, value)| (name, bytes(value))).collect()),
        Value::Array(list) => list
            .into_iter()
            .map(|header| match header {
                Value::Object(mut header) => match (header.remove("name"), header.remove("value_base64")) {
                    (Some(Value::String(name)), Some(value)) => {
                        Ok((name, Some(from_base64("value_base64", &value)?)))
                    }
                    (Some(Value::String(name)), None) => Ok((name, header.remove("value").and_then(bytes))),
                    _ => Err(EXPECTED.to_owned()),
                },
                _ => Err(EXPECTED.to_owned()),
            })
            .collect(),
        _ => Err(EXPECTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<FileRecord, String> {
        let Value::Object(object) = value else { panic!("an object") };
        from_object(object)
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let encoded = to_base64(&[0xff, 0, 0x7f]);
        let record = read(json!({
            "key_base64": encoded, "value_base64": encoded, "headers": [{"name": "h", "value_base64": encoded}],
        }));
        let bytes = Some(vec![0xff, 0, 0x7f]);
        let headers = vec![("h".to_owned(), bytes.clone())];
        assert_eq!(
            record.unwrap(),
            FileRecord { key: bytes.clone(), value: bytes, headers, timestamp_ms: None }
        );
        let error = read(json!({ "value_base64": "*" })).unwrap_err();
        assert!(error.contains("'value_base64' is no base64"), "{error}");
    }
}
