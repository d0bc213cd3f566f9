//! How a record looks when printed.

use std::io::{self, Write};

use bytes::Bytes;
use millrace_client::ConsumerRecord;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::record_json::to_base64;

/// A way to print records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// One JSON object a line.
    Json,
    /// What kcat's `-f` has.
    Pattern(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl RecordFormat {
    /// Values alone, one a line.
    pub fn values() -> Self {
        Self::Pattern(vec![Part::Value, Part::Text("\n".to_owned())])
    }

    /// Reads `text`, `json` or a pattern. A pattern that ends without a newline is given one.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => return Ok(Self::values()),
            "json" => return Ok(Self::Json),
            _ if !text.contains('%') => {
                return Err("expected text, json or a pattern such as '%o %k: %s'".to_owned());
            }
            _ => {}
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match (character, character == '%' || character == '\\') {
                (_, false) => literal.push(character),
                ('\\', _) => literal.push(unescaped(rest.next())?),
                _ => match part(rest.next())? {
                    Part::Text(text) => literal.push_str(&text),
                    part => {
                        if !literal.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut literal)));
                        }
                        parts.push(part);
                    }
                },
            }
        }
        if !literal.ends_with('\n') {
            literal.push('\n');
        }
        parts.push(Part::Text(literal));
        Ok(Self::Pattern(parts))
    }

    pub fn write(&self, out: &mut impl Write, record: &ConsumerRecord) -> io::Result<()> {
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *out, &JsonRecord(record))?;
                out.write_all(b"\n")
            }
            Self::Pattern(parts) => parts.iter().try_for_each(|part| write_part(out, part, record)),
        }
    }
}

fn unescaped(escaped: Option<char>) -> Result<char, String> {
    match escaped {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!("\\{other} is not known: expected \\n, \\t, \\r or \\\\")),
        None => Err("a single \\ at the end".to_owned()),
    }
}

fn part(token: Option<char>) -> Result<Part, String> {
    Ok(match token {
        Some('%') => Part::Text("%".to_owned()),
        Some('t') => Part::Topic,
        Some('p') => Part::Partition,
        Some('o') => Part::Offset,
        Some('T') => Part::Timestamp,
        Some('k') => Part::Key,
        Some('s') => Part::Value,
        Some('h') => Part::Headers,
        Some(other) => return Err(format!("%{other} is not known: expected one of %s %k %h %t %p %o %T %%")),
        None => return Err("a single % at the end".to_owned()),
    })
}

fn write_part(out: &mut impl Write, part: &Part, record: &ConsumerRecord) -> io::Result<()> {
    match part {
        Part::Text(text) => out.write_all(text.as_bytes()),
        Part::Topic => out.write_all(record.topic().as_bytes()),
        Part::Partition => write!(out, "{}", record.partition()),
        Part::Offset => write!(out, "{}", record.offset()),
        Part::Timestamp => write!(out, "{}", record.timestamp()),
        Part::Key => out.write_all(record.key().map_or(&[], |key| key)),
        Part::Value => out.write_all(record.value().map_or(&[], |value| value)),
        Part::Headers => {
            for (index, (name, value)) in record.headers().iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(out, "{comma}{name}=")?;
                out.write_all(value.as_deref().unwrap_or(b"NULL"))?;
            }
            Ok(())
        }
    }
}

/// A record as a JSON object, its members in the order in which one reads them.
struct JsonRecord<'a>(&'a ConsumerRecord);

struct JsonHeader<'a>(&'a (String, Option<Bytes>));

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("topic", record.topic())?;
        object.serialize_entry("partition", &record.partition())?;
        object.serialize_entry("offset", &record.offset())?;
        object.serialize_entry("timestamp", &record.timestamp())?;
        bytes_entry(&mut object, ["key", "key_base64"], record.key())?;
        bytes_entry(&mut object, ["value", "value_base64"], record.value())?;
        let headers: Vec<JsonHeader<'_>> = record.headers().iter().map(JsonHeader).collect();
        object.serialize_entry("headers", &headers)?;
        object.end()
    }
}

impl Serialize for JsonHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, value) = self.0;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("name", name)?;
        bytes_entry(&mut object, ["value", "value_base64"], value.as_ref())?;
        object.end()
    }
}

/// Text as it is; bytes that are none under a name of their own, in base64.
fn bytes_entry<M: SerializeMap>(
    object: &mut M,
    [text_name, other_name]: [&str; 2],
    bytes: Option<&Bytes>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| std::str::from_utf8(bytes)) {
        None => object.serialize_entry(text_name, &()),
        Some(Ok(text)) => object.serialize_entry(text_name, text),
        Some(Err(_)) => {
            let bytes = bytes.map_or(&[][..], |bytes| bytes);
            object.serialize_entry(other_name, &to_base64(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_into_its_parts() {
        let text = |text: &str| Part::Text(text.to_owned());
        for (pattern, parts) in [
            ("%s", vec![Part::Value, text("\n")]),
            ("%k\\t%s\\n", vec![Part::Key, text("\t"), Part::Value, text("\n")]),
            ("100%% %o", vec![text("100% "), Part::Offset, text("\n")]),
        ] {
            assert_eq!(RecordFormat::parse(pattern), Ok(RecordFormat::Pattern(parts)), "{pattern}");
        }
        for pattern in ["", "yaml", "%x", "%", "%s\\q"] {
            assert!(RecordFormat::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        for (value, json) in [
            (None, r#"{"name":"h","value":null}"#),
            (Some(&b"text"[..]), r#"{"name":"h","value":"text"}"#),
            (Some(&[0xff, 0x01]), r#"{"name":"h","value_base64":"/wE="}"#),
        ] {
            let header = ("h".to_owned(), value.map(Bytes::from_static));
            assert_eq!(serde_json::to_string(&JsonHeader(&header)).unwrap(), json);
        }
    }
}
