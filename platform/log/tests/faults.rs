//! Disks that fill up and disks that fail, simulated: what is acknowledged stays so, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace_disk::Disk;
use millrace_disk::Reserve;
use millrace_disk::sim::{Shortage, SimDisk};
use millrace_log::{AppendError, EngineStep, Health, LogManager, LogOptions, PartitionLog, Threading};
use support::*;

/// What the system says of a full disk.
const FULL: &str = "No space left on device";

fn open_sim(disk: &SimDisk) -> (LogManager, Arc<PartitionLog>) {
    open_with(disk, Reserve::none())
}

fn open_with(disk: &SimDisk, reserve: Arc<Reserve>) -> (LogManager, Arc<PartitionLog>) {
    let threading = Threading::Stepped;
    let options = LogOptions { wal_bytes: 64 * 1024, reserve, threading, ..LogOptions::default() };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (manager, _) = LogManager::open(shared, Path::new("/data"), options, clock()).unwrap();
    let log = manager.create(tp(0), config(&[])).unwrap();
    (manager, log)
}

/// Health says what is waited for.
fn assert_stalled(manager: &LogManager, what: &str) {
    let health = manager.health();
    assert!(matches!(&health, Health::Stalled(reason) if reason.contains(what)), "{health:?}");
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room_and_loses_nothing() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    append(&log, batch(&[1; 30_000])).unwrap();
    assert!(manager.step(EngineStep::Direct));
    manager.step(EngineStep::Checkpoint);
    disk.set_capacity(Some(64 * 1024 + 40_000));

    append(&log, batch(&[2; 30_000])).unwrap();
    manager.step(EngineStep::Direct);
    assert_stalled(&manager, FULL);
    assert_eq!((log.durable_end_offset(), log.log_end_offset()), (1, 2), "kept, not acknowledged");
    let refused = append(&log, batch(b"x"));
    assert!(matches!(&refused, Err(AppendError::Stalled(why)) if why.contains(FULL)), "{refused:?}");
    manager.step(EngineStep::Direct);
    assert_stalled(&manager, FULL);
    assert_eq!(records(&log, 0).len(), 2, "reads go on");

    disk.set_capacity(None);
    manager.step(EngineStep::Direct);
    assert_eq!(manager.health(), Health::Ok);
    assert_eq!(log.durable_end_offset(), 2);
    append(&log, batch(&[3; 100])).unwrap();
    assert!(manager.step(EngineStep::Wal));
    drop((manager, log));
    disk.crash();
    disk.restart();
    let (_manager, log) = open_sim(&disk);
    let expected = [(0, vec![1; 30_000]), (1, vec![2; 30_000]), (2, vec![3; 100])];
    assert_eq!(records(&log, 0), expected);
}

#[test]
fn small_commits_go_on_while_the_disk_is_full_as_long_as_the_write_ahead_log_has_room() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    manager.step(EngineStep::Checkpoint);
    disk.set_capacity(Some(0));
    for number in 0..5 {
        append(&log, batch(&[number; 500])).unwrap();
        assert!(manager.step(EngineStep::Wal));
    }
    assert!(!manager.step(EngineStep::Checkpoint), "segments cannot grow");
    assert_stalled(&manager, FULL);
    assert_eq!(log.durable_end_offset(), 5);
    disk.set_capacity(None);
    assert!(manager.step(EngineStep::Checkpoint));
    assert_eq!(manager.health(), Health::Ok);
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    log.set_config(segments_of(40_000, &[("retention.bytes", "40000")]));
    for number in 0..5 {
        append(&log, batch(&[number; 30_000])).unwrap();
        assert!(manager.step(EngineStep::Direct));
        log.set_high_watermark(log.durable_end_offset());
    }
    manager.step(EngineStep::Checkpoint);
    disk.set_capacity(Some(0));
    append(&log, batch(&[5; 30_000])).unwrap();
    manager.step(EngineStep::Direct);
    assert_stalled(&manager, FULL);
    assert!(manager.enforce_retention().segments >= 2);
    assert!(log.log_start_offset() >= 2);
}

#[test]
fn a_deleted_partition_makes_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    let other = manager.create(tp(1), config(&[])).unwrap();
    for log in [&log, &other] {
        append(log, batch(&[1; 30_000])).unwrap();
        assert!(manager.step(EngineStep::Direct));
    }
    append(&other, batch(&[2; 10_000])).unwrap();
    manager.delete(&tp(0)).unwrap();
    disk.set_capacity(Some(0));
    assert!(!manager.step(EngineStep::Checkpoint));
    // It used to wait for a checkpoint that finds room, while its own files took that.
    assert_eq!(disk.list(Path::new("/data/topics")).unwrap().len(), 1);
    assert_stalled(&manager, FULL);
}

#[test]
fn deleted_records_make_room_on_a_full_disk_and_an_error_stays_one_until_they_are_durably_gone() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    log.set_config(segments_of(40_000, &[]));
    for number in 0..5 {
        append(&log, batch(&[number; 30_000])).unwrap();
        assert!(manager.step(EngineStep::Direct));
        log.set_high_watermark(log.durable_end_offset());
    }
    disk.set_capacity(Some(0));
    // The last checkpoint needs all of them.
    for _ in 0..2 {
        assert!(log.delete_records(4).is_err());
    }
    disk.set_capacity(None);
    manager.step(EngineStep::Checkpoint);
    assert_eq!(log.delete_records(4).unwrap(), 4);
    assert_eq!(log.delete_records(2).unwrap(), 4);
    drop((manager, log));
    disk.crash();
    disk.restart();
    assert_eq!(open_sim(&disk).1.log_start_offset(), 4);
}

#[test]
fn a_process_without_files_goes_on_when_it_has_some_again() {
    for step in [EngineStep::Direct, EngineStep::Checkpoint] {
        let disk = SimDisk::new(1);
        let (manager, log) = open_sim(&disk);
        manager.step(EngineStep::Checkpoint);
        append(&log, batch(&[1; 30_000])).unwrap();
        disk.set_out_of_files(true);
        manager.step(step);
        assert_stalled(&manager, "Too many open files");
        assert_eq!(log.durable_end_offset(), 0);
        disk.set_out_of_files(false);
        for step in [EngineStep::Direct, EngineStep::Checkpoint] {
            manager.step(step);
        }
        assert_eq!((manager.health(), log.durable_end_offset()), (Health::Ok, 1), "{step:?}");
        append(&log, batch(b"small")).unwrap();
        assert!(manager.step(EngineStep::Wal));
        // An index that is to be synced is opened for it.
        disk.set_out_of_files(true);
        assert!(!manager.step(EngineStep::Checkpoint));
        disk.set_out_of_files(false);
        assert!(manager.step(EngineStep::Checkpoint));
        assert_eq!(manager.health(), Health::Ok);
    }
}

/// A power loss while the disk is full, twice: what only the write-ahead log has is read, stays there, and moves on
/// when a deletion has made room. Nothing of it needs a restart.
#[test]
fn a_start_on_a_full_disk_serves_and_makes_room() {
    let disk = SimDisk::new(1);
    let (manager, log) = open_sim(&disk);
    let filler = manager.create(tp(1), config(&[])).unwrap();
    append(&filler, batch(&[1; 30_000])).unwrap();
    assert!(manager.step(EngineStep::Direct));
    manager.step(EngineStep::Checkpoint);
    disk.set_capacity(Some(0));
    for number in 0..5 {
        append(&log, batch(&[number; 500])).unwrap();
        assert!(manager.step(EngineStep::Wal));
    }
    let expected: Vec<_> = (0..5).map(|number| (i64::from(number), vec![number; 500])).collect();
    drop((manager, log, filler));
    for _ in 0..2 {
        disk.crash();
        disk.restart();
        let (manager, log) = open_sim(&disk);
        assert_stalled(&manager, FULL);
        assert_eq!(records(&log, 0), expected);
        assert!(matches!(append(&log, batch(b"x")), Err(AppendError::Stalled(_))));
        for step in [EngineStep::Wal, EngineStep::Direct, EngineStep::Checkpoint] {
            manager.step(step);
        }
    }
    disk.crash();
    disk.restart();
    let (manager, log) = open_sim(&disk);
    // What there is now, and nothing more: the deletion has to make the room.
    disk.set_capacity(Some(disk.used_bytes()));
    assert!(!manager.step(EngineStep::Checkpoint));
    manager.delete(&tp(1)).unwrap();
    assert!(manager.step(EngineStep::Checkpoint));
    assert_eq!(manager.health(), Health::Ok);
    append(&log, batch(b"after")).unwrap();
    assert!(manager.step(EngineStep::Wal));
    drop((manager, log));
    disk.crash();
    disk.restart();
    let mut all = expected;
    all.push((5, b"after".to_vec()));
    assert_eq!(records(&open_sim(&disk).1, 0), all);
}

/// Not even a checkpoint fits, which a deletion of records and the removal of segments wait for.
#[test]
fn the_reserve_lets_records_be_deleted_and_is_whole_before_new_ones_are_taken() {
    let disk = SimDisk::new(1);
    let reserve = Reserve::new(Arc::new(disk.clone()), Path::new("/reserve"), 64 * 1024);
    let (manager, log) = open_with(&disk, Arc::clone(&reserve));
    // Makes the whole write-ahead log.
    manager.step(EngineStep::Checkpoint);
    log.set_config(segments_of(40_000, &[]));
    for number in 0..5 {
        append(&log, batch(&[number; 30_000])).unwrap();
        assert!(manager.step(EngineStep::Direct));
        log.set_high_watermark(log.durable_end_offset());
    }
    append(&log, batch(b"small")).unwrap();
    assert!(manager.step(EngineStep::Wal));
    disk.set_capacity(Some(disk.used_bytes()));
    let taken = manager.step(EngineStep::Checkpoint);
    assert!(taken, "the reserve has room for it: {:?}", manager.health());
    assert_stalled(&manager, "the reserve");
    assert!(!reserve.is_whole() && reserve.held_bytes() > 0);
    assert!(matches!(append(&log, batch(b"x")), Err(AppendError::Stalled(_))));
    assert_eq!(log.delete_records(4).unwrap(), 4);
    assert!(manager.step(EngineStep::Checkpoint));
    assert_eq!(manager.health(), Health::Ok);
    assert!(reserve.is_whole());
    append(&log, batch(b"after")).unwrap();
    assert!(manager.step(EngineStep::Wal));
}

/// The file systems that write elsewhere find no room for old places either.
#[test]
fn a_group_that_could_not_be_written_is_written_again() {
    for shortage in [Shortage::Room, Shortage::Memory] {
        let disk = SimDisk::new(1);
        let (manager, log) = open_sim(&disk);
        append(&log, batch(b"first")).unwrap();
        let now = disk.operations();
        disk.run_short(shortage, now..now + 1);
        assert!(!manager.step(EngineStep::Wal));
        assert!(matches!(manager.health(), Health::Stalled(_)), "{:?}", manager.health());
        assert_eq!(log.durable_end_offset(), 0);
        assert!(manager.step(EngineStep::Wal));
        assert_eq!(log.durable_end_offset(), 1);
        assert!(manager.step(EngineStep::Checkpoint));
        assert_eq!(manager.health(), Health::Ok);
    }
}

#[test]
fn after_an_io_error_nothing_more_is_acknowledged() {
    for (step, bytes) in [(EngineStep::Wal, 100), (EngineStep::Direct, 30_000)] {
        // The operations of the commit, one after the other, whatever they are: each fails once.
        let mut failed = 0;
        for operation in 0..10 {
            let disk = SimDisk::new(1);
            let (manager, log) = open_sim(&disk);
            append(&log, batch(b"before")).unwrap();
            assert!(manager.step(EngineStep::Wal));
            disk.fail_at(disk.operations() + operation);
            append(&log, batch(&vec![1; bytes])).unwrap();
            manager.step(step);
            if manager.health() == Health::Ok {
                assert_eq!(log.durable_end_offset(), 2);
                continue;
            }
            failed += 1;
            assert!(matches!(manager.health(), Health::Failed(_)));
            assert_eq!(log.durable_end_offset(), 1);
            for step in [EngineStep::Wal, EngineStep::Direct, EngineStep::Checkpoint] {
                manager.step(step);
            }
            assert_eq!(log.durable_end_offset(), 1, "a sync that failed is not tried again");
            assert!(matches!(append(&log, batch(b"x")), Err(AppendError::Failed(_))));
            assert_eq!(records(&log, 0).len(), 2, "reads go on");
            assert!(manager.close().is_err());
        }
        assert!(failed > 0, "{step:?}");
    }
}

/// Whoever commits, a listener that panics takes its thread down in the middle of it.
#[test]
fn a_thread_that_panics_ends_the_log_and_keeps_nobody_waiting() {
    for value_bytes in [100, 600_000] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, _) = open(dir.path());
        let log = manager.create(tp(0), config(&[])).unwrap();
        log.on_durable(Arc::new(|_| panic!("on purpose")));
        append(&log, batch(&vec![0; value_bytes])).unwrap();
        wait_until(|| matches!(manager.health(), Health::Failed(reason) if reason.contains("panicked")));
        let refused = append(&log, batch(b"x"));
        assert!(matches!(refused, Err(AppendError::Failed(_))), "{refused:?}");
        assert!(manager.close().is_err());
    }
}
