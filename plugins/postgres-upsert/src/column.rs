//! A column, and its value in a record.

use millrace_plugin::postgres::Value;
use millrace_plugin::{Error, Record, Result};
use serde_json::Value as Json;

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

    /// Its value for a record whose own value, read as JSON, is `fields`.
    pub(crate) fn value(&self, record: &Record<'_>, fields: &Json) -> Result<Value> {
        let value = match &self.source {
            Source::Key => self.read_bytes(record.key()),
            Source::Value => self.read_bytes(record.value()),
            Source::Header(name) => self.read_bytes(record.header(name)),
            Source::Offset => self.read_json(&record.offset().into()),
            Source::Timestamp => self.read_json(&record.timestamp_ms().into()),
            Source::Field(path) => {
                let field = path.iter().try_fold(fields, |json, name| json.get(name));
                self.read_json(field.unwrap_or(&Json::Null))
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
            Kind::Int => Value::Int(text.parse().ok()?),
            Kind::Timestamp => Value::Timestamp(text.parse().ok()?),
            Kind::Float => Value::Float(text.parse().ok()?),
            Kind::Boolean => Value::Boolean(text.parse().ok()?),
            Kind::Json => {
                serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
                Value::Json(text.to_owned())
            }
        })
    }

    fn read_json(&self, json: &Json) -> Option<Value> {
        Some(match (self.kind, json) {
            (_, Json::Null) => Value::Null,
            (Kind::Json, json) => Value::Json(json.to_string()),
            (Kind::Text, Json::String(text)) => Value::Text(text.clone()),
            (Kind::Text, Json::Number(_) | Json::Bool(_)) => Value::Text(json.to_string()),
            (Kind::Int, json) => Value::Int(json.as_i64()?),
            (Kind::Timestamp, json) => Value::Timestamp(json.as_i64()?),
            (Kind::Float, json) => Value::Float(json.as_f64()?),
            (Kind::Boolean, json) => Value::Boolean(json.as_bool()?),
            (Kind::Text, _) => return None,
        })
    }
}
