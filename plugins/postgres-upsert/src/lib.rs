//! A sink that keeps a PostgreSQL table up to date: a row per record, overwritten by key.
//!
//! | setting | meaning |
//! |---|---|
//! | `database` | the database's name in the deployment's grants; `default` if absent |
//! | `table` | the table, with its schema if it needs one |
//! | `columns` | the columns: `name:type` or `name:type=source`, separated by commas |
//! | `key` | the columns by which rows are recognised, separated by commas; none: rows are only inserted |
//! | `tombstones` | `skip`, the default, or `fail` |
//!
//! Types are `text`, `int`, `float`, `boolean`, `json` and `timestamp` (milliseconds since the Unix epoch). An `int`
//! may have any number of digits, and of a `float` a column of type `numeric` gets every digit. A source is a field of the record's JSON value, with dots for fields of fields (`customer.id`), by default the
//! column's name; or `@key`, `@value`, `@offset`, `@timestamp`, or `@header.<name>`. What is absent is null.
//!
//! ```text
//! columns = order_id:text, customer:text=customer_id, total:int=@header.order-total-cents, raw:json=@value
//! key     = order_id
//! ```
//!
//! A batch is one transaction. Where it has a key twice the later record counts, as it would row by row.

mod column;

use std::collections::HashMap;

use millrace_plugin::postgres::{Upsert, Value, upsert};
use millrace_plugin::{Batch, Context, DeliveryError, Error, Record, Result, Sink};

use serde_json::value::RawValue;

use column::{Column, Fields};

/// The table and how its rows are made.
#[derive(Debug)]
pub struct PostgresUpsert {
    database: String,
    table: String,
    columns: Vec<Column>,
    /// The key's columns by their index.
    key: Vec<usize>,
    skip_tombstones: bool,
}

#[millrace_plugin::sink]
impl Sink for PostgresUpsert {
    fn start(context: &Context) -> Result<Self> {
        let columns = list(context.require("columns")?).map(Column::parse).collect::<Result<Vec<_>>>()?;
        let index = |name: &str| {
            let index = columns.iter().position(|column| column.name == name);
            index.ok_or_else(|| Error::new(format!("the setting `key` names `{name}`, which is no column")))
        };
        let key = list(context.get("key").unwrap_or_default()).map(index).collect::<Result<_>>()?;
        let skip_tombstones = match context.get("tombstones").unwrap_or("skip") {
            "skip" => true,
            "fail" => false,
            other => {
                let message = format!("the setting `tombstones` is `{other}`; expected `skip` or `fail`");
                return Err(Error::new(message));
            }
        };
        Ok(Self {
            database: context.get("database").unwrap_or("default").to_owned(),
            table: context.require("table")?.to_owned(),
            columns,
            key,
            skip_tombstones,
        })
    }

    fn deliver(&mut self, batch: &Batch<'_>, _: &str) -> Result<(), DeliveryError> {
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(batch.len());
        // A statement cannot write a row twice, so the last record of a key takes the first one's place.
        let mut places: HashMap<String, usize> = HashMap::new();
        for record in batch {
            let row = self.row(&record).map_err(|error| {
                DeliveryError::record(format!("record at offset {}: {error}", record.offset()))
            })?;
            let Some(row) = row else { continue };
            if self.key.is_empty() {
                rows.push(row);
                continue;
            }
            let place = *places.entry(self.identity(&row)).or_insert(rows.len());
            match rows.get_mut(place) {
                Some(earlier) => *earlier = row,
                None => rows.push(row),
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let name = |column: &Column| column.name.clone();
        upsert(Upsert {
            database: self.database.clone(),
            table: self.table.clone(),
            columns: self.columns.iter().map(name).collect(),
            key: self.key.iter().map(|index| name(&self.columns[*index])).collect(),
            rows,
        })?;
        Ok(())
    }
}

impl PostgresUpsert {
    fn row(&self, record: &Record<'_>) -> Result<Option<Vec<Value>>> {
        if record.value().is_none() {
            return if self.skip_tombstones { Ok(None) } else { Err(Error::new("it is a tombstone")) };
        }
        let fields = if self.columns.iter().any(Column::reads_fields) {
            // Of a value that is no object, no field is there.
            let json: &RawValue = serde_json::from_slice(record.value().unwrap_or_default())?;
            if json.get().starts_with('{') { serde_json::from_str(json.get())? } else { Fields::new() }
        } else {
            Fields::new()
        };
        self.columns.iter().map(|column| column.value(record, &fields)).collect::<Result<_>>().map(Some)
    }

    /// What rows with the same key have in common.
    fn identity(&self, row: &[Value]) -> String {
        self.key.iter().map(|index| format!("{:?}\0", row[*index])).collect()
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests;
