//! Tables of PostgreSQL databases that the operator granted by name. For sinks.

use crate::error::DeliveryError;

/// A column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's null.
    Null,
    /// For `boolean`.
    Boolean(bool),
    /// For `smallint`, `integer`, `bigint` and `numeric`.
    Int(i64),
    /// For `real`, `double precision` and `numeric`.
    Float(f64),
    /// A number as JSON writes it, such as `-12.50` or `1e9`: to the last digit for `numeric`, and for other types of
    /// numbers as near as they can be.
    Number(String),
    /// For `text` and what PostgreSQL reads from text.
    Text(String),
    /// JSON text, for `json` and `jsonb`.
    Json(String),
    /// For `bytea`.
    Bytes(Vec<u8>),
    /// Milliseconds since the Unix epoch, for `timestamptz`.
    Timestamp(i64),
}

/// Rows that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The database cannot be reached, or asks to try again.
    Unavailable(String),
    /// The database refuses what the rows hold; repeating it will not help.
    Refused(String),
    /// The database refuses whatever the rows hold: the login, the table, the permission is not there.
    Target(String),
}

impl From<Error> for DeliveryError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(message) => Self::retryable(message),
            Error::Refused(message) => Self::record(message),
            Error::Target(message) => Self::target(message),
        }
    }
}

/// Rows for one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// The database's name in the deployment's grants.
    pub database: String,
    /// The table, with its schema if it needs one: `public.orders`.
    pub table: String,
    /// The columns that the rows fill.
    pub columns: Vec<String>,
    /// The columns by which rows are recognised; none: rows are only inserted.
    pub key: Vec<String>,
    /// The rows, each with a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// Writes all rows or none, over those that have the same key. Returns how many were written.
pub fn upsert(upsert: Upsert) -> Result<u64, Error> {
    host::upsert(upsert)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Error, Upsert, Value};
    use crate::bindings::host_postgres as wit;

    pub(super) fn upsert(upsert: Upsert) -> Result<u64, Error> {
        let rows: Vec<Vec<wit::Value>> =
            upsert.rows.into_iter().map(|row| row.into_iter().map(to_host).collect()).collect();
        wit::upsert(&upsert.database, &upsert.table, &upsert.columns, &upsert.key, &rows).map_err(|error| {
            match error {
                wit::Error::Unavailable(message) => Error::Unavailable(message),
                wit::Error::Refused(message) => Error::Refused(message),
                wit::Error::Target(message) => Error::Target(message),
            }
        })
    }

    fn to_host(value: Value) -> wit::Value {
        match value {
            Value::Null => wit::Value::Null,
            Value::Boolean(value) => wit::Value::Boolean(value),
            Value::Int(value) => wit::Value::Int(value),
            Value::Float(value) => wit::Value::Float(value),
            Value::Number(value) => wit::Value::Number(value),
            Value::Text(value) => wit::Value::Text(value),
            Value::Json(value) => wit::Value::Json(value),
            Value::Bytes(value) => wit::Value::Bytes(value),
            Value::Timestamp(value) => wit::Value::Timestamp(value),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::postgres as host;
