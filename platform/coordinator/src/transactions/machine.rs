//! Transactions as a machine: of each transactional id what became of it last.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::format::{decode_key, decode_value, encode_key, encode_value};
use super::transaction::Transaction;
use crate::state_log::{Machine, StateRecord};

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
}

impl Transactions {
    pub fn find(&self, transactional_id: &str) -> Option<&Transaction> {
        self.by_id.get(transactional_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Transaction)> {
        self.by_id.iter()
    }
}

/// The record that makes `transaction` the last of the id; `None` forgets the id.
pub(super) fn record(transactional_id: &str, transaction: Option<&Transaction>) -> StateRecord {
    StateRecord { key: encode_key(transactional_id), value: transaction.map(encode_value) }
}

impl Machine for Transactions {
    type Change = (String, Option<Transaction>);
    type Cursor = String;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self::Change> {
        let id = decode_key(key)?;
        match value {
            Some(value) => Some((id, Some(decode_value(value)?))),
            None => Some((id, None)),
        }
    }

    fn apply(&mut self, (id, transaction): &Self::Change) {
        match transaction {
            Some(transaction) => self.by_id.insert(id.clone(), transaction.clone()),
            None => self.by_id.remove(id),
        };
    }

    fn next_record(&self, after: Option<&String>) -> Option<(String, StateRecord)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (id, transaction) = self.by_id.range::<String, _>((from, Bound::Unbounded)).next()?;
        Some((id.clone(), record(id, Some(transaction))))
    }
}
