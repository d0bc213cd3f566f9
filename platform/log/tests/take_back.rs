//! Records are taken back: what is there afterwards, and what those see who read, append and wait meanwhile.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use millrace_base::{LeaderEpoch, Offset};
use millrace_disk::Disk;
use millrace_disk::sim::{Shortage, SimDisk};
use millrace_log::{
    AppendError, AppendOrigin, EngineStep, LogError, LogManager, LogOptions, PartitionLog, ReadError,
    Threading,
};
use millrace_protocol::batch::ProducerState;
use support::*;

fn stepped() -> LogOptions {
    LogOptions { wal_bytes: 256 << 10, threading: Threading::Stepped, ..options() }
}

fn stepped_log(dir: &Path, segment_bytes: u32) -> (LogManager, Arc<PartitionLog>) {
    let (manager, _) = open_with(dir, stepped(), clock());
    let log = manager.create(tp(0), segments_of(segment_bytes, &[])).unwrap();
    (manager, log)
}

fn commit(manager: &LogManager) {
    while manager.step(EngineStep::Wal) | manager.step(EngineStep::Direct) {}
}

/// Appends a batch of two records of `value` in `epoch`.
fn append_two(log: &PartitionLog, value: u8, bytes: usize, epoch: i32) {
    let value = vec![value; bytes];
    let batch = batch_of(&[&value, &value], NOW_MS, ProducerState::NONE);
    follow(log, &[placed(batch, log.log_end_offset(), epoch)], epoch).unwrap();
}

/// The first byte of each record.
fn firsts(log: &PartitionLog) -> Vec<(Offset, u8)> {
    records(log, log.log_start_offset()).into_iter().map(|(offset, value)| (offset, value[0])).collect()
}

fn segment_files(dir: &Path, suffix: &str) -> Vec<String> {
    let dir = fs::read_dir(dir.join("topics").join(tp(0).to_string())).unwrap();
    let names = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

/// Records that are in memory, in the write-ahead log, in an active segment and in closed ones.
#[test]
fn a_log_is_cut_wherever_its_records_are_and_goes_on_from_there() {
    for (segment_bytes, bytes) in [(1_000_000, 10), (300, 50), (1_000_000, 200_000), (100_000, 20_000)] {
        for (to, end) in [(0, 0), (1, 0), (2, 2), (7, 6), (8, 8), (11, 10), (12, 12), (99, 12)] {
            for committed in [0, 3, 6] {
                let dir = tempfile::tempdir().unwrap();
                let (manager, log) = stepped_log(dir.path(), segment_bytes);
                for number in 0..6 {
                    append_two(&log, number, bytes, 1);
                    if number + 1 == committed {
                        commit(&manager);
                        log.set_high_watermark(log.durable_end_offset());
                    }
                }
                assert_eq!(log.truncate(to).unwrap(), end, "to {to} of {bytes}, {committed} committed");
                let high_watermark = end.min(2 * i64::from(committed));
                assert_eq!((log.log_end_offset(), log.high_watermark()), (end, high_watermark));
                log.validate().unwrap();
                append_two(&log, 100, bytes, 2);
                append_two(&log, 101, bytes, 2);
                let kept = (0..end).map(|offset| (offset, (offset / 2) as u8));
                let new = [(end, 100), (end + 1, 100), (end + 2, 101), (end + 3, 101)];
                let expected: Vec<_> = kept.chain(new).collect();
                assert_eq!(firsts(&log), expected);
                let ends = |log: &PartitionLog| {
                    [1, 2].map(|epoch| log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(_, end)| end))
                };
                assert_eq!(ends(&log), [Some(end), Some(end + 4)]);
                commit(&manager);
                log.validate().unwrap();
                drop((manager, log));
                for _ in 0..2 {
                    let (manager, _) = open_with(dir.path(), stepped(), clock());
                    let log = manager.partition(&tp(0)).unwrap();
                    assert_eq!(firsts(&log), expected, "to {to} of {bytes}, {committed} committed");
                    assert_eq!(ends(&log)[1], Some(end + 4));
                    log.validate().unwrap();
                    manager.close().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_reset_log_begins_anywhere() {
    for (start, committed) in [(5, false), (5, true), (1000, false), (1000, true), (0, true)] {
        for appends in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (manager, log) = stepped_log(dir.path(), 300);
            for number in 0..6 {
                append_two(&log, number, 50, 1);
            }
            if committed {
                commit(&manager);
            }
            log.reset(start).unwrap();
            log.validate().unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, start));
            assert_eq!((log.high_watermark(), log.durable_end_offset()), (start, start));
            assert_eq!(log.end_offset_for_epoch(LeaderEpoch(1)), None);
            let mut expected = Vec::new();
            if appends {
                append_two(&log, 100, 50, 2);
                expected = vec![(start, 100), (start + 1, 100)];
                commit(&manager);
            }
            drop((manager, log));
            for _ in 0..3 {
                let (manager, log) = stepped_log(dir.path(), 300);
                assert_eq!((log.log_start_offset(), firsts(&log)), (start, expected.clone()));
                log.validate().unwrap();
                manager.close().unwrap();
            }
        }
    }
}

/// Also where the last checkpoint has the log of before start further up.
#[test]
fn records_that_are_deleted_after_a_reset_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = stepped_log(dir.path(), 1000);
    for number in 0..6 {
        append_two(&log, number, 10, 1);
    }
    commit(&manager);
    log.set_high_watermark(12);
    assert_eq!(log.delete_records(10).unwrap(), 10);
    log.reset(3).unwrap();
    append_two(&log, 100, 10, 2);
    commit(&manager);
    log.set_high_watermark(5);
    assert_eq!(log.delete_records(4).unwrap(), 4);
    drop((manager, log));
    let (_manager, log) = stepped_log(dir.path(), 1000);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (4, 5));
}

#[test]
fn what_cannot_be_is_refused_and_what_is_so_already_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = stepped_log(dir.path(), 1000);
    for number in 0..4 {
        append_two(&log, number, 10, 1);
    }
    commit(&manager);
    log.set_high_watermark(8);
    assert_eq!(log.delete_records(3).unwrap(), 3);
    assert!(matches!(log.truncate(2), Err(LogError::OutOfRange { offset: 2, start: 3, end: 8 })));
    assert!(matches!(log.reset(-1), Err(LogError::OutOfRange { offset: -1, .. })));
    let groups = manager.metrics().wal_groups;
    assert_eq!(log.truncate(8).unwrap(), 8);
    assert_eq!(manager.metrics().wal_groups, groups);
    // The log starts within the batch that goes.
    assert_eq!(log.truncate(3).unwrap(), 3);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (3, 3));
    log.reset(3).unwrap();
    assert_eq!(manager.metrics().wal_groups, groups + 2);
    manager.close().unwrap();
    assert!(matches!(log.truncate(3), Err(LogError::Closed)));
}

#[test]
fn readers_keep_what_they_hold_and_are_told_at_their_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = stepped_log(dir.path(), 50_000);
    for number in 0..6 {
        append_two(&log, number, 10_000, 1);
    }
    let in_memory = log.read(8, 12, 1 << 20, true).unwrap();
    commit(&manager);
    manager.close().unwrap();
    drop((manager, log));
    let (manager, log) = stepped_log(dir.path(), 50_000);
    assert!(log.read_tail(8, 12, 1 << 20, true).unwrap().is_none(), "they are on disk only");
    let [in_removed, in_cut] = [8, 6].map(|from| log.read(from, 12, 1, true).unwrap());
    assert_eq!(log.truncate(6).unwrap(), 6);
    append_two(&log, 100, 10_000, 2);
    commit(&manager);

    let value = |read| {
        batches(read)[0].records(1 << 30).unwrap().into_iter().next().unwrap().unwrap().value.unwrap()[0]
    };
    assert_eq!((value(in_memory), value(in_removed)), (4, 4));
    // Not other bytes, and not some of them.
    assert!(in_cut.payload.read_to_bytes().is_err());
    assert_eq!(firsts(&log)[6..], [(6, 100), (7, 100)]);
    assert!(matches!(log.read(9, 12, 1, true), Err(ReadError::OutOfRange { offset: 9, start: 0, end: 8 })));
}

/// As it is taken back, a sequence that was stored is not any more, and one that is stored is known.
#[test]
fn producers_are_what_they_were_below_the_cut() {
    for damaged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, log) = stepped_log(dir.path(), 400);
        let send = |log: &PartitionLog, id: i64, sequence: i32| {
            append(log, batch_of(&[&[0; 100]], NOW_MS, producer(id, 0, sequence)))
        };
        for sequence in 0..6 {
            send(&log, 1, sequence).unwrap();
        }
        for sequence in 0..6 {
            send(&log, 2, sequence).unwrap();
        }
        commit(&manager);
        assert!(manager.step(EngineStep::Checkpoint));
        assert!(segment_files(dir.path(), ".snapshot").len() >= 5);
        if damaged {
            for name in segment_files(dir.path(), ".snapshot") {
                let path: PathBuf = dir.path().join("topics").join(tp(0).to_string()).join(name);
                let mut bytes = fs::read(&path).unwrap();
                bytes[22] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        assert_eq!(log.truncate(8).unwrap(), 8);
        let check = |log: &PartitionLog| {
            let last = log.active_producers().iter().map(|p| p.last_sequence).collect::<Vec<_>>();
            assert_eq!(last, [5, 1], "damaged: {damaged}");
            assert!(send(log, 1, 5).unwrap().duplicate && send(log, 2, 1).unwrap().duplicate);
            let refused = send(log, 2, 3);
            assert!(
                matches!(refused, Err(AppendError::OutOfOrderSequence { expected: 2, .. })),
                "{refused:?}"
            );
        };
        check(&log);
        drop((manager, log));
        let (manager, _) = open_with(dir.path(), stepped(), clock());
        let log = manager.partition(&tp(0)).unwrap();
        check(&log);
        assert_eq!(send(&log, 2, 2).unwrap().base_offset, 8);
        // Before their first records they are not known.
        assert_eq!(log.truncate(6).unwrap(), 6);
        assert_eq!(log.active_producers().len(), 1);
        assert!(send(&log, 2, 1).is_err());
        drop((manager, log));
        let (manager, _) = open_with(dir.path(), stepped(), clock());
        assert_eq!(manager.partition(&tp(0)).unwrap().active_producers().len(), 1);
    }
}

#[test]
fn a_transaction_whose_first_record_is_taken_back_is_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = stepped_log(dir.path(), 1000);
    let transactional = |id, sequence| {
        batch_of(&[b"x"], NOW_MS, ProducerState { transactional: true, ..producer(id, 0, sequence) })
    };
    for (id, sequence) in [(7, 0), (8, 0), (7, 1)] {
        append(&log, transactional(id, sequence)).unwrap();
    }
    commit(&manager);
    log.set_high_watermark(3);
    log.truncate(2).unwrap();
    let open = |log: &PartitionLog| {
        let starts = log.active_producers().into_iter().map(|p| p.current_transaction_start_offset);
        (starts.collect::<Vec<_>>(), log.last_stable_offset())
    };
    assert_eq!(open(&log), (vec![0, 1], 0));
    log.truncate(1).unwrap();
    assert_eq!(open(&log), (vec![0], 0));
    drop((manager, log));
    let (manager, _) = open_with(dir.path(), stepped(), clock());
    let log = manager.partition(&tp(0)).unwrap();
    assert_eq!(open(&log), (vec![0], 0));
    log.reset(5).unwrap();
    assert_eq!(open(&log), (vec![], 5));
}

#[test]
fn snapshots_go_with_their_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = stepped_log(dir.path(), 300);
    for number in 0..6 {
        append_two(&log, number, 100, 1);
    }
    commit(&manager);
    assert!(manager.step(EngineStep::Checkpoint));
    let names = |suffix| {
        segment_files(dir.path(), suffix).iter().map(|name| name[..20].to_owned()).collect::<Vec<_>>()
    };
    let logs = names(".log");
    assert_eq!(names(".snapshot"), logs[1..], "there is nothing below the first");
    log.set_high_watermark(12);
    log.delete_records(6).unwrap();
    assert_eq!(names(".snapshot"), names(".log"));
    assert!(names(".log").len() < logs.len());
    log.truncate(8).unwrap();
    let below: Vec<_> = names(".log");
    assert_eq!(below, logs[3..4]);
    assert_eq!(names(".snapshot"), [logs[3].clone(), format!("{:020}", 8)]);
}

/// Says that it is over, also where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Commits, reads and appends go on while records are taken back, on threads of their own.
#[test]
fn everything_goes_on_while_records_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open(dir.path());
    let log = manager.create(tp(0), segments_of(1_000_000, &[])).unwrap();
    let told = Arc::new(AtomicI64::new(0));
    let listener = Arc::clone(&told);
    log.on_durable(Arc::new(move |end| listener.store(end, Ordering::SeqCst)));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let from = log.log_start_offset();
                match log.read(from, Offset::MAX, 1 << 20, true) {
                    Ok(read) if !read.payload.is_empty() => {
                        // It may have been cut since, which is an error, but never another batch.
                        if let Ok(bytes) = read.payload.read_to_bytes() {
                            let batch =
                                millrace_protocol::batch::split_batches(bytes, usize::MAX).unwrap().remove(0);
                            batch.verify_crc().unwrap();
                        }
                    }
                    Ok(_) | Err(ReadError::OutOfRange { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        scope.spawn(|| {
            let _over = Over(&over);
            for round in 0..150i64 {
                let len = if round % 3 == 0 { 100_000 } else { 100 };
                for _ in 0..5 {
                    append(&log, batch(&vec![round as u8; len])).unwrap();
                }
                if round % 4 == 0 {
                    settle(&log);
                }
                let (start, end) = (log.log_start_offset(), log.log_end_offset());
                if round % 25 == 24 {
                    log.reset(end + 10).unwrap();
                } else {
                    let to = (end - round % 7).max(start);
                    assert_eq!(log.truncate(to).unwrap(), to);
                }
                log.validate().unwrap();
                let end = log.log_end_offset();
                told.store(0, Ordering::SeqCst);
                for _ in 0..20 {
                    assert!(told.load(Ordering::SeqCst) <= end, "somebody is told of what was taken back");
                    std::thread::yield_now();
                }
            }
        });
    });
    append(&log, batch(b"last")).unwrap();
    settle(&log);
    let (start, expected) = (log.log_start_offset(), records(&log, log.log_start_offset()));
    drop((manager, log));
    let (manager, _) = open(dir.path());
    let log = manager.partition(&tp(0)).unwrap();
    assert_eq!((log.log_start_offset(), records(&log, start)), (start, expected));
}

/// The write that says so failed, and may be on the disk all the same: until it is tried again with success nothing is
/// taken that a crash would take back.
#[test]
fn while_it_is_not_known_whether_records_are_taken_back_nothing_is_acknowledged() {
    let (mut kept, mut cut) = (0, 0);
    for seed in 0..20 {
        let sim = SimDisk::new(seed);
        let open = || {
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let (manager, _) = LogManager::open(disk, Path::new("/data"), stepped(), clock()).unwrap();
            let log = manager.create(tp(0), segments_of(1_000_000, &[])).unwrap();
            (manager, log)
        };
        let (manager, log) = open();
        for number in 0..3 {
            append_two(&log, number, 10, 1);
        }
        commit(&manager);
        assert!(manager.step(EngineStep::Checkpoint));
        append_two(&log, 3, 10, 1);
        sim.run_short(Shortage::Room, sim.operations()..sim.operations() + 1);
        let refused = log.truncate(2);
        assert!(matches!(refused, Err(LogError::Io { action: "write", .. })), "{refused:?}");
        assert_eq!((log.log_end_offset(), log.durable_end_offset()), (8, 6), "the log is as it was");
        let again = log.append(&[batch(b"not taken")], LeaderEpoch(1), AppendOrigin::Producer);
        assert!(matches!(again, Err(AppendError::Stalled(_))), "{again:?}");
        commit(&manager);
        assert_eq!(log.durable_end_offset(), 6, "what was pending stays so");
        log.validate().unwrap();
        if seed % 2 == 0 {
            assert_eq!(log.truncate(99).unwrap(), 8, "also to keep all of it");
            append_two(&log, 4, 10, 2);
            commit(&manager);
        }
        drop((manager, log));
        sim.crash();
        sim.restart();
        let (_manager, log) = open();
        match (seed % 2, log.log_end_offset()) {
            (0, 10) => assert_eq!(
                firsts(&log).iter().map(|(_, first)| *first).step_by(2).collect::<Vec<_>>(),
                [0, 1, 2, 3, 4]
            ),
            (1, 6) => kept += 1,
            (1, 2) => cut += 1,
            (_, end) => panic!("seed {seed}: the log ends at {end}"),
        }
    }
    assert!(kept > 0 && cut > 0, "{kept} kept, {cut} cut");
}
