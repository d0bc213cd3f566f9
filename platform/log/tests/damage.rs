//! Files that were damaged behind the engine's back: refused by name and place, or made again.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_disk::{Disk, RealDisk};
use millrace_log::{EngineStep, LogManager, OpenError, PartitionLog, Threading};
use millrace_protocol::batch::{Batch, ProducerState};
use support::*;

/// A directory whose write-ahead log holds three groups of one record each, and none of them a segment.
fn three_groups(dir: &Path) {
    let stepped = millrace_log::LogOptions { threading: Threading::Stepped, ..options() };
    let (manager, _) = open_with(dir, stepped, clock());
    let log = manager.create(tp(0), config(&[])).unwrap();
    for number in 0..3 {
        append(&log, batch(&[number; 100])).unwrap();
        assert!(manager.step(EngineStep::Wal));
    }
}

fn flip(path: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

fn refused(dir: &Path) -> OpenError {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match LogManager::open(disk, dir, options(), clock()) {
        Ok(_) => panic!("a damaged directory was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_damaged_group_is_refused_unless_it_is_the_last() {
    let dir = tempfile::tempdir().unwrap();
    three_groups(dir.path());
    let wal = dir.path().join("wal/0000.wal");
    flip(&wal, 4096 + 100);
    let error = refused(dir.path());
    let OpenError::Corrupt { path, position, .. } = &error else { panic!("{error}") };
    assert_eq!((path, *position), (&wal, 4096), "{error}");
    flip(&wal, 4096 + 100);

    flip(&wal, 2 * 4096 + 100);
    let (manager, report) = open(dir.path());
    assert_eq!(report.wal_groups, 2, "a last group may be incomplete: the power went as it was written");
    assert_eq!(manager.partition(&tp(0)).unwrap().log_end_offset(), 2);
}

#[test]
fn a_damaged_checkpoint_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    three_groups(dir.path());
    open(dir.path()).0.close().unwrap();
    let path = dir.path().join("checkpoint");
    flip(&path, 20);
    let error = refused(dir.path());
    assert!(matches!(&error, OpenError::Corrupt { path: named, .. } if *named == path), "{error}");
    assert!(error.to_string().contains("remove this file"), "{error}");
    fs::remove_file(&path).unwrap();
    let (manager, report) = open(dir.path());
    assert!(report.scanned_bytes > 0);
    assert_eq!(records(&manager.partition(&tp(0)).unwrap(), 0).len(), 3);
}

fn segments(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let dir = fs::read_dir(dir.join("topics").join(tp(0).to_string())).unwrap();
    let mut paths: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(suffix));
    paths.sort();
    paths
}

#[test]
fn a_segment_that_has_lost_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    three_groups(dir.path());
    open(dir.path()).0.close().unwrap();
    let log = segments(dir.path(), ".log").remove(0);
    OpenOptions::new().write(true).open(&log).unwrap().set_len(100).unwrap();
    let error = refused(dir.path());
    assert!(matches!(&error, OpenError::Corrupt { path, position: 100, .. } if *path == log), "{error}");
}

#[test]
fn a_closed_segment_that_has_lost_records_is_an_error_to_who_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(10_000, &[])).unwrap();
    for number in 0..30 {
        append(&log, batch(&[number; 1000])).unwrap();
    }
    settle(&log);
    manager.close().unwrap();
    drop((manager, log));
    let first = segments(dir.path(), ".log").remove(0);
    OpenOptions::new().write(true).open(&first).unwrap().set_len(0).unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.partition(&tp(0)).unwrap();
    let error = log.read(0, 30, 1 << 20, true).unwrap_err();
    assert!(error.to_string().contains("from offset 0 on are missing"), "{error}");
    assert!(log.read(29, 30, 1 << 20, true).unwrap().next_offset == 30);
}

#[test]
fn an_index_of_other_records_is_an_error_to_who_reads_by_it() {
    let [here, there] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Of the same length: the first batch of one segment holds one record, that of the other holds two.
    let single = batch(&[0; 70_000]);
    let pairs = (60_000..70_000).map(|len| batch_of(&[&[], &vec![0; len]], NOW_MS, ProducerState::NONE));
    let pair = pairs.into_iter().find(|pair| pair.bytes.len() == single.bytes.len()).unwrap();
    let closed_index = |dir: &Path, first: Batch| {
        let (manager, _) = open(dir);
        let log = manager.create(tp(0), segments_of(90_000, &[])).unwrap();
        for batch in [first, batch(&[1; 1000]), batch(&[2; 50_000])] {
            append(&log, batch).unwrap();
        }
        settle(&log);
        manager.close().unwrap();
        segments(dir, ".index").remove(0)
    };
    let index = closed_index(here.path(), pair);
    fs::copy(closed_index(there.path(), single), &index).unwrap();

    let (manager, _) = open(here.path());
    let log = manager.partition(&tp(0)).unwrap();
    let error = log.read(1, 4, 1 << 20, true).unwrap_err().to_string();
    assert!(error.contains("offset 2 begins here, which is not what") && error.contains(".index"), "{error}");
}

/// Without a checkpoint, what is known of deleted records is what the first segment's snapshot says.
#[test]
fn a_lost_checkpoint_does_not_forget_the_producers_of_deleted_records() {
    for damaged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, _) = open(dir.path());
        let log = manager.create(tp(0), segments_of(1000, &[])).unwrap();
        let send = |log: &PartitionLog, id, sequence| {
            append(log, batch_of(&[&[0; 300]], NOW_MS, producer(id, 0, sequence)))
        };
        send(&log, 1, 0).unwrap();
        for sequence in 0..9 {
            send(&log, 2, sequence).unwrap();
        }
        settle(&log);
        assert_eq!(log.delete_records(6).unwrap(), 6);
        manager.close().unwrap();
        drop((manager, log));
        fs::remove_file(dir.path().join("checkpoint")).unwrap();
        let first = segments(dir.path(), ".snapshot").remove(0);
        assert_eq!(first.with_extension("log"), segments(dir.path(), ".log").remove(0));
        if damaged {
            flip(&first, 30);
        }
        let (manager, _) = open(dir.path());
        let log = manager.partition(&tp(0)).unwrap();
        let known: Vec<_> = log.active_producers().iter().map(|known| known.producer_id.0).collect();
        assert_eq!(known, if damaged { vec![2] } else { vec![1, 2] });
        // One that may have been forgotten goes on anywhere; one that is known does not.
        assert_eq!(send(&log, 1, 5).is_ok(), damaged);
    }
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(1_000_000, &[])).unwrap();
    for number in 0..300u32 {
        let mut value = vec![0; 10_000];
        value[..4].copy_from_slice(&number.to_be_bytes());
        append(&log, batch(&value)).unwrap();
    }
    settle(&log);
    manager.close().unwrap();
    drop((manager, log));
    let indexes = segments(dir.path(), ".index");
    assert!(indexes.len() >= 3, "{indexes:?}");
    fs::remove_file(&indexes[0]).unwrap();
    flip(&indexes[1], 40);
    flip(indexes.last().unwrap(), 40);
    let (manager, _) = open(dir.path());
    let log = manager.partition(&tp(0)).unwrap();
    for number in [0, 50, 99, 150, 299] {
        let found = log.read(number, 300, 1, true).unwrap();
        assert_eq!((found.first_offset, found.next_offset), (number, number + 1));
    }
    assert_eq!(log.offset_for_timestamp(NOW_MS, 300).unwrap().unwrap().offset, 0);
    assert!(indexes[0].exists());
}
