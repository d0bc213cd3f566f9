//! What each rule writes and answers, exactly.

use std::collections::BTreeSet;

use TransactionResult::{Abort, Commit};
use TransactionState::*;

use super::*;

const NOW_MS: i64 = 5_000;

fn of(id: i64, epoch: i16) -> ProducerEpoch {
    ProducerEpoch { id, epoch }
}

fn partitions(numbers: &[i32]) -> TransactionPartitions {
    [("t".to_owned(), BTreeSet::from_iter(numbers.iter().copied()))].into()
}

/// Of producer 7 in epoch 3, last changed at 1000.
fn known(state: TransactionState, client_version: i16) -> Transaction {
    let is_open = state == Ongoing || state.is_prepared();
    Transaction {
        producer: of(7, 3),
        state,
        partitions: if is_open { partitions(&[0]) } else { TransactionPartitions::new() },
        started_ms: if state == Empty { -1 } else { 900 },
        client_version,
        ..Transaction::new(7, 60_000, 1_000)
    }
}

#[test]
fn a_new_id_gets_a_producer_id_and_the_next_producer_the_next_epoch() {
    let asks = init(None, 60_000, None, None, NOW_MS).unwrap();
    assert_eq!(asks, Decision { write: None, reply: Initialized::NeedsProducerId });
    let new = init(None, 60_000, None, Some(9), NOW_MS).unwrap();
    let written = Transaction::new(9, 60_000, NOW_MS);
    assert_eq!(new, Decision { write: Some(written), reply: Initialized::As(of(9, 0)) });

    for state in [Empty, CompleteCommit, CompleteAbort] {
        let next = init(Some(&known(state, 2)), 10_000, None, None, NOW_MS).unwrap();
        let written =
            Transaction { producer: of(7, 4), timeout_ms: 10_000, updated_ms: NOW_MS, ..known(Empty, 2) };
        assert_eq!(next, Decision { write: Some(written), reply: Initialized::As(of(7, 4)) });
    }
}

#[test]
fn a_producer_that_goes_on_has_to_be_the_last_one() {
    let asked = |expected| init(Some(&known(Empty, 0)), 10_000, Some(expected), None, NOW_MS);
    assert_eq!(asked(of(7, 3)).unwrap().reply, Initialized::As(of(7, 4)));
    for other in [of(7, 2), of(7, 4), of(8, 3)] {
        assert_eq!(asked(other), Err(TransactionError::ProducerFenced));
    }
}

#[test]
fn what_is_open_is_aborted_first_in_an_epoch_that_nobody_has() {
    for (version, epoch) in [(0, 4), (2, 5)] {
        let first = init(Some(&known(Ongoing, version)), 10_000, None, None, NOW_MS).unwrap();
        let written = Transaction {
            producer: of(7, epoch),
            state: PrepareAbort,
            updated_ms: NOW_MS,
            ..known(Ongoing, version)
        };
        assert_eq!(first, Decision { write: Some(written), reply: Initialized::Aborting });
    }
    for state in [PrepareCommit, PrepareAbort] {
        let refused = init(Some(&known(state, 2)), 10_000, None, None, NOW_MS);
        assert_eq!(refused, Err(TransactionError::ConcurrentTransactions));
    }
}

#[test]
fn a_producer_id_whose_epochs_are_used_up_gives_way_to_another() {
    let last = Transaction { producer: of(7, EPOCH_MAX), ..known(CompleteCommit, 2) };
    let asks = init(Some(&last), 10_000, None, None, NOW_MS).unwrap();
    assert_eq!(asks, Decision { write: None, reply: Initialized::NeedsProducerId });
    let turned = init(Some(&last), 10_000, None, Some(9), NOW_MS).unwrap();
    assert_eq!(turned.reply, Initialized::As(of(9, 0)));
    assert_eq!(turned.write.unwrap().previous_producer_id, 7);

    // A transaction's end hands out the next id, too; its markers have the last epoch.
    let open = Transaction { producer: of(7, EPOCH_MAX), ..known(Ongoing, 2) };
    let ended = end(Some(&open), of(7, EPOCH_MAX), Commit, 2, Some(9), NOW_MS).unwrap();
    assert_eq!(ended.reply, EndDecided::As(of(9, 0)));
    let prepared = ended.write.unwrap();
    assert_eq!((prepared.producer, prepared.next_producer_id), (of(7, i16::MAX), 9));
    let done = complete(&prepared, NOW_MS).unwrap();
    assert_eq!((done.producer, done.previous_producer_id, done.next_producer_id), (of(9, 0), 7, -1));
    let again = end(Some(&done), of(7, EPOCH_MAX), Commit, 2, None, NOW_MS).unwrap();
    assert_eq!(again, Decision { write: None, reply: EndDecided::As(of(9, 0)) });
}

#[test]
fn partitions_begin_a_transaction_and_are_written_once() {
    for state in [Empty, CompleteCommit, CompleteAbort] {
        let begun = add(Some(&known(state, 0)), of(7, 3), &partitions(&[1]), 2, NOW_MS).unwrap();
        let written = Transaction {
            state: Ongoing,
            partitions: partitions(&[1]),
            started_ms: NOW_MS,
            updated_ms: NOW_MS,
            ..known(state, 2)
        };
        assert_eq!(begun.write, Some(written));
    }
    let open = known(Ongoing, 2);
    let more = add(Some(&open), of(7, 3), &partitions(&[1]), 2, NOW_MS).unwrap().write.unwrap();
    assert_eq!((more.partitions, more.started_ms), (partitions(&[0, 1]), 900));
    assert_eq!(add(Some(&open), of(7, 3), &partitions(&[0]), 2, NOW_MS).unwrap().write, None);
    for state in [PrepareCommit, PrepareAbort] {
        let refused = add(Some(&known(state, 2)), of(7, 3), &partitions(&[0]), 2, NOW_MS);
        assert_eq!(refused, Err(TransactionError::ConcurrentTransactions));
    }
}

#[test]
fn only_the_producer_that_has_the_id_is_heard() {
    let open = known(Ongoing, 2);
    for (known, producer, error) in [
        (None, of(7, 3), TransactionError::InvalidProducerIdMapping),
        (Some(&open), of(8, 3), TransactionError::InvalidProducerIdMapping),
        (Some(&open), of(7, 4), TransactionError::ProducerFenced),
        (Some(&open), of(7, 1), TransactionError::ProducerFenced),
    ] {
        assert_eq!(add(known, producer, &partitions(&[0]), 2, NOW_MS), Err(error.clone()));
        assert_eq!(verify(known, producer, &partitions(&[0])), Err(error.clone()));
        for version in [0, 2] {
            assert_eq!(end(known, producer, Commit, version, None, NOW_MS), Err(error.clone()));
        }
    }
}

#[test]
fn a_broker_takes_records_of_partitions_that_were_added_only() {
    let open = known(Ongoing, 0);
    assert_eq!(verify(Some(&open), of(7, 3), &partitions(&[0])), Ok(()));
    assert_eq!(verify(Some(&open), of(7, 3), &partitions(&[1])), Err(TransactionError::InvalidTxnState));
    let ended = known(CompleteCommit, 0);
    assert_eq!(verify(Some(&ended), of(7, 3), &partitions(&[0])), Err(TransactionError::InvalidTxnState));
}

#[test]
fn an_end_is_decided_once_and_each_transaction_may_have_its_epoch() {
    for (version, epoch) in [(0, 3), (2, 4)] {
        for (result, prepared, completed) in
            [(Commit, PrepareCommit, CompleteCommit), (Abort, PrepareAbort, CompleteAbort)]
        {
            let open = known(Ongoing, version);
            let ended = end(Some(&open), of(7, 3), result, version, None, NOW_MS).unwrap();
            let written = Transaction { producer: of(7, epoch), state: prepared, updated_ms: NOW_MS, ..open };
            assert_eq!(ended, Decision { write: Some(written.clone()), reply: EndDecided::As(of(7, epoch)) });
            // Asked again before and after it is done.
            let again = end(Some(&written), of(7, 3), result, version, None, NOW_MS);
            assert_eq!(again, Err(TransactionError::ConcurrentTransactions));
            let done = complete(&written, 6_000).unwrap();
            assert_eq!((done.state, done.updated_ms, done.producer), (completed, 6_000, of(7, epoch)));
            assert!(done.partitions.is_empty());
            let again = end(Some(&done), of(7, 3), result, version, None, NOW_MS).unwrap();
            assert_eq!(again, Decision { write: None, reply: EndDecided::As(of(7, epoch)) });
            let other = if result == Commit { Abort } else { Commit };
            for at in [&written, &done] {
                let refused = end(Some(at), of(7, 3), other, version, None, NOW_MS);
                assert_eq!(refused, Err(TransactionError::InvalidTxnState));
            }
        }
    }
    assert_eq!(complete(&known(Ongoing, 2), NOW_MS), None);
}

#[test]
fn what_has_not_begun_may_be_aborted_by_who_has_an_epoch_each() {
    for state in [Empty, CompleteCommit, CompleteAbort] {
        let ended = end(Some(&known(state, 2)), of(7, 3), Abort, 2, None, NOW_MS).unwrap();
        assert_eq!(ended.reply, EndDecided::As(of(7, 4)));
        let written = ended.write.unwrap();
        assert_eq!((written.state, written.partitions.len()), (PrepareAbort, 0));
        let refused = end(Some(&known(state, 2)), of(7, 3), Commit, 2, None, NOW_MS);
        assert_eq!(refused, Err(TransactionError::InvalidTxnState));
    }
    for result in [Abort, Commit] {
        let refused = end(Some(&known(Empty, 0)), of(7, 3), result, 0, None, NOW_MS);
        assert_eq!(refused, Err(TransactionError::InvalidTxnState));
    }
}
