//! A replica's log has the offsets of its leader's, in which some are missing.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace_base::Offset;
use millrace_log::{AppendError, EngineStep, LogManager, LogOptions, PartitionLog, Threading};
use millrace_protocol::batch::ProducerState;
use support::*;

/// Offsets of the records; each batch holds two.
const BASES: [Offset; 7] = [3, 10, 12, 20, 40, 42, 60];
const END: Offset = 62;

fn stepped() -> LogOptions {
    LogOptions { threading: Threading::Stepped, ..options() }
}

fn sent(base: Offset, bytes: usize) -> millrace_protocol::batch::Batch {
    let values = [vec![base as u8; bytes], vec![base as u8 + 1; bytes]];
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    placed(batch_of(&values, NOW_MS + base, ProducerState::NONE), base, 1)
}

fn append_all(log: &PartitionLog, bytes: usize) {
    for base in BASES {
        let appended = follow(log, &[sent(base, bytes)], 1).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (base, base + 1));
    }
    assert_eq!(log.log_end_offset(), END);
}

/// Every read from any offset, up to any, gives the next batch that there is.
fn check_reads(log: &PartitionLog) {
    for from in 0..=END {
        let next = BASES.into_iter().find(|base| base + 2 > from);
        for up_to in from..=END {
            let read = log.read(from, up_to, 1, true).unwrap();
            match next.filter(|base| base + 2 <= up_to) {
                Some(base) => assert_eq!(
                    (read.first_offset, read.next_offset, batches(read).len()),
                    (base, base + 2, 1),
                    "from {from} up to {up_to}"
                ),
                None => assert!(read.payload.is_empty(), "from {from} up to {up_to}"),
            }
        }
        let all = batches(log.read(from, END, 1 << 24, true).unwrap());
        let bases: Vec<_> = all.iter().map(|batch| batch.header.base_offset).collect();
        let expected: Vec<_> = BASES.into_iter().filter(|base| base + 2 > from).collect();
        // A read from disk ends with its segment.
        assert!(expected.starts_with(&bases) && bases.is_empty() == expected.is_empty(), "{from}: {bases:?}");
    }
    for base in BASES {
        let found = log.offset_for_timestamp(NOW_MS + base - 1, END).unwrap().unwrap();
        assert_eq!((found.offset, found.leader_epoch.0), (base, 1));
    }
    assert_eq!(log.max_timestamp_offset(END).unwrap().unwrap().offset, 60);
    assert_eq!(log.offset_for_timestamp(NOW_MS + 61, END).unwrap(), None);
}

fn with_records(dir: &Path, segment_bytes: u32, bytes: usize) -> (LogManager, Arc<PartitionLog>) {
    let (manager, _) = open_with(dir, stepped(), clock());
    let log = manager.create(tp(0), segments_of(segment_bytes, &[])).unwrap();
    append_all(&log, bytes);
    (manager, log)
}

#[test]
fn reads_and_lookups_pass_over_gaps_in_memory_on_disk_and_between() {
    for (segment_bytes, bytes) in [(1_000_000, 10), (1_000_000, 40_000), (300, 50), (100_000, 20_000)] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, log) = with_records(dir.path(), segment_bytes, bytes);
        check_reads(&log);
        while manager.step(EngineStep::Wal) | manager.step(EngineStep::Direct) {}
        assert_eq!(log.durable_end_offset(), END);
        check_reads(&log);
        // Only the write-ahead log or the segments have them; then the segments alone.
        drop((manager, log));
        for _ in 0..2 {
            let (manager, _) = open_with(dir.path(), stepped(), clock());
            let log = manager.partition(&tp(0)).unwrap();
            assert_eq!((log.log_end_offset(), log.durable_end_offset()), (END, END));
            check_reads(&log);
            drop(log);
            manager.close().unwrap();
        }
        // Some of them on disk, the last in memory, behind a gap.
        let (manager, _) = open_with(dir.path(), stepped(), clock());
        let log = manager.create(tp(0), segments_of(segment_bytes, &[])).unwrap();
        follow(&log, &[sent(70, bytes)], 1).unwrap();
        for from in 62..72 {
            let read = log.read(from, 72, 1, true).unwrap();
            assert_eq!((read.first_offset, read.next_offset), (70, 72), "from {from}");
        }
    }
}

#[test]
fn what_is_far_behind_the_end_begins_a_segment() {
    const FAR: Offset = 5_000_000_000;
    for bytes in [10, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, log) = with_records(dir.path(), 1_000_000_000, bytes);
        let far = [sent(FAR, bytes), sent(FAR + 7, bytes), sent(3 * FAR, bytes)];
        follow(&log, &far, 1).unwrap();
        while manager.step(EngineStep::Wal) | manager.step(EngineStep::Direct) {}
        let check = |log: &PartitionLog| {
            assert_eq!((log.log_end_offset(), log.durable_end_offset()), (3 * FAR + 2, 3 * FAR + 2));
            let found: Vec<_> = records(log, 0).into_iter().map(|(offset, _)| offset).collect();
            let bases = BASES.into_iter().chain([FAR, FAR + 7, 3 * FAR]);
            assert_eq!(found, bases.flat_map(|base| [base, base + 1]).collect::<Vec<_>>());
            for (from, base) in [(62, FAR), (FAR - 1, FAR), (FAR + 3, FAR + 7), (FAR + 9, 3 * FAR)] {
                assert_eq!(log.read(from, Offset::MAX, 1, true).unwrap().first_offset, base, "from {from}");
            }
        };
        check(&log);
        drop((manager, log));
        for _ in 0..2 {
            let (manager, _) = open_with(dir.path(), stepped(), clock());
            check(&manager.partition(&tp(0)).unwrap());
            manager.close().unwrap();
        }
    }
}

#[test]
fn a_batch_from_before_the_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = with_records(dir.path(), 1_000_000, 10);
    let refused = follow(&log, &[sent(END, 10), sent(END + 1, 10)], 1).unwrap_err();
    assert_eq!(refused, AppendError::NotNext { base_offset: END + 1, end: END + 2 });
    assert_eq!(log.log_end_offset(), END, "all of them are appended or none");
}

/// The leader has checked it; settings may have become stricter since.
#[test]
fn a_leaders_batch_may_be_larger_than_the_settings_allow() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, _) = open_with(dir.path(), stepped(), clock());
    let log = manager.create(tp(0), segments_of(1000, &[("max.message.bytes", "500")])).unwrap();
    append_all(&log, 2000);
    check_reads(&log);
}
