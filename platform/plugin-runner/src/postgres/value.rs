//! A plugin's values as parameters of the types that the columns have.
//!
//! | value | fits columns of type |
//! |---|---|
//! | boolean | boolean |
//! | int | smallint, integer, bigint (within their range), real, double precision, numeric |
//! | float | real, double precision, numeric |
//! | number | smallint, integer, bigint (whole and within their range), real, double precision, numeric (exactly) |
//! | text | text, varchar, char, uuid, json, jsonb, numeric, dates and times, and whatever else reads text |
//! | json | json, jsonb, text, varchar |
//! | bytes | bytea |
//! | timestamp | timestamptz, timestamp, date |
//!
//! Null fits all. Anything else is refused with the column's name and type.

use std::error::Error;

use super::decimal::Decimal;
use bytes::{BufMut, BytesMut};
use millrace_plugin_host::{DatabaseError, Value};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// 2000-01-01, which PostgreSQL counts from, in milliseconds since the Unix epoch.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;
const DAY_MS: i64 = 86_400_000;

/// A value as it goes to the database.
#[derive(Debug, PartialEq)]
pub(super) enum Parameter<'a> {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    /// Text, which the database reads as the column's type.
    Text(&'a str),
    /// The same, made here.
    Written(String),
}

impl<'a> Parameter<'a> {
    pub fn new(value: &'a Value, column: &str, ty: &Type) -> Result<Self, DatabaseError> {
        fit(value, base(ty)).ok_or_else(|| {
            DatabaseError::Refused(format!(
                "{} does not fit column `{column}`, which is of type {ty}",
                shown(value)
            ))
        })
    }
}

/// The type below a domain.
fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(inner) => base(inner),
        _ => ty,
    }
}

fn fit<'a>(value: &'a Value, ty: &Type) -> Option<Parameter<'a>> {
    Some(match value {
        Value::Null => Parameter::Null,
        Value::Boolean(value) if *ty == Type::BOOL => Parameter::Bool(*value),
        Value::Int(value) => int(*value, ty)?,
        Value::Float(value) => match *ty {
            Type::FLOAT4 => Parameter::Float4(*value as f32),
            Type::FLOAT8 => Parameter::Float8(*value),
            Type::NUMERIC => Parameter::Written(value.to_string()),
            _ => return None,
        },
        Value::Number(value) => number(value, ty)?,
        Value::Text(value) => text(value, ty)?,
        Value::Json(value) if [Type::JSON, Type::JSONB, Type::TEXT, Type::VARCHAR].contains(ty) => {
            Parameter::Text(value)
        }
        Value::Bytes(value) if *ty == Type::BYTEA => Parameter::Bytes(value),
        Value::Timestamp(value) => time(*value, ty)?,
        Value::Boolean(_) | Value::Json(_) | Value::Bytes(_) => return None,
    })
}

fn int(value: i64, ty: &Type) -> Option<Parameter<'static>> {
    Some(match *ty {
        Type::INT2 => Parameter::Int2(value.try_into().ok()?),
        Type::INT4 => Parameter::Int4(value.try_into().ok()?),
        Type::INT8 => Parameter::Int8(value),
        Type::FLOAT4 => Parameter::Float4(value as f32),
        Type::FLOAT8 => Parameter::Float8(value as f64),
        Type::NUMERIC => Parameter::Written(value.to_string()),
        _ => return None,
    })
}

/// A numeric column gets every digit, since the database reads the text itself.
fn number<'a>(value: &'a str, ty: &Type) -> Option<Parameter<'a>> {
    Decimal::parse(value)?;
    Some(match *ty {
        Type::INT2 => Parameter::Int2(value.parse().ok()?),
        Type::INT4 => Parameter::Int4(value.parse().ok()?),
        Type::INT8 => Parameter::Int8(value.parse().ok()?),
        Type::FLOAT4 => Parameter::Float4(value.parse().ok().filter(|near: &f32| near.is_finite())?),
        Type::FLOAT8 => Parameter::Float8(value.parse().ok().filter(|near: &f64| near.is_finite())?),
        Type::NUMERIC => Parameter::Text(value),
        _ => return None,
    })
}

fn text<'a>(value: &'a str, ty: &Type) -> Option<Parameter<'a>> {
    match *ty {
        Type::BOOL
        | Type::INT2
        | Type::INT4
        | Type::INT8
        | Type::FLOAT4
        | Type::FLOAT8
        | Type::OID
        | Type::BYTEA => None,
        Type::UUID => Uuid::try_parse(value).ok().map(|uuid| Parameter::Uuid(uuid.into_bytes())),
        _ => Some(Parameter::Text(value)),
    }
}

fn time(unix_ms: i64, ty: &Type) -> Option<Parameter<'static>> {
    let ms = unix_ms.checked_sub(POSTGRES_EPOCH_MS)?;
    match *ty {
        Type::TIMESTAMPTZ | Type::TIMESTAMP => ms.checked_mul(1000).map(Parameter::Int8),
        Type::DATE => i32::try_from(ms.div_euclid(DAY_MS)).ok().map(Parameter::Int4),
        _ => None,
    }
}

/// A value in an error: its kind, and what it is if it is small.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => format!("boolean {value}"),
        Value::Int(value) => format!("int {value}"),
        Value::Float(value) => format!("float {value}"),
        Value::Number(value) if value.len() <= 40 && Decimal::parse(value).is_some() => {
            format!("number {value}")
        }
        Value::Number(value) => format!("a number of {} bytes", value.len()),
        Value::Text(value) => format!("text of {} bytes", value.len()),
        Value::Json(value) => format!("json of {} bytes", value.len()),
        Value::Bytes(value) => format!("{} bytes", value.len()),
        Value::Timestamp(value) => format!("timestamp {value}"),
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Bool(value) => out.put_u8((*value).into()),
            Self::Int2(value) => out.put_i16(*value),
            Self::Int4(value) => out.put_i32(*value),
            Self::Int8(value) => out.put_i64(*value),
            Self::Float4(value) => out.put_f32(*value),
            Self::Float8(value) => out.put_f64(*value),
            Self::Bytes(value) => out.put_slice(value),
            Self::Uuid(value) => out.put_slice(value),
            Self::Text(value) => out.put_slice(value.as_bytes()),
            Self::Written(value) => out.put_slice(value.as_bytes()),
        }
        Ok(IsNull::No)
    }

    /// [`Parameter::new`] has looked at the type.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Text(_) | Self::Written(_) => Format::Text,
            _ => Format::Binary,
        }
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(value: Value, ty: &Type) -> Option<Vec<u8>> {
        let parameter = Parameter::new(&value, "c", ty).ok()?;
        let mut bytes = BytesMut::new();
        parameter.to_sql(ty, &mut bytes).unwrap();
        Some(bytes.to_vec())
    }

    #[test]
    fn a_value_takes_the_form_of_its_column() {
        assert_eq!(fits(Value::Int(-2), &Type::INT2), Some(vec![0xff, 0xfe]));
        assert_eq!(fits(Value::Int(7), &Type::INT4), Some(vec![0, 0, 0, 7]));
        assert_eq!(fits(Value::Int(7), &Type::NUMERIC), Some(b"7".to_vec()));
        assert_eq!(fits(Value::Float(0.5), &Type::FLOAT8), Some(0.5_f64.to_be_bytes().to_vec()));
        assert_eq!(fits(Value::Float(1e-7), &Type::NUMERIC), Some(b"0.0000001".to_vec()));
        assert_eq!(fits(Value::Boolean(true), &Type::BOOL), Some(vec![1]));
        assert_eq!(fits(Value::Json("{}".into()), &Type::JSONB), Some(b"{}".to_vec()));
        assert_eq!(fits(Value::Bytes(vec![0, 1]), &Type::BYTEA), Some(vec![0, 1]));
        assert_eq!(fits(Value::Text("1.50".into()), &Type::NUMERIC), Some(b"1.50".to_vec()));
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(fits(Value::Text(uuid.into()), &Type::UUID).unwrap()[..2], [0x67, 0xe5]);
        assert_eq!(fits(Value::Null, &Type::INT4), Some(vec![]));
    }

    #[test]
    fn a_number_keeps_every_digit_that_its_column_can_hold() {
        let number = |text: &str, ty: &Type| fits(Value::Number(text.to_owned()), ty);
        for exact in ["12345678901234567890123456789", "19.990000000000000001", "-1e-7"] {
            assert_eq!(number(exact, &Type::NUMERIC), Some(exact.as_bytes().to_vec()));
        }
        assert_eq!(
            number("9007199254740993", &Type::INT8),
            Some(9_007_199_254_740_993_i64.to_be_bytes().to_vec())
        );
        assert_eq!(number("0.1", &Type::FLOAT8), Some(0.1_f64.to_be_bytes().to_vec()));
        assert_eq!(number("1e400", &Type::FLOAT8), None);
        assert_eq!(number("1.5", &Type::INT8), None);
        assert_eq!(number("40000", &Type::INT2), None);
        assert_eq!(number("1", &Type::TEXT), None);
        for no_number in ["", "-", "1.", ".5", "+1", "0x10", "NaN", "1e", "1 ", "'1'"] {
            assert_eq!(number(no_number, &Type::NUMERIC), None, "{no_number}");
        }
    }

    #[test]
    fn times_count_from_the_databases_epoch() {
        let second = Value::Timestamp(POSTGRES_EPOCH_MS + 1000);
        assert_eq!(fits(second, &Type::TIMESTAMPTZ), Some(1_000_000_i64.to_be_bytes().to_vec()));
        let before = Value::Timestamp(POSTGRES_EPOCH_MS - 1);
        assert_eq!(fits(before.clone(), &Type::TIMESTAMP), Some((-1000_i64).to_be_bytes().to_vec()));
        assert_eq!(fits(before, &Type::DATE), Some((-1_i32).to_be_bytes().to_vec()));
        assert_eq!(fits(Value::Timestamp(i64::MIN), &Type::TIMESTAMP), None);
    }

    #[test]
    fn what_does_not_fit_names_the_column_and_its_type() {
        let error = Parameter::new(&Value::Int(40_000), "amount", &Type::INT2).unwrap_err().to_string();
        assert!(
            error.contains("int 40000") && error.contains("`amount`") && error.contains("int2"),
            "{error}"
        );
        assert_eq!(fits(Value::Text("7".into()), &Type::INT4), None);
        assert_eq!(fits(Value::Text("no uuid".into()), &Type::UUID), None);
        assert_eq!(fits(Value::Float(0.5), &Type::INT8), None);
        assert_eq!(fits(Value::Boolean(true), &Type::TEXT), None);
        assert_eq!(fits(Value::Bytes(vec![]), &Type::TEXT), None);
        // What a text says is a secret of the record's.
        let error = Parameter::new(&Value::Text("hunter2".into()), "n", &Type::INT4).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
