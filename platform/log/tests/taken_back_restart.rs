//! What a restart makes of records that were taken back, where the checkpoint and the write-ahead log both tell of them.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace_base::ManualClock;
use millrace_disk::Disk;
use millrace_disk::sim::{Shortage, SimDisk};
use millrace_log::{EngineStep, LogManager, LogOptions, OpenError, PartitionLog, Threading};
use millrace_protocol::batch::ProducerState;
use support::*;

/// A log of segments of two records on a simulated disk, of which retention keeps the last.
fn open(sim: &SimDisk, clock: &Arc<ManualClock>) -> Result<(LogManager, Arc<PartitionLog>), OpenError> {
    let options = LogOptions { wal_bytes: 256 << 10, threading: Threading::Stepped, ..options() };
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (manager, _) = LogManager::open(disk, Path::new("/data"), options, clock.clone())?;
    let config = segments_of(300, &[("retention.bytes", "1"), ("retention.ms", "-1")]);
    let log = manager.create(tp(0), config).unwrap();
    Ok((manager, log))
}

fn append_two(log: &PartitionLog, epoch: i32) {
    let batch = batch_of(&[&[1; 80], &[2; 80]], NOW_MS, ProducerState::NONE);
    follow(log, &[placed(batch, log.log_end_offset(), epoch)], epoch).unwrap();
}

/// Everything that was appended is committed, in the log and by those in sync.
fn commit(manager: &LogManager, log: &PartitionLog) {
    while manager.step(EngineStep::Wal) | manager.step(EngineStep::Direct) {}
    log.set_high_watermark(log.durable_end_offset());
}

fn restart(sim: &SimDisk) {
    sim.crash();
    sim.restart();
}

/// The groups that took records back are still in the write-ahead log, and count for nothing any more.
#[test]
fn what_was_taken_back_before_a_checkpoint_is_not_taken_back_again() {
    for resets in [false, true] {
        let (sim, clock) = (SimDisk::new(1), clock());
        let (manager, log) = open(&sim, &clock).unwrap();
        for _ in 0..3 {
            append_two(&log, 1);
        }
        commit(&manager, &log);
        let taken_to = if resets { log.reset(100).map(|()| 100) } else { log.truncate(4) }.unwrap();
        for _ in 0..4 {
            append_two(&log, 2);
        }
        commit(&manager, &log);
        assert!(manager.step(EngineStep::Checkpoint));
        assert_eq!(log.delete_records(taken_to + 3).unwrap(), taken_to + 3);
        let known = records(&log, taken_to + 3);
        // With the first record of the batch that the log starts in.
        assert_eq!((log.high_watermark(), known.len()), (taken_to + 8, 6));
        drop((manager, log));
        restart(&sim);

        let (_manager, log) = open(&sim, &clock).unwrap();
        assert_eq!(log.log_start_offset(), taken_to + 3, "deleted records stay deleted, resets: {resets}");
        assert_eq!(log.high_watermark(), taken_to + 8, "the checkpoint has kept it, resets: {resets}");
        assert_eq!(records(&log, taken_to + 3), known);
        log.validate().unwrap();
    }
}

/// Retention removes nothing that a restart cuts the log back in, whichever write of its checkpoint fails.
#[test]
fn retention_keeps_the_segment_that_a_restart_cuts() {
    let mut failed = 0;
    for write in 0.. {
        let (sim, clock) = (SimDisk::new(1), clock());
        let (manager, log) = open(&sim, &clock).unwrap();
        for _ in 0..6 {
            append_two(&log, 1);
        }
        commit(&manager, &log);
        assert!(manager.step(EngineStep::Checkpoint));
        // Within a segment that the checkpoint is far beyond.
        log.truncate(3).unwrap();
        for _ in 0..6 {
            append_two(&log, 2);
        }
        commit(&manager, &log);
        let known = records(&log, log.log_end_offset() - 2);
        let from = sim.operations() + write;
        sim.run_short(Shortage::Room, from..from + 1);
        manager.enforce_retention();
        let was_met = sim.operations() > from;
        failed += u32::from(manager.health() != millrace_log::Health::Ok);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        drop((manager, log));
        restart(&sim);
        let (_manager, log) =
            open(&sim, &clock).unwrap_or_else(|error| panic!("write {write} fails: {error}"));
        assert_eq!((log.log_end_offset(), records(&log, end - 2)), (end, known), "write {write} fails");
        assert!(log.log_start_offset() <= start);
        log.validate().unwrap();
        if !was_met {
            break;
        }
    }
    assert!(failed > 1, "{failed} writes were missed");
}
