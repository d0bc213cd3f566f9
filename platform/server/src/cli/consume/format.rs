//! How a record looks when printed.

use std::io::{self, Write};

use millrace_client::ConsumerRecord;
use serde_json::{Map, Value, json};

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
                serde_json::to_writer(&mut *out, &to_json(record))?;
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

fn to_json(record: &ConsumerRecord) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), record.topic().into());
    object.insert("partition".to_owned(), record.partition().into());
    object.insert("offset".to_owned(), record.offset().into());
    object.insert("timestamp".to_owned(), record.timestamp().into());
    insert_bytes(&mut object, "key", record.key().map(|key| &key[..]));
    insert_bytes(&mut object, "value", record.value().map(|value| &value[..]));
    let headers = record.headers().iter().map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".to_owned(), json!(name));
        insert_bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    object.insert("headers".to_owned(), headers.collect());
    Value::Object(object)
}

/// Text as it is; bytes that are none under a name of their own, in hexadecimal.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), text.into()),
        Some(Err(bytes)) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), digits.into())
        }
    };
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
    fn bytes_that_are_no_text_are_hexadecimal() {
        let mut object = Map::new();
        insert_bytes(&mut object, "key", None);
        insert_bytes(&mut object, "value", Some(&[0xff, 0x01]));
        insert_bytes(&mut object, "other", Some(b"text"));
        assert_eq!(Value::Object(object), json!({ "key": null, "value_hex": "ff01", "other": "text" }));
    }
}
