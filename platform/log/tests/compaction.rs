//! Compaction through the log: what is left, where reads find it, what it does with several segments, little memory,
//! damage, and changes under its hands.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace_base::{LeaderEpoch, ManualClock, Offset};
use millrace_log::{
    AppendOrigin, CompactionOptions, EngineStep, LogManager, LogOptions, PartitionLog, Threading,
};
use millrace_protocol::batch::ProducerState;
use millrace_protocol::compression::Codec;
use support::*;

/// Bytes of a record's value; some ten batches of a record fill a segment.
const VALUE_BYTES: usize = 100;
const SEGMENT_BYTES: u32 = 2000;

struct Log {
    manager: LogManager,
    log: Arc<PartitionLog>,
    clock: Arc<ManualClock>,
}

fn stepped() -> LogOptions {
    LogOptions { threading: Threading::Stepped, ..options() }
}

impl Log {
    fn open(dir: &Path, settings: &[(&str, &str)]) -> Self {
        Self::with(dir, stepped(), settings)
    }

    fn with(dir: &Path, options: LogOptions, settings: &[(&str, &str)]) -> Self {
        let clock = clock();
        let (manager, _) = open_with(dir, options, clock.clone());
        let settings: Vec<_> = [("cleanup.policy", "compact")].iter().chain(settings).copied().collect();
        let log = manager.create(tp(0), segments_of(SEGMENT_BYTES, &settings)).unwrap();
        log.set_high_watermark(log.durable_end_offset());
        Self { manager, log, clock }
    }

    /// Appends one batch of one record: the value is the key's first byte many times; `None`: a tombstone.
    fn put(&self, key: u8, value: bool) -> Offset {
        let bytes = [key; VALUE_BYTES];
        let record: (&[u8], Option<&[u8]>) = (&[key], value.then_some(&bytes[..]));
        let sent = keyed(&[record], NOW_MS, Codec::None, ProducerState::NONE);
        append(&self.log, sent).unwrap().base_offset
    }

    fn commit(&self) {
        while self.manager.step(EngineStep::Wal) | self.manager.step(EngineStep::Direct) {}
        self.log.set_high_watermark(self.log.durable_end_offset());
    }

    /// Commits, and compacts until nothing is due. How many runs it took.
    fn compact(&self) -> u64 {
        self.commit();
        let before = self.manager.metrics().compactions;
        while self.manager.step(EngineStep::Compact) {}
        self.log.validate().unwrap();
        self.manager.metrics().compactions - before
    }

    fn offsets(&self) -> Vec<Offset> {
        records(&self.log, self.log.log_start_offset()).into_iter().map(|(offset, _)| offset).collect()
    }
}

fn segments(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir.join(format!("topics/{}", tp(0))))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".snapshot") && !name.ends_with(".index"))
        .collect();
    names.sort();
    names
}

/// 40 records of 4 keys in turn, four segments of twelve and less.
fn filled(dir: &Path, settings: &[(&str, &str)]) -> Log {
    let log = Log::open(dir, settings);
    for offset in 0..40 {
        assert_eq!(log.put((offset % 4) as u8, true), offset);
    }
    log
}

#[test]
fn the_newest_of_each_key_stays_and_the_active_segment_is_let_be() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[]);
    log.commit();
    log.manager.step(EngineStep::Checkpoint);
    let before = segments(dir.path());
    assert_eq!(before.len(), 4);
    let active: Offset = before.last().unwrap().strip_suffix(".log").unwrap().parse().unwrap();
    assert_eq!(log.compact(), 1);
    assert_eq!(segments(dir.path()), before, "together they might have been larger than a segment");
    let expected: Vec<Offset> = (active - 4..40).collect();
    assert_eq!(log.offsets(), expected);
    assert_eq!(log.compact(), 0, "all is clean");
    // A new read finds the next one that there is; before it come the batches that segments end with, empty.
    for from in 0..40 {
        assert_eq!(records(&log.log, from)[0].0, from.max(active - 4));
    }
    assert_eq!(log.log.offset_for_timestamp(0, 40).unwrap().unwrap().offset, active - 4);
    assert_eq!(log.log.max_timestamp_offset(40).unwrap().unwrap().offset, active - 4);
    let (start, end) = (log.log.log_start_offset(), log.log.log_end_offset());
    assert_eq!((start, end), (0, 40));
    let metrics = log.manager.metrics();
    assert_eq!((metrics.compactions, metrics.uncleanable_partitions, metrics.dirty_percent_max), (1, 0, 0));
    assert_eq!(metrics.last_compaction_ms, NOW_MS as u64);
    assert!(metrics.compaction_written_bytes > 0 && metrics.compaction_read_bytes > 0);
    // And so it is after a restart, which knows what is clean.
    drop(log);
    for _ in 0..2 {
        let log = Log::open(dir.path(), &[]);
        assert_eq!(log.offsets(), expected);
        assert_eq!(log.compact(), 0);
    }
}

/// A segment of which little is left becomes one with those after it, as many as fit.
#[test]
fn small_segments_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[]);
    assert_eq!(log.compact(), 1);
    for offset in 40..73 {
        log.put((offset % 4) as u8, true);
    }
    assert_eq!(log.compact(), 1);
    let names = [0, 33, 44, 55, 66].map(|base| format!("{base:020}.log"));
    assert_eq!(segments(dir.path()), names, "0, 11 and 22 have become one");
    assert_eq!(log.offsets(), (62..73).collect::<Vec<_>>());
    assert!((0..73).all(|from| log.log.read(from, 73, 1, true).unwrap().next_offset > from));
    drop(log);
    let log = Log::open(dir.path(), &[]);
    assert_eq!(log.offsets(), (62..73).collect::<Vec<_>>());
    assert_eq!(segments(dir.path()), names);
}

#[test]
fn readers_keep_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[]);
    log.commit();
    // From files, as a reader gets them that is behind.
    drop(log);
    let log = Log::open(dir.path(), &[]);
    let held = log.log.read(0, Offset::MAX, 1 << 20, true).unwrap();
    let first = batches(held.clone());
    assert!(first.len() >= 10);
    assert_eq!(log.compact(), 1);
    assert_eq!(batches(held), first);
    assert_ne!(log.log.read(0, Offset::MAX, 1, true).unwrap().first_offset, 0);
}

#[test]
fn tombstones_go_when_their_time_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), &[("delete.retention.ms", "1000"), ("min.cleanable.dirty.ratio", "0")]);
    let deleted: Vec<Offset> = [1, 2, 3].map(|key| (log.put(key, true), log.put(key, false)).1).to_vec();
    let fill = |key: u8| (0..20).for_each(|_| _ = log.put(key, true));
    fill(9);
    log.compact();
    let of_keys = |log: &Log| {
        let offsets = log.offsets();
        deleted.iter().copied().filter(|offset| offsets.contains(offset)).collect::<Vec<_>>()
    };
    assert_eq!(of_keys(&log), deleted, "the horizon has just been set");
    assert!(!log.offsets().contains(&0), "what was deleted is gone");
    log.clock.advance_ms(999);
    fill(9);
    log.compact();
    assert_eq!(of_keys(&log), deleted);
    log.clock.advance_ms(1);
    fill(9);
    log.compact();
    assert_eq!(of_keys(&log), [0; 0]);
}

#[test]
fn what_is_too_young_is_let_be_and_what_is_too_old_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[("min.compaction.lag.ms", "60000")]);
    log.clock.advance_ms(60_000 - 1);
    assert_eq!(log.compact(), 0);
    log.clock.advance_ms(1);
    assert_eq!(log.compact(), 1);

    let dir = tempfile::tempdir().unwrap();
    let settings = [("max.compaction.lag.ms", "60000"), ("min.cleanable.dirty.ratio", "1")];
    let log = filled(dir.path(), &settings);
    log.clock.advance_ms(60_000);
    assert_eq!(log.compact(), 0);
    log.clock.advance_ms(1);
    assert_eq!(log.compact(), 1);
    assert_eq!(log.offsets(), [36, 37, 38, 39], "the active segment was ended, too");
}

#[test]
fn nothing_is_compacted_above_the_high_watermark_or_in_an_open_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[]);
    while log.manager.step(EngineStep::Wal) | log.manager.step(EngineStep::Direct) {}
    log.log.set_high_watermark(5);
    while log.manager.step(EngineStep::Compact) {}
    assert_eq!(log.offsets().len(), 40, "no segment ends below");

    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), &[]);
    let open = ProducerState { transactional: true, ..producer(5, 0, 0) };
    append(&log.log, keyed(&[(b"k", Some(b"v"))], NOW_MS, Codec::None, open)).unwrap();
    (0..40).for_each(|_| _ = log.put(1, true));
    assert_eq!(log.compact(), 0);
    assert_eq!(log.offsets().len(), 41);
}

/// One key more than the map holds is not waited for: several runs do it.
#[test]
fn more_keys_than_memory_are_compacted_in_several_runs() {
    let dir = tempfile::tempdir().unwrap();
    let compaction = CompactionOptions { dedupe_buffer_bytes: 24 * 10, ..CompactionOptions::default() };
    let settings = [("min.cleanable.dirty.ratio", "0")];
    let log = Log::with(dir.path(), LogOptions { compaction, ..stepped() }, &settings);
    for round in 0..3 {
        for key in 0..30u8 {
            assert_eq!(log.put(key, true), round * 30 + Offset::from(key));
        }
    }
    for _ in 0..30 {
        log.put(99, true);
    }
    assert!(log.compact() > 5);
    let offsets = log.offsets();
    let below: Vec<Offset> = offsets.iter().copied().filter(|offset| *offset < 90).collect();
    assert_eq!(below, (60..90).collect::<Vec<_>>());
}

#[test]
fn sequences_go_on_after_compaction_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sent = |sequence| keyed(&[(b"k", Some(b"v"))], NOW_MS, Codec::Zstd, producer(7, 0, sequence));
    let log = Log::open(dir.path(), &[]);
    for sequence in 0..3 {
        append(&log.log, sent(sequence)).unwrap();
    }
    for _ in 0..40 {
        append(&log.log, keyed(&[(b"k", Some(&[1; 100]))], NOW_MS, Codec::None, ProducerState::NONE))
            .unwrap();
    }
    assert_eq!(log.compact(), 1);
    assert!(log.offsets()[0] > 2, "its records are gone");
    let held: Vec<_> = batches(log.log.read(0, Offset::MAX, 1, true).unwrap());
    assert_eq!(
        (held[0].header.record_count, held[0].header.last_offset(), held[0].header.base_sequence),
        (0, 2, 2)
    );
    // A log whose state is made of its batches alone: its snapshots and its checkpoint are gone.
    log.manager.close().unwrap();
    drop(log);
    for name in ["checkpoint", &format!("topics/{}/{:020}.index", tp(0), 0)] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let log = Log::open(dir.path(), &[]);
    assert_eq!(log.log.log_end_offset(), 43);
    assert!(append(&log.log, sent(2)).unwrap().duplicate);
    assert!(!append(&log.log, sent(3)).unwrap().duplicate);
}

/// Where a leader's epoch has no record left, its end is known all the same.
#[test]
fn epochs_are_what_they_were_after_a_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), &[]);
    let of = |epoch| {
        let sent = keyed(&[(b"k", Some(&[1; 100]))], NOW_MS, Codec::None, ProducerState::NONE);
        log.log.append(&[sent], LeaderEpoch(epoch), AppendOrigin::Producer).unwrap().base_offset
    };
    for epoch in 1..=5 {
        (0..9).for_each(|_| _ = of(epoch));
    }
    assert_eq!(log.compact(), 1);
    let ends = |log: &PartitionLog| [1, 2, 3].map(|epoch| log.end_offset_for_epoch(LeaderEpoch(epoch)));
    let expected = [(1, 9), (2, 18), (3, 27)].map(|(epoch, end)| Some((LeaderEpoch(epoch), end)));
    assert_eq!(ends(&log.log), expected);
    log.log.truncate(44).unwrap();
    assert_eq!(ends(&log.log), expected);
    // Without a checkpoint since.
    drop(log);
    let log = Log::open(dir.path(), &[]);
    assert_eq!(log.log.log_end_offset(), 44);
    assert_eq!(ends(&log.log), expected);
}

#[test]
fn one_that_is_damaged_stays_as_it_is_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[]);
    let other =
        log.manager.create(tp(1), segments_of(SEGMENT_BYTES, &[("cleanup.policy", "compact")])).unwrap();
    for _ in 0..40 {
        append(&other, keyed(&[(b"k", Some(&[1; 100]))], NOW_MS, Codec::None, ProducerState::NONE)).unwrap();
    }
    log.commit();
    other.set_high_watermark(40);
    log.manager.step(EngineStep::Checkpoint);
    let path = dir.path().join(format!("topics/{}/{:020}.log", tp(0), 0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(log.compact(), 1);
    assert_eq!(log.manager.metrics().uncleanable_partitions, 1);
    assert_eq!(segments(dir.path()).len(), 4, "nothing was swapped in, and nothing is left");
    assert!(records(&other, 0).len() < 20);
    log.manager.delete(&tp(0)).unwrap();
    log.manager.step(EngineStep::Compact);
    assert_eq!(log.manager.metrics().uncleanable_partitions, 0);
}

#[test]
fn a_topic_that_deletes_as_well_loses_its_oldest_segments() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("cleanup.policy", "compact,delete"), ("retention.ms", "60000")];
    let log = filled(dir.path(), &settings);
    assert_eq!(log.compact(), 1);
    log.clock.advance_ms(60_001);
    assert!(log.manager.enforce_retention().segments > 0);
    assert_eq!(log.offsets(), [0; 0]);

    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), &[("retention.ms", "60000")]);
    assert_eq!(log.compact(), 1);
    log.clock.advance_ms(60_001);
    assert_eq!(log.manager.enforce_retention().segments, 0, "what is only compacted is kept");
    assert_eq!(log.log.delete_records(40).unwrap(), 40);
    assert_eq!((log.offsets(), segments(dir.path()).len()), (vec![], 1), "but for what is deleted by hand");
}

#[test]
fn threads_of_its_own_compact_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let compaction =
        CompactionOptions { backoff: std::time::Duration::from_millis(1), ..CompactionOptions::default() };
    let log = Log::with(dir.path(), LogOptions { compaction, ..options() }, &[]);
    for offset in 0..200 {
        log.put((offset % 4) as u8, true);
    }
    settle(&log.log);
    wait_until(|| log.offsets().len() < 30);
    log.manager.close().unwrap();
}

/// Files are opened by their names again and again, since few may be open, while others take those names.
#[test]
fn readers_meet_no_error_while_segments_are_swapped() {
    let dir = tempfile::tempdir().unwrap();
    let compaction =
        CompactionOptions { backoff: std::time::Duration::from_millis(1), ..CompactionOptions::default() };
    let options = LogOptions { compaction, open_segments: 2, tail_bytes: 1, ..options() };
    let log = Log::with(dir.path(), options, &[("min.cleanable.dirty.ratio", "0")]);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while log.log.log_end_offset() < 1500 || rounds == 0 {
                        let found = records(&log.log, 0);
                        assert!(found.is_sorted_by(|one, next| one.0 < next.0));
                        assert!(found.iter().all(|(offset, value)| value[0] == (offset % 4) as u8));
                        rounds += 1;
                    }
                })
            })
            .collect();
        for offset in 0..1500 {
            assert_eq!(log.put((offset % 4) as u8, true), offset);
            if offset % 100 == 99 {
                let before = log.manager.metrics().compactions;
                settle(&log.log);
                wait_until(|| log.manager.metrics().compactions > before);
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    log.manager.close().unwrap();
}
