//! `postgres`: rows into databases that were granted by name. The driver is behind [`Database`].

use std::sync::Arc;

use futures::future::BoxFuture;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::run::State;

/// One column's value.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift)]
#[component(variant)]
pub enum Value {
    #[component(name = "null")]
    Null,
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "int")]
    Int(i64),
    #[component(name = "float")]
    Float(f64),
    /// A number as JSON writes it, which is not checked here.
    #[component(name = "number")]
    Number(String),
    #[component(name = "text")]
    Text(String),
    /// JSON text.
    #[component(name = "json")]
    Json(String),
    #[component(name = "bytes")]
    Bytes(Vec<u8>),
    /// Milliseconds since the Unix epoch.
    #[component(name = "timestamp")]
    Timestamp(i64),
}

/// Why rows were not written, as the guest is told.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower, thiserror::Error)]
#[component(variant)]
pub enum DatabaseError {
    /// The database cannot be reached, or asks to try again.
    #[component(name = "unavailable")]
    #[error("{0}")]
    Unavailable(String),
    /// The database refuses what the rows hold; repeating it will not help.
    #[component(name = "refused")]
    #[error("{0}")]
    Refused(String),
    /// The database refuses whatever the rows hold: the login, the table, the permission is not there.
    #[component(name = "target")]
    #[error("{0}")]
    Target(String),
}

/// Rows to be inserted, all or none; those whose key columns are there already are overwritten.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    pub table: String,
    pub columns: Vec<String>,
    /// Without key columns rows are only inserted.
    pub key: Vec<String>,
    /// As many values each as there are columns.
    pub rows: Vec<Vec<Value>>,
}

/// One granted database. Implemented outside this crate; names of tables and columns come from the guest.
pub trait Database: Send + Sync + 'static {
    /// Writes the rows and returns how many were written.
    fn upsert(&self, upsert: Upsert) -> BoxFuture<'_, Result<u64, DatabaseError>>;
}

type Params = (String, String, Vec<String>, Vec<String>, Vec<Vec<Value>>);
type Outcome = (Result<u64, DatabaseError>,);

pub(super) fn link(linker: &mut Linker<State>, name: &str) -> wasmtime::Result<()> {
    linker.instance(name)?.func_wrap_async("upsert", |store, params| Box::new(upsert(store, params)))
}

async fn upsert(store: StoreContextMut<'_, State>, params: Params) -> wasmtime::Result<Outcome> {
    let (database, table, columns, key, rows) = params;
    let granted = store.data().deployment.grants().postgres.get(&database).map(Arc::clone);
    let Some(granted) = granted else {
        let reason = format!("the database `{database}` is not granted to this deployment");
        return Ok((Err(DatabaseError::Target(reason)),));
    };
    if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
        let reason = format!("a row has {} values for {} columns", row.len(), columns.len());
        return Ok((Err(DatabaseError::Refused(reason)),));
    }
    Ok((granted.upsert(Upsert { table, columns, key, rows }).await,))
}
