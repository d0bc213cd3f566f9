//! A column, and its value in a record.

use std::collections::HashMap;

use millrace_plugin::postgres::Value;
use millrace_plugin::{Error, Record, Result};
use serde_json::value::RawValue;

/// A column of the table.
#[derive(Debug)]
pub(crate) struct Column {
    pub name: String,
    kind: Kind,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Float,
    Boolean,
    Json,
    Timestamp,
}

#[derive(Debug)]
enum Source {
    Key,
    Value,
    Offset,
    Timestamp,
    Header(String),
    Field(Vec<String>),
}

impl Column {
    /// Reads `name:type` or `name:type=source`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(format!(
                "the setting `columns` has `{text}`; expected `name:type` or `name:type=source`"
            ))
        };
        let (column, source) =
            text.split_once('=').map_or((text, None), |(column, source)| (column, Some(source.trim())));
        let (name, kind) = column.split_once(':').ok_or_else(wrong)?;
        let name = name.trim();
        let kind = match kind.trim() {
            "text" => Kind::Text,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "boolean" => Kind::Boolean,
            "json" => Kind::Json,
            "timestamp" => Kind::Timestamp,
            _ => return Err(wrong()),
        };
        let source = match source.unwrap_or(name) {
            "@key" => Source::Key,
            "@value" => Source::Value,
            "@offset" => Source::Offset,
            "@timestamp" => Source::Timestamp,
            other => match other.strip_prefix("@header.") {
                Some(header) => Source::Header(header.to_owned()),
                None if other.starts_with('@') || other.is_empty() => return Err(wrong()),
                None => Source::Field(other.split('.').map(str::to_owned).collect()),
            },
        };
        Ok(Self { name: name.to_owned(), kind, source })
    }

    pub(crate) fn reads_fields(&self) -> bool {
        matches!(self.source, Source::Field(_))
    }

    /// Its value for a record whose own value, read as JSON, has `fields`.
    pub(crate) fn value(&self, record: &Record<'_>, fields: &Fields<'_>) -> Result<Value> {
        let value = match &self.source {
            Source::Key => self.read_bytes(record.key()),
            Source::Value => self.read_bytes(record.value()),
            Source::Header(name) => self.read_bytes(record.header(name)),
            Source::Offset => self.read_json(&record.offset().to_string()),
            Source::Timestamp => self.read_json(&record.timestamp_ms().to_string()),
            Source::Field(path) => {
                find(fields, path).map_or(Some(Value::Null), |field| self.read_json(field.get()))
            }
        };
        value.ok_or_else(|| {
            let kind = format!("{:?}", self.kind).to_lowercase();
            Error::new(format!("what it has for column `{}` is no {kind}", self.name))
        })
    }

    fn read_bytes(&self, bytes: Option<&[u8]>) -> Option<Value> {
        let Some(bytes) = bytes else { return Some(Value::Null) };
        let text = str::from_utf8(bytes).ok()?;
        Some(match self.kind {
            Kind::Text => Value::Text(text.to_owned()),
            Kind::Int => integer(text)?,
            Kind::Timestamp => Value::Timestamp(text.parse().ok()?),
            Kind::Float if is_number(text) => Value::Number(text.to_owned()),
            // What JSON has no numbers for: infinity, for one.
            Kind::Float => Value::Float(text.parse().ok()?),
            Kind::Boolean => Value::Boolean(text.parse().ok()?),
            Kind::Json => {
                serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
                Value::Json(text.to_owned())
            }
        })
    }

    /// Reads a JSON value from its text, so that a number loses no digit.
    fn read_json(&self, json: &str) -> Option<Value> {
        Some(match (self.kind, json.as_bytes().first()?) {
            (_, b'n') => Value::Null,
            (Kind::Json, _) => Value::Json(json.to_owned()),
            (Kind::Text, b'"') => Value::Text(serde_json::from_str(json).ok()?),
            (Kind::Text, b'{' | b'[') => return None,
            (Kind::Text, _) => Value::Text(json.to_owned()),
            (Kind::Int, _) => integer(json)?,
            (Kind::Timestamp, _) => Value::Timestamp(json.parse().ok()?),
            (Kind::Float, b'-' | b'0'..=b'9') => Value::Number(json.to_owned()),
            (Kind::Float, _) => return None,
            (Kind::Boolean, _) => Value::Boolean(json.parse().ok()?),
        })
    }
}

/// The fields of a JSON object, each as it is written.
pub(crate) type Fields<'a> = HashMap<String, &'a RawValue>;

/// What a path of names leads to.
fn find<'a>(fields: &Fields<'a>, path: &[String]) -> Option<&'a RawValue> {
    let (first, deeper) = path.split_first()?;
    let mut field = *fields.get(first)?;
    for name in deeper {
        field = serde_json::from_str::<Fields<'a>>(field.get()).ok()?.remove(name)?;
    }
    Some(field)
}

/// An integer of any size.
fn integer(text: &str) -> Option<Value> {
    if let Ok(value) = text.parse() {
        return Some(Value::Int(value));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = is_number(text) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_integer.then(|| Value::Number(text.to_owned()))
}

/// Whether JSON takes the text for a number.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
}
