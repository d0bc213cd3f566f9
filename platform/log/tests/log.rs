//! A partition's life on a real disk: appended, committed, read, trimmed, recovered.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millrace_base::{Clock, LeaderEpoch, ManualClock, SystemClock};
use millrace_disk::{Disk, RealDisk};
use millrace_log::{
    AppendError, AppendOrigin, EngineStep, LogManager, LogOptions, OpenError, ReadError, Threading,
};
use millrace_protocol::batch::{ProducerState, TimestampType};
use support::*;

fn value(number: usize, len: usize) -> Vec<u8> {
    let mut value = format!("{number:08}").into_bytes();
    value.resize(len.max(8), b'.');
    value
}

#[test]
fn what_was_appended_is_read_back_and_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let lens = [10, 5_000, 300_000, 60, 1_000_000, 4_096, 70_000, 8];
    let expected: Vec<_> =
        (0..400).map(|number| (number as i64, value(number, lens[number % lens.len()]))).collect();
    let (manager, report) = open(dir.path());
    assert!(report.clean);
    let log = manager.create(tp(0), segments_of(20000000, &[])).unwrap();
    let told = Arc::new(AtomicI64::new(0));
    let listener = Arc::clone(&told);
    log.on_durable(Arc::new(move |end| listener.store(end, Ordering::SeqCst)));
    for (offset, value) in &expected {
        let appended = append(&log, batch_of(&[value], NOW_MS, ProducerState::NONE)).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (*offset, *offset));
    }
    settle(&log);
    wait_until(|| told.load(Ordering::SeqCst) == 400);
    assert_eq!(records(&log, 0), expected);
    drop(log);
    drop(manager);

    let (manager, report) = open(dir.path());
    assert!(!report.clean);
    let log = manager.partition(&tp(0)).unwrap();
    assert_eq!(log.durable_end_offset(), 400);
    assert_eq!(records(&log, 0), expected);
    manager.create(tp(0), config(&[])).unwrap();
    assert_eq!(append(&log, batch(b"more")).unwrap().base_offset, 400);
    settle(&log);
    manager.close().unwrap();

    let (manager, report) = open(dir.path());
    assert!(report.clean);
    assert_eq!((report.scanned_bytes, report.wal_groups, report.partitions), (0, 0, 1));
    assert_eq!(records(&manager.partition(&tp(0)).unwrap(), 390).len(), 11);
}

#[test]
fn a_directory_has_one_owner_and_the_other_is_told_who() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let refused = LogManager::open(Arc::clone(&disk), dir.path(), options(), clock());
    let Err(OpenError::Locked { holder, .. }) = refused else { panic!("locked") };
    assert_eq!(holder, std::process::id().to_string());
    drop(manager);
    LogManager::open(disk, dir.path(), options(), clock()).unwrap();
}

#[test]
fn a_read_returns_whole_batches_within_its_bounds_from_memory_and_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(300000, &[])).unwrap();
    for number in 0..1000 {
        let (a, b) = (value(number, 400), value(number, 400));
        append(&log, batch_of(&[&a, &b], NOW_MS, ProducerState::NONE)).unwrap();
    }
    settle(&log);
    let size = batch_of(&[&value(0, 400), &value(0, 400)], NOW_MS, ProducerState::NONE).bytes.len();
    let check = |log: &millrace_log::PartitionLog| {
        let read = |from, up_to, max, one| {
            let read = log.read(from, up_to, max, one).unwrap();
            assert_eq!(read.payload.len() % size, 0);
            (read.first_offset, read.next_offset, read.payload.len() / size)
        };
        assert_eq!(read(0, 2000, 3 * size, false), (0, 6, 3));
        assert_eq!(read(7, 2000, 3 * size - 1, false), (6, 10, 2), "the batch that holds the offset");
        assert_eq!(read(7, 9, 9 * size, false), (6, 8, 1), "only batches that end by the bound");
        assert_eq!(read(7, 2000, 1, false), (7, 7, 0));
        assert_eq!(read(7, 2000, 1, true), (6, 8, 1));
        assert_eq!(read(2000, 2000, 100, true), (2000, 2000, 0));
        assert_eq!(read(100, 400, 250 * size, true).0, 100);
        let outside = log.read(2001, 3000, 100, true);
        assert!(matches!(outside, Err(ReadError::OutOfRange { start: 0, end: 2000, .. })), "{outside:?}");
    };
    check(&log);
    assert!(log.read_tail(0, 2000, 100, true).unwrap().is_some());
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    let log = manager.partition(&tp(0)).unwrap();
    assert!(log.read_tail(0, 2000, 100, true).unwrap().is_none(), "on disk only");
    check(&log);
}

#[test]
fn sequences_survive_a_kill_and_a_retry_is_answered_with_the_first_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    for sequence in 0..8 {
        append(&log, batch_of(&[b"x"], NOW_MS, producer(7, 0, sequence))).unwrap();
    }
    settle(&log);
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    let again = append(&log, batch_of(&[b"x"], NOW_MS, producer(7, 0, 5))).unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, 5);
    let gap = append(&log, batch_of(&[b"x"], NOW_MS, producer(7, 0, 9)));
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 8, .. })), "{gap:?}");
    assert_eq!(log.log_end_offset(), 8);
    assert_eq!(log.active_producers()[0].last_sequence, 7);
}

#[test]
fn appends_are_checked_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[("max.message.bytes", "1000")])).unwrap();
    log.set_leader_epoch(LeaderEpoch(5));
    let fenced = append(&log, batch(b"x"));
    assert!(matches!(fenced, Err(AppendError::Fenced { current: LeaderEpoch(5), .. })), "{fenced:?}");
    let lead = |batch| log.append(&[batch], LeaderEpoch(5), AppendOrigin::Producer);
    let large = lead(batch(&[0; 1000]));
    assert!(matches!(large, Err(AppendError::RecordTooLarge { max: 1000, .. })), "{large:?}");
    assert_eq!(log.append(&[], LeaderEpoch(5), AppendOrigin::Producer), Err(AppendError::Empty));
    let elsewhere = log.append(&[batch(b"x")], LeaderEpoch(6), AppendOrigin::Replica).unwrap();
    assert_eq!(elsewhere.base_offset, 0);
    let again = log.append(&[batch(b"x")], LeaderEpoch(6), AppendOrigin::Replica);
    assert_eq!(again, Err(AppendError::NotNext { base_offset: 0, end: 1 }));
    assert_eq!(log.leader_epoch(), LeaderEpoch(6));
    assert_eq!(log.log_end_offset(), 1);
}

#[test]
fn log_append_time_replaces_the_producers_and_keeps_the_checksum_right() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[("message.timestamp.type", "LogAppendTime")])).unwrap();
    let appended = append(&log, batch_of(&[b"x", b"y"], 5, ProducerState::NONE)).unwrap();
    assert_eq!(appended.log_append_time_ms, NOW_MS);
    let read = batches(log.read(0, 2, 1000, true).unwrap()).remove(0);
    read.verify_crc().unwrap();
    assert_eq!(read.header.max_timestamp, NOW_MS);
    assert_eq!(read.header.attributes.timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn records_are_found_by_their_time_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(200000, &[])).unwrap();
    for number in 0..600i64 {
        let batch =
            batch_of(&[&value(number as usize, 1000), b"z"], 10_000 + number * 10, ProducerState::NONE);
        append(&log, batch).unwrap();
    }
    settle(&log);
    let check = |log: &millrace_log::PartitionLog| {
        let find =
            |ms| log.offset_for_timestamp(ms, 1200).unwrap().map(|found| (found.offset, found.timestamp_ms));
        assert_eq!(find(0), Some((0, 10_000)));
        assert_eq!(find(12_345), Some((470, 12_350)));
        assert_eq!(find(15_990), Some((1198, 15_990)));
        assert_eq!(find(15_991), None);
        assert_eq!(log.offset_for_timestamp(12_345, 470).unwrap(), None);
        let newest = log.max_timestamp_offset(1200).unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp_ms), (1198, 15_990));
        let newest = log.max_timestamp_offset(100).unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp_ms), (98, 10_490));
    };
    check(&log);
    drop(log);
    drop(manager);
    check(&open(dir.path()).0.partition(&tp(0)).unwrap());
}

#[test]
fn retention_by_size_and_time_removes_whole_segments_below_the_high_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (manager, _) = open_with(dir.path(), options(), clock.clone());
    let log = manager.create(tp(0), segments_of(100_000, &[("retention.bytes", "250000")])).unwrap();
    for number in 0..1000 {
        append(&log, batch(&value(number, 1000))).unwrap();
    }
    wait_until(|| log.durable_end_offset() == 1000);
    assert_eq!(manager.enforce_retention().segments, 0, "the high watermark is at the start");
    settle(&log);
    let report = manager.enforce_retention();
    assert!(report.segments >= 6 && log.size_bytes() >= 250_000, "{report:?} {}", log.size_bytes());
    assert!(log.size_bytes() < 350_000 + 100_000);
    let start = log.log_start_offset();
    assert!(matches!(log.read(start - 1, 1000, 1, true), Err(ReadError::OutOfRange { .. })));
    assert_eq!(records(&log, start).len() as i64, 1000 - start);

    manager.create(tp(0), config(&[("retention.ms", "60000")])).unwrap();
    clock.advance_ms(60_001);
    manager.enforce_retention();
    assert_eq!(log.log_start_offset(), 1000, "the active segment has expired too");
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (1000, 1000));
    assert_eq!(append(&log, batch(b"x")).unwrap().base_offset, 1000);
}

#[test]
fn records_without_timestamps_expire_by_when_their_segment_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || segments_of(10_000, &[("retention.ms", "60000")]);
    let timeless = || batch_of(&[&[0; 3000]], -1, ProducerState::NONE);
    // The clock of files is the real one.
    let clock = Arc::new(ManualClock::at_ms(SystemClock.now_ms()));
    let (manager, _) = open_with(dir.path(), options(), clock.clone());
    let log = manager.create(tp(0), settings()).unwrap();
    for _ in 0..10 {
        append(&log, timeless()).unwrap();
    }
    settle(&log);
    manager.enforce_retention();
    assert_eq!(log.log_start_offset(), 0, "nothing is old enough");
    manager.close().unwrap();
    drop((log, manager));

    clock.advance_ms(3_600_000);
    let (manager, _) = open_with(dir.path(), options(), clock.clone());
    let log = manager.create(tp(0), settings()).unwrap();
    append(&log, timeless()).unwrap();
    settle(&log);
    manager.enforce_retention();
    assert_eq!(log.log_start_offset(), 9, "all but the segment that was just written to");
    clock.advance_ms(60_001);
    manager.enforce_retention();
    assert_eq!(log.log_start_offset(), 11, "that one too");
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(100000, &[])).unwrap();
    for number in 0..500 {
        append(&log, batch(&value(number, 1000))).unwrap();
    }
    settle(&log);
    assert_eq!(log.delete_records(250).unwrap(), 250);
    assert_eq!(log.delete_records(100).unwrap(), 250);
    assert!(log.delete_records(501).is_err());
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (250, 500));
    assert!((250..=500).contains(&log.high_watermark()), "as of some checkpoint");
    log.set_high_watermark(500);
    assert_eq!(log.delete_records(-1).unwrap(), 500);
}

#[test]
fn a_deleted_partition_is_gone_and_one_created_again_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    for number in 0..3 {
        let log = manager.create(tp(number), config(&[])).unwrap();
        append(&log, batch(b"old")).unwrap();
        append(&log, batch(&value(0, 400_000))).unwrap();
        settle(&log);
    }
    manager.delete(&tp(1)).unwrap();
    manager.delete(&tp(2)).unwrap();
    assert!(manager.delete(&tp(2)).is_err());
    let log = manager.create(tp(2), config(&[])).unwrap();
    assert_eq!(log.log_end_offset(), 0);
    append(&log, batch(b"new")).unwrap();
    settle(&log);
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    assert_eq!(manager.partitions(), [tp(0), tp(2)]);
    assert_eq!(records(&manager.partition(&tp(2)).unwrap(), 0), [(0, b"new".to_vec())]);
    manager.close().unwrap();
    let left = std::fs::read_dir(dir.path().join("topics")).unwrap().count();
    assert_eq!(left, 2, "nothing is left of what was deleted");
}

#[test]
fn jitter_keeps_segments_from_ending_together() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (manager, _) = open_with(dir.path(), options(), clock.clone());
    let settings = config(&[("segment.ms", "1000"), ("segment.jitter.ms", "1000")]);
    let logs: Vec<_> = (0..20).map(|number| manager.create(tp(number), settings.clone()).unwrap()).collect();
    for wait_ms in [500, 0] {
        for log in &logs {
            append(log, batch(b"x")).unwrap();
        }
        clock.advance_ms(wait_ms);
    }
    drop(logs);
    manager.close().unwrap();
    let segments = |number: i32| {
        let files = std::fs::read_dir(dir.path().join("topics").join(tp(number).to_string())).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "log").count()
    };
    let rolled = (0..20).filter(|number| segments(*number) == 2).count();
    assert!((1..20).contains(&rolled), "{rolled} of 20 ended after half of the time");
}

#[test]
fn epochs_tell_where_a_leaders_records_end() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    for epoch in [1, 1, 3, 4] {
        log.append(&[batch(b"x")], LeaderEpoch(epoch), AppendOrigin::Producer).unwrap();
    }
    settle(&log);
    drop(log);
    drop(manager);
    let (manager, _) = open(dir.path());
    let log = manager.partition(&tp(0)).unwrap();
    let end = |epoch| log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.0, end));
    assert_eq!(
        [end(1), end(2), end(3), end(4), end(5)],
        [Some((1, 2)), Some((1, 2)), Some((3, 3)), Some((4, 4)), None]
    );
    assert_eq!(log.leader_epoch(), LeaderEpoch(4));
}

#[test]
fn an_epoch_without_records_ends_where_the_next_one_begins() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..4 {
        let (manager, _) = open(dir.path());
        let log = manager.create(tp(0), config(&[])).unwrap();
        log.begin_leader_epoch(LeaderEpoch(life));
        let end = |epoch| log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.0, end));
        if life == 0 {
            assert_eq!(end(0), Some((0, 0)), "an epoch is known from its beginning on");
            log.append(&[batch(b"x")], LeaderEpoch(0), AppendOrigin::Producer).unwrap();
            settle(&log);
        }
        assert_eq!((end(0), end(life), end(life + 1)), (Some((0, 1)), Some((life, 1)), None));
        assert_eq!(end(life - 1), (life > 0).then_some((0, 1)));
        if life == 2 {
            manager.close().unwrap();
        }
    }
}

#[test]
fn memory_stays_within_its_budget_and_evicted_records_come_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let budget = 8 << 20;
    let options = LogOptions { tail_bytes: budget, ..options() };
    let (manager, _) = open_with(dir.path(), options, clock());
    let log = manager.create(tp(0), config(&[])).unwrap();
    for number in 0..60 {
        append(&log, batch(&value(number, 900_000))).unwrap();
        settle(&log);
    }
    wait_until(|| manager.metrics().tail_bytes <= budget + (2 << 20));
    assert!(log.read_tail(0, 60, 100, true).unwrap().is_none());
    assert!(log.read_tail(59, 60, 100, true).unwrap().is_some());
    let expected: Vec<_> = (0..60).map(|number| (number as i64, value(number, 900_000))).collect();
    assert_eq!(records(&log, 0), expected);
}

#[test]
fn the_high_watermark_is_what_it_was_also_where_nothing_else_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let stepped = || LogOptions { threading: Threading::Stepped, ..options() };
    let (manager, _) = open_with(dir.path(), stepped(), clock());
    let log = manager.create(tp(0), config(&[])).unwrap();
    for number in 0..5 {
        append(&log, batch(&[number])).unwrap();
    }
    assert!(manager.step(EngineStep::Wal) && manager.step(EngineStep::Checkpoint));
    for high_watermark in [3, 4] {
        log.set_high_watermark(high_watermark);
        assert!(manager.step(EngineStep::Checkpoint));
    }
    drop((manager, log));
    let (manager, _) = open_with(dir.path(), stepped(), clock());
    let log = manager.partition(&tp(0)).unwrap();
    assert_eq!((log.high_watermark(), log.durable_end_offset()), (4, 5));
    // A log start that is made durable by itself is not above the high watermark of the checkpoint.
    log.set_high_watermark(5);
    assert_eq!(log.delete_records(5).unwrap(), 5);
    drop((manager, log));
    let (manager, _) = open_with(dir.path(), stepped(), clock());
    let log = manager.partition(&tp(0)).unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (5, 5));
}

#[test]
fn an_open_transaction_bounds_the_last_stable_offset_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), config(&[])).unwrap();
    append(&log, batch(b"before")).unwrap();
    let transactional = ProducerState { transactional: true, ..producer(7, 0, 0) };
    append(&log, batch_of(&[b"within"], NOW_MS, transactional)).unwrap();
    append(&log, batch(b"behind")).unwrap();
    settle(&log);
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (1, 3));
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, 1);
    manager.close().unwrap();
    drop((manager, log));
    let (manager, _) = open(dir.path());
    assert_eq!(manager.partition(&tp(0)).unwrap().last_stable_offset(), 1);
}
