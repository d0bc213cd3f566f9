//! What becomes of a transactional id at each request: values in, values out (KIP-98, KIP-360, KIP-890).
//!
//! A rule is asked with what is known of the id and gives what is to be known from then on, or why the request is
//! refused. Nothing is answered before that is on all in-sync replicas, so that what a rule finds decided stays so.

use millrace_protocol::batch::TransactionResult;

use super::error::TransactionError;
use super::transaction::{
    EPOCH_EACH, EPOCH_MAX, NO_PRODUCER_ID, NO_TIME_MS, ProducerEpoch, Transaction, TransactionPartitions,
    TransactionState,
};

/// What a rule has decided: what is written, if anything, and what the asker is told then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision<R> {
    pub write: Option<Transaction>,
    pub reply: R,
}

impl<R> Decision<R> {
    const fn nothing(reply: R) -> Self {
        Self { write: None, reply }
    }

    const fn write(transaction: Transaction, reply: R) -> Self {
        Self { write: Some(transaction), reply }
    }
}

/// What a producer that begins anew is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initialized {
    As(ProducerEpoch),
    /// Its last transaction is to be aborted first; it asks again.
    Aborting,
    /// A producer id that nobody has is needed for it.
    NeedsProducerId,
}

/// What a producer that ends its transaction is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndDecided {
    /// How it goes on.
    As(ProducerEpoch),
    NeedsProducerId,
}

/// InitProducerId. `expected` is what a producer that goes on after an error takes itself for; `fresh_id` a producer id
/// that nobody has, once it was found to be needed.
pub(super) fn init(
    known: Option<&Transaction>,
    timeout_ms: i32,
    expected: Option<ProducerEpoch>,
    fresh_id: Option<i64>,
    now_ms: i64,
) -> Result<Decision<Initialized>, TransactionError> {
    let Some(known) = known else {
        let Some(id) = fresh_id else { return Ok(Decision::nothing(Initialized::NeedsProducerId)) };
        let new = Transaction::new(id, timeout_ms, now_ms);
        return Ok(Decision::write(new.clone(), Initialized::As(new.producer)));
    };
    let is_this = |expected: ProducerEpoch| {
        expected.id == known.producer.id
            || expected.id == known.previous_producer_id && expected.epoch >= EPOCH_MAX
    };
    if !expected.is_none_or(is_this) {
        return Err(TransactionError::ProducerFenced);
    }
    match known.state {
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
            Err(TransactionError::ConcurrentTransactions)
        }
        TransactionState::Ongoing => {
            if expected.is_some_and(|expected| expected.epoch != known.producer.epoch) {
                return Err(TransactionError::ProducerFenced);
            }
            Ok(Decision::write(fenced(known, now_ms), Initialized::Aborting))
        }
        TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
            if expected.is_some_and(|expected| expected.epoch != known.producer.epoch) {
                return Err(TransactionError::ProducerFenced);
            }
            let mut next = Transaction {
                state: TransactionState::Empty,
                partitions: TransactionPartitions::new(),
                timeout_ms,
                updated_ms: now_ms,
                started_ms: NO_TIME_MS,
                next_producer_id: NO_PRODUCER_ID,
                ..known.clone()
            };
            if known.is_exhausted() {
                let Some(id) = fresh_id else { return Ok(Decision::nothing(Initialized::NeedsProducerId)) };
                next.previous_producer_id = known.producer.id;
                next.producer = ProducerEpoch { id, epoch: 0 };
            } else {
                next.producer.epoch += 1;
            }
            let producer = next.producer;
            Ok(Decision::write(next, Initialized::As(producer)))
        }
    }
}

/// AddPartitionsToTxn and AddOffsetsToTxn, by a client of this transaction version.
pub(super) fn add(
    known: Option<&Transaction>,
    producer: ProducerEpoch,
    partitions: &TransactionPartitions,
    client_version: i16,
    now_ms: i64,
) -> Result<Decision<()>, TransactionError> {
    let known = of_producer(known, producer)?;
    if known.state.is_prepared() {
        return Err(TransactionError::ConcurrentTransactions);
    }
    let is_ongoing = known.state == TransactionState::Ongoing;
    if is_ongoing && contains(known, partitions) {
        return Ok(Decision::nothing(()));
    }
    let mut next = Transaction {
        state: TransactionState::Ongoing,
        updated_ms: now_ms,
        client_version,
        previous_producer_id: known.previous_producer_id,
        ..known.clone()
    };
    if !is_ongoing {
        next.partitions.clear();
        next.started_ms = now_ms;
    }
    for (topic, numbers) in partitions {
        next.partitions.entry(topic.clone()).or_default().extend(numbers);
    }
    Ok(Decision::write(next, ()))
}

/// Whether the producer's open transaction has the partition: what a broker asks before it takes records of one.
pub(super) fn verify(
    known: Option<&Transaction>,
    producer: ProducerEpoch,
    partitions: &TransactionPartitions,
) -> Result<(), TransactionError> {
    let known = of_producer(known, producer)?;
    if known.state.is_prepared() {
        return Err(TransactionError::ConcurrentTransactions);
    }
    if known.state == TransactionState::Ongoing && contains(known, partitions) {
        Ok(())
    } else {
        Err(TransactionError::InvalidTxnState)
    }
}

/// EndTxn, by a client of this transaction version.
pub(super) fn end(
    known: Option<&Transaction>,
    producer: ProducerEpoch,
    result: TransactionResult,
    client_version: i16,
    fresh_id: Option<i64>,
    now_ms: i64,
) -> Result<Decision<EndDecided>, TransactionError> {
    use TransactionState::*;
    let known = known.ok_or(TransactionError::InvalidProducerIdMapping)?;
    let has_epoch_each = client_version >= EPOCH_EACH;
    let is_repeated = has_epoch_each && is_repeated(known, producer);
    if !is_repeated {
        of_producer(Some(known), producer)?;
    }
    let committed = result == TransactionResult::Commit;
    let (prepared, completed) =
        if committed { (PrepareCommit, CompleteCommit) } else { (PrepareAbort, CompleteAbort) };
    match known.state {
        Ongoing if !is_repeated => {}
        // An abort before any partition was added: the producer gets a new epoch all the same.
        Empty | CompleteCommit | CompleteAbort if has_epoch_each && !committed && !is_repeated => {}
        state if state == completed && (is_repeated || !has_epoch_each) => {
            return Ok(Decision::nothing(EndDecided::As(known.producer)));
        }
        state if state == prepared => return Err(TransactionError::ConcurrentTransactions),
        _ => return Err(TransactionError::InvalidTxnState),
    }
    let mut next = Transaction { state: prepared, updated_ms: now_ms, client_version, ..known.clone() };
    if known.state != Ongoing {
        next.partitions.clear();
        next.started_ms = now_ms;
    }
    let mut told = known.producer;
    if has_epoch_each {
        if known.is_exhausted() {
            let Some(id) = fresh_id else { return Ok(Decision::nothing(EndDecided::NeedsProducerId)) };
            next.next_producer_id = id;
            told = ProducerEpoch { id, epoch: 0 };
        } else {
            told.epoch += 1;
        }
        next.producer.epoch = known.producer.epoch.saturating_add(1);
    }
    Ok(Decision::write(next, EndDecided::As(told)))
}

/// The transaction aborted for its producer, which is fenced.
pub(super) fn fenced(known: &Transaction, now_ms: i64) -> Transaction {
    // Where each transaction has an epoch of its own, the next one is the producer's if it has asked for the end and has
    // not been told: it is skipped.
    let skipped = if known.client_version >= EPOCH_EACH { 2 } else { 1 };
    let mut next = Transaction { state: TransactionState::PrepareAbort, updated_ms: now_ms, ..known.clone() };
    next.producer.epoch = known.producer.epoch.saturating_add(skipped);
    next
}

/// Whether there is nothing to be ended.
pub(super) const fn is_at_rest(known: &Transaction) -> bool {
    matches!(
        known.state,
        TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort
    )
}

/// All partitions have the marker of the transaction that was prepared as `known` says.
pub(super) fn complete(known: &Transaction, now_ms: i64) -> Option<Transaction> {
    let state = match known.state {
        TransactionState::PrepareCommit => TransactionState::CompleteCommit,
        TransactionState::PrepareAbort => TransactionState::CompleteAbort,
        _ => return None,
    };
    let mut next = Transaction {
        state,
        partitions: TransactionPartitions::new(),
        updated_ms: now_ms,
        next_producer_id: NO_PRODUCER_ID,
        ..known.clone()
    };
    if known.next_producer_id != NO_PRODUCER_ID {
        next.previous_producer_id = known.producer.id;
        next.producer = ProducerEpoch { id: known.next_producer_id, epoch: 0 };
    }
    Some(next)
}

/// Whether the end of a transaction is asked for once more by a producer that was not told of its next epoch.
fn is_repeated(known: &Transaction, producer: ProducerEpoch) -> bool {
    let was_told = producer.id == known.producer.id && producer.epoch == known.producer.epoch - 1;
    let has_turned =
        producer.id == known.previous_producer_id && producer.epoch >= EPOCH_MAX && known.producer.epoch == 0;
    was_told || has_turned
}

fn of_producer(
    known: Option<&Transaction>,
    producer: ProducerEpoch,
) -> Result<&Transaction, TransactionError> {
    let known = known.filter(|known| known.producer.id == producer.id);
    let known = known.ok_or(TransactionError::InvalidProducerIdMapping)?;
    if known.producer.epoch == producer.epoch { Ok(known) } else { Err(TransactionError::ProducerFenced) }
}

fn contains(known: &Transaction, partitions: &TransactionPartitions) -> bool {
    partitions
        .iter()
        .all(|(topic, numbers)| known.partitions.get(topic).is_some_and(|known| numbers.is_subset(known)))
}

#[cfg(test)]
mod tests;
