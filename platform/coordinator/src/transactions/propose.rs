//! From what a rule decides to what is written.

use futures::future::BoxFuture;

use super::error::TransactionError;
use super::machine::{Transactions, record};
use super::rules::Decision;
use super::transaction::Transaction;
use crate::AppendFailure;
use crate::state_log::{Proposal, StateLog};

/// What a rule has decided, when it may be told.
type Decided<R> = BoxFuture<'static, Result<Result<R, TransactionError>, AppendFailure>>;

/// Writes what the rule decides.
pub(super) fn propose<R: Send + 'static>(
    log: &StateLog<Transactions>,
    id: &str,
    rule: impl FnOnce(Option<&Transaction>, i64) -> Result<Decision<R>, TransactionError>,
) -> Result<Decided<R>, AppendFailure> {
    log.propose(|transactions, now_ms| match rule(transactions.find(id), now_ms) {
        Ok(Decision { write, reply }) => {
            let records = write.iter().map(|transaction| record(id, Some(transaction))).collect();
            Proposal { records, reply: Ok(reply) }
        }
        Err(error) => Proposal { records: Vec::new(), reply: Err(error) },
    })
}
