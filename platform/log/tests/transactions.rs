//! Transactions in a log: markers, who may write what, how far readers of committed records come, and what was aborted.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use millrace_base::{LeaderEpoch, Offset, ProducerId};
use millrace_log::{Aborted, AppendError, AppendOrigin, EngineStep, LogOptions, PartitionLog, Threading};
use millrace_protocol::batch::{Batch, ProducerState, TransactionMarker, TransactionResult};
use millrace_protocol::compression::Codec;
use support::*;

fn within(id: i64, epoch: i16, sequence: i32) -> Batch {
    batch_of(&[b"within"], NOW_MS, ProducerState { transactional: true, ..producer(id, epoch, sequence) })
}

fn marker(producer_id: i64, producer_epoch: i16, result: TransactionResult) -> TransactionMarker {
    TransactionMarker { producer_id, producer_epoch, coordinator_epoch: 3, result }
}

fn end(log: &PartitionLog, marker: TransactionMarker) -> Result<Offset, AppendError> {
    log.append_marker(marker, LeaderEpoch(0)).map(|appended| appended.base_offset)
}

fn aborted(producer_id: i64, first_offset: Offset, last_offset: Offset) -> Aborted {
    Aborted { producer_id, first_offset, last_offset }
}

#[test]
fn readers_of_committed_records_stop_where_the_end_of_a_transaction_may_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    append(&log, within(1, 0, 0)).unwrap();
    append(&log, within(2, 0, 0)).unwrap();
    assert_eq!(end(&log, marker(1, 0, TransactionResult::Commit)), Ok(2));
    log.set_high_watermark(2);
    assert_eq!(log.last_stable_offset(), 0, "the marker is not replicated");
    log.set_high_watermark(3);
    assert_eq!(log.last_stable_offset(), 1, "the other one is open");
    assert_eq!(end(&log, marker(2, 0, TransactionResult::Abort)), Ok(3));
    settle(&log);
    assert_eq!(log.last_stable_offset(), 4);
    assert_eq!(log.aborted_in_memory(0, 4), Some(vec![aborted(2, 1, 3)]));
    assert_eq!(log.aborted_in_memory(0, 1), Some(vec![]), "it begins behind that");
    let producers = log.active_producers();
    let ended = producers.iter().map(|of| (of.coordinator_epoch, of.current_transaction_start_offset));
    assert_eq!(ended.collect::<Vec<_>>(), [(3, -1), (3, -1)]);
}

#[test]
fn markers_fence_producers_and_coordinators_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    append(&log, within(1, 4, 0)).unwrap();
    let fenced =
        |epoch, current| AppendError::InvalidProducerEpoch { producer_id: ProducerId(1), epoch, current };
    assert_eq!(end(&log, marker(1, 3, TransactionResult::Abort)), Err(fenced(3, 4)));
    assert_eq!(end(&log, marker(1, 5, TransactionResult::Commit)), Ok(1));
    assert_eq!(append(&log, within(1, 4, 1)), Err(fenced(4, 5)), "it comes too late");
    append(&log, within(1, 5, 0)).unwrap();
    let earlier = TransactionMarker { coordinator_epoch: 2, ..marker(1, 5, TransactionResult::Abort) };
    assert_eq!(end(&log, earlier), Err(AppendError::CoordinatorFenced { epoch: 2, current: 3 }));
}

#[test]
fn who_was_verified_before_the_end_of_a_transaction_begins_none_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    let verified = |batch: Batch, at| log.append(&[batch], LeaderEpoch(0), AppendOrigin::Verified(at));
    let before = log.last_marker(ProducerId(1));
    assert_eq!(before, -1);
    verified(within(1, 0, 0), before).unwrap();
    assert_eq!(end(&log, marker(1, 0, TransactionResult::Commit)), Ok(1));
    assert_eq!(verified(within(1, 0, 1), before), Err(AppendError::Unverified(ProducerId(1))));
    let after = log.last_marker(ProducerId(1));
    assert_eq!(after, 1);
    verified(within(1, 0, 1), after).unwrap();
    verified(within(1, 0, 2), before).unwrap();
    assert_eq!(log.log_end_offset(), 4);
}

#[test]
fn what_was_aborted_in_closed_segments_is_found_with_and_without_their_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(400, &[])).unwrap();
    let mut expected = Vec::new();
    for round in 0..12i32 {
        let first = log.log_end_offset();
        append(&log, within(1, 0, round)).unwrap();
        append(&log, within(2, 0, round)).unwrap();
        let last = end(&log, marker(1, 0, TransactionResult::Abort)).unwrap();
        end(&log, marker(2, 0, TransactionResult::Commit)).unwrap();
        expected.push(aborted(1, first, last));
    }
    settle(&log);
    let log_end = log.log_end_offset();
    assert_eq!(log.aborted_in_memory(0, log_end), Some(expected.clone()));
    manager.close().unwrap();
    let topics = dir.path().join("topics");
    let partition = std::fs::read_dir(&topics).unwrap().next().unwrap().unwrap().path();
    for remove in [false, true] {
        if remove {
            let files = std::fs::read_dir(&partition).unwrap().map(|entry| entry.unwrap().path());
            let snapshots = files.filter(|path| path.extension().is_some_and(|of| of == "snapshot"));
            assert!(snapshots.map(|path| std::fs::remove_file(path).unwrap()).count() > 5);
        }
        let (manager, _) = open(dir.path());
        let log = manager.partition(&tp(0)).unwrap();
        assert_eq!(log.aborted_in_memory(0, log_end), None, "they are on disk");
        assert_eq!(log.aborted_transactions(0, log_end).unwrap(), expected);
        assert_eq!(log.aborted_transactions(5, 9).unwrap(), expected[1..3]);
        assert_eq!(log.aborted_in_memory(0, log_end), Some(expected.clone()));
        manager.close().unwrap();
    }
}

/// What a reader of committed records shows, as Kafka's consumer finds it out.
fn committed(log: &PartitionLog) -> Vec<Vec<u8>> {
    let (mut next, up_to) = (log.log_start_offset(), log.last_stable_offset());
    let mut values = Vec::new();
    while next < up_to {
        let read = log.read(next, up_to, 1 << 20, true).unwrap();
        let mut to_come = log.aborted_transactions(next, read.next_offset).unwrap();
        to_come.sort_by_key(|aborted| aborted.first_offset);
        let mut skipped = std::collections::BTreeSet::new();
        next = read.next_offset;
        for batch in batches(read) {
            let header = &batch.header;
            let begun = to_come.partition_point(|aborted| aborted.first_offset <= header.last_offset());
            skipped.extend(to_come.drain(..begun).map(|aborted| aborted.producer_id));
            let records = batch.records(1 << 20).unwrap();
            if header.attributes.is_control() {
                let key = records.iter().next().and_then(|record| record.unwrap().key.map(<[u8]>::to_vec));
                if key == Some(vec![0, 0, 0, 0]) {
                    skipped.remove(&header.producer_id);
                }
            } else if !(header.attributes.is_transactional() && skipped.contains(&header.producer_id)) {
                values
                    .extend(records.iter().map(|record| record.unwrap().value.unwrap_or_default().to_vec()));
            }
        }
    }
    values
}

#[test]
fn compaction_takes_aborted_transactions_off_the_list_with_their_markers() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = || LogOptions { threading: Threading::Stepped, ..options() };
    let settings =
        [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), ("delete.retention.ms", "10")];
    let (manager, _) = open_with(dir.path(), options(), clock.clone());
    let log = manager.create(tp(0), segments_of(470, &settings)).unwrap();
    let put = |log: &PartitionLog, key: &[u8], value: &[u8], sequence: i32| {
        let producer = ProducerState { transactional: true, ..producer(1, 0, sequence) };
        append(log, keyed(&[(key, Some(value))], NOW_MS, Codec::None, producer)).unwrap()
    };
    put(&log, b"a", b"a first", 0);
    end(&log, marker(1, 0, TransactionResult::Commit)).unwrap();
    put(&log, b"a", b"a aborted", 1);
    put(&log, b"b", b"b aborted", 2);
    end(&log, marker(1, 0, TransactionResult::Abort)).unwrap();
    for number in 0..6 {
        // The first one is the only one of its key, in the segment of the marker.
        let key = if number == 0 { b"e" } else { b"c" };
        put(&log, key, format!("c {number}").as_bytes(), 3 + number);
        end(&log, marker(1, 0, TransactionResult::Commit)).unwrap();
    }
    let shows = |log: &PartitionLog| {
        let shown = committed(log);
        for value in ["a first", "c 0", "c 5"] {
            assert!(shown.iter().any(|shown| shown == value.as_bytes()), "{value}: {shown:?}");
        }
        assert!(!shown.iter().any(|value| value.ends_with(b"aborted")), "{shown:?}");
    };
    for round in 0..4 {
        while manager.step(EngineStep::Wal) | manager.step(EngineStep::Direct) {}
        log.set_high_watermark(log.durable_end_offset());
        manager.step(EngineStep::Checkpoint);
        manager.step(EngineStep::Compact);
        clock.advance_ms(1000);
        shows(&log);
        // Something to compact, so that another run goes through all.
        put(&log, b"d", &[b'x'; 150], 9 + round);
        end(&log, marker(1, 0, TransactionResult::Commit)).unwrap();
    }
    assert_eq!(log.aborted_transactions(0, log.last_stable_offset()).unwrap(), []);
    manager.close().unwrap();
    drop((log, manager));
    let (manager, _) = open_with(dir.path(), options(), clock);
    let log = manager.create(tp(0), segments_of(470, &settings)).unwrap();
    log.set_high_watermark(log.durable_end_offset());
    shows(&log);
}

#[test]
fn who_has_a_transaction_open_sends_nothing_outside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    append(&log, within(1, 0, 0)).unwrap();
    let plain = batch_of(&[b"plain"], NOW_MS, producer(1, 0, 1));
    let refused = append(&log, plain.clone()).unwrap_err();
    assert_eq!(refused, AppendError::TransactionOpen(ProducerId(1)));
    end(&log, marker(1, 0, TransactionResult::Commit)).unwrap();
    append(&log, plain).unwrap();
}
