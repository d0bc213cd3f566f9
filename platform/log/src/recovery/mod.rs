//! Opening a data directory: what the last process left becomes partitions again.
//!
//! Segments are trusted up to the recovery point that the checkpoint names. From there on each batch is read
//! and checked, and the first that is not as it was written ends the log; everything behind it is cut off,
//! so that no bytes of an earlier write can later be taken for records. Then the write-ahead log is replayed
//! over that, but for what was [taken back](taken_back) later. Recovery ends with a checkpoint; a crash before leaves the same as was found.
//!
//! Where that checkpoint meets an error that passes, the disk is full most often, recovery is over all the same:
//! records are read, partitions and records are deleted, and appends refused until the checkpoint has gone through.
//! What the old one needs stays: its salt names the groups, and no file of the write-ahead log is opened for writing.

mod cut;
mod partition;
mod swaps;
mod taken_back;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicPartition;

use crate::checkpoint::{Checkpoint, PartitionCheckpoint};
use crate::commit::Engine;
use crate::error::OpenError;
use crate::partition::{PartitionLog, Recovered};
use crate::segment::DiskFault;
use crate::wal::format::{EntryHeader, EntryKind};
use crate::wal::replay::{FoundGroup, WalFiles};
use crate::wal::writer::WalStart;
use partition::PartitionRecovery;
use taken_back::TakenBack;

/// What opening a data directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last process closed the directory in order (or it is new).
    pub clean: bool,
    pub partitions: usize,
    /// Bytes of segments whose checksums were verified.
    pub scanned_bytes: u64,
    /// Bytes cut off segments: writes that were under way when the last process ended.
    pub truncated_bytes: u64,
    pub wal_groups: u64,
    /// Bytes of batches that only the write-ahead log held.
    pub replayed_bytes: u64,
    pub took: Duration,
}

/// What the directory of a deleted partition ends with until it is removed.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// From the loss of records that were acknowledged.
const WAY_OUT: &str = "Restore the directory from a replica or a backup";

/// Recovers everything in the engine's directory and opens the write-ahead log.
pub(crate) fn recover(engine: &Arc<Engine>) -> Result<RecoveryReport, OpenError> {
    let started = Instant::now();
    let disk = &*engine.disk;
    for dir in [engine.wal_dir(), engine.topics_dir()] {
        disk.create_dir_all(&dir).map_err(OpenError::io("make directory", &dir))?;
    }
    disk.sync_dir(&engine.dir).map_err(OpenError::io("sync", &engine.dir))?;
    let checkpoint = Checkpoint::read(disk, &engine.dir)?;
    let is_new = checkpoint.is_none();
    let checkpoint = checkpoint.unwrap_or_default();
    let mut report = RecoveryReport { clean: checkpoint.clean, ..RecoveryReport::default() };

    let wal = if checkpoint.clean {
        // Nothing was committed after it: its flag is taken back before the first commit of a next life.
        WalFiles::none(checkpoint.wal_sequence)
    } else {
        let salt = (!is_new).then_some(checkpoint.wal_salt);
        WalFiles::read(disk, &engine.wal_dir(), salt, checkpoint.wal_sequence)?
    };
    let (groups, replayed) = wal.groups()?;
    let taken = taken_back::of(&groups, &checkpoint);
    if !taken.is_empty() {
        // What is removed on the word of an entry must not outlive it.
        wal.sync(disk)?;
    }

    remove_deleted(engine)?;
    recover_partitions(engine, &checkpoint, &taken, &mut report)?;
    let gone = deleted_partitions(engine, &checkpoint);
    let mut replay = Replay { engine, checkpoint: &checkpoint, taken: &taken, gone, report: &mut report };
    groups.into_iter().try_for_each(|group| replay.group(group))?;
    report.wal_groups = replayed.groups;
    report.partitions = engine.partitions.read().len();
    report.clean |= is_new && replayed.groups == 0 && report.partitions == 0;

    let start = WalStart {
        salt: disk.entropy(),
        sequence: replayed.next_sequence,
        number: replayed.next_number.max(checkpoint.wal_number),
    };
    engine.wal_start.set(start).expect("a directory is recovered once");
    *engine.checkpoint.lock() = checkpoint;
    match engine.run_checkpoint(false) {
        Err(fault) if fault.is_passing() => {
            engine.report(&fault);
            if engine.wal.lock().is_none() {
                engine.refuse_appends();
            }
            // What was found is served as durable; the last process may not have come to it.
            wal.sync(disk)?;
            let partitions: Vec<_> = engine.partitions.read().values().cloned().collect();
            for partition in partitions {
                partition.sync(&mut partition.io()).map_err(open_error)?;
            }
        }
        outcome => {
            outcome.map_err(open_error)?;
            engine.end_stall();
        }
    }
    report.took = started.elapsed();
    Ok(report)
}

fn open_error(fault: DiskFault) -> OpenError {
    OpenError::Io { action: fault.action, path: fault.path, source: fault.source }
}

/// Finishes deletions that the last process began.
fn remove_deleted(engine: &Engine) -> Result<(), OpenError> {
    let topics = engine.topics_dir();
    let entries = engine.disk.list(&topics).map_err(OpenError::io("list", &topics))?;
    let deleted: Vec<_> = entries.iter().filter(|entry| entry.name.ends_with(DELETED_SUFFIX)).collect();
    if deleted.is_empty() {
        return Ok(());
    }
    // The renaming may not be durable yet, and must not be undone once something is gone.
    engine.disk.sync_dir(&topics).map_err(OpenError::io("sync", &topics))?;
    for entry in deleted {
        let dir = topics.join(&entry.name);
        engine.disk.remove_dir_all(&dir).map_err(OpenError::io("remove", &dir))?;
    }
    Ok(())
}

fn recover_partitions(
    engine: &Arc<Engine>,
    checkpoint: &Checkpoint,
    taken: &BTreeMap<TopicPartition, TakenBack>,
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let topics = engine.topics_dir();
    let entries = engine.disk.list(&topics).map_err(OpenError::io("list", &topics))?;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let Ok(tp) = entry.name.parse::<TopicPartition>() else {
            tracing::warn!(path = %topics.join(&entry.name).display(), "not a partition's directory; left alone");
            continue;
        };
        let known = checkpoint.partitions.get(&tp).map(|known| &**known);
        let dir = engine.partition_dir(tp);
        let unnamed = swaps::finish(&*engine.disk, &dir)?;
        let recovery = PartitionRecovery { engine, dir: dir.clone(), unnamed, report };
        let files = recovery.segment_files()?;
        if known.is_none() && files.is_empty() {
            // Made for a first segment that the crash forestalled; the write-ahead log has it, or nobody.
            engine.disk.remove_dir_all(&dir).map_err(OpenError::io("remove", &dir))?;
            continue;
        }
        let recovered = recovery.run(known, taken.get(&tp), files)?;
        let partition = PartitionLog::open(engine, tp, recovered);
        engine.partitions.write().insert(tp, partition);
    }
    Ok(())
}

/// Partitions that the checkpoint has records of and that have no directory any more.
fn deleted_partitions(engine: &Engine, checkpoint: &Checkpoint) -> BTreeSet<TopicPartition> {
    let found = engine.partitions.read();
    let had_dir = |known: &PartitionCheckpoint| known.position > 0 || known.segment > 0;
    let missing =
        checkpoint.partitions.iter().filter(|(tp, known)| had_dir(known) && !found.contains_key(tp));
    missing.map(|(tp, _)| *tp).collect()
}

/// Replaying the write-ahead log into the partitions that were recovered.
struct Replay<'a> {
    engine: &'a Arc<Engine>,
    checkpoint: &'a Checkpoint,
    taken: &'a BTreeMap<TopicPartition, TakenBack>,
    /// Partitions that were deleted.
    gone: BTreeSet<TopicPartition>,
    report: &'a mut RecoveryReport,
}

impl Replay<'_> {
    fn group(&mut self, mut group: FoundGroup<'_>) -> Result<(), OpenError> {
        let corrupt =
            |reason: String| OpenError::corrupt(group.path, group.position, format!("{reason}. {WAY_OUT}"));
        for (header, bytes) in group.entries.by_ref() {
            if !header.is_sound() {
                return Err(corrupt(format!("an entry does not fit together: {header:?}")));
            }
            let Some(partition) = self.partition_for(&header, group.number) else { continue };
            if header.kind != EntryKind::Append {
                // Recovered as it says, or made by it.
                continue;
            }
            match partition.replay(&header, bytes) {
                Ok(bytes) => self.report.replayed_bytes += bytes,
                // Its directory was deleted together with what is missing here.
                Err(_) if !partition.has_dir() => {
                    self.engine.partitions.write().remove(&header.tp);
                    partition.end();
                    self.gone.insert(header.tp);
                }
                Err(gap) => {
                    return Err(corrupt(format!("{gap}: committed records between them are missing")));
                }
            }
        }
        if !group.entries.are_done() {
            return Err(corrupt("the group's entries do not fill it".to_owned()));
        }
        Ok(())
    }

    /// The partition of an entry that counts. One without a directory has been deleted, unless the entry is its
    /// beginning: then its directory has not been made yet.
    fn partition_for(&self, header: &EntryHeader, group: u64) -> Option<Arc<PartitionLog>> {
        let tp = header.tp;
        if let Some(partition) = self.engine.partitions.read().get(&tp) {
            return (group >= partition.first_group()).then(|| Arc::clone(partition));
        }
        let known = self.checkpoint.partitions.get(&tp).map_or(0, |known| known.first_group);
        let first_group = self.taken.get(&tp).map_or(known, |taken| taken.group);
        let begins = header.position == 0 && header.base_offset == header.segment;
        if group < first_group || self.gone.contains(&tp) || !begins {
            return None;
        }
        let start = header.base_offset;
        let mut recovered = Recovered { log_start: start, end: start, first_group, ..Recovered::default() };
        if start > 0 {
            recovered.history.producers.forget_any();
        }
        let partition = PartitionLog::open(self.engine, tp, recovered);
        self.engine.partitions.write().insert(tp, Arc::clone(&partition));
        Some(partition)
    }
}
