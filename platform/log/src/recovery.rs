//! Opening a data directory: what the last process left becomes partitions again.
//!
//! Segments are trusted up to the recovery point that the checkpoint names. From there on each batch is read
//! and checked, and the first that is not as it was written ends the log; everything behind it is cut off,
//! so that no bytes of an earlier write can later be taken for records. Then the write-ahead log is replayed
//! over that. Recovery ends with a checkpoint; a crash before leaves the same as was found.
//!
//! Where that checkpoint meets an error that passes, the disk is full most often, recovery is over all the same:
//! records are read, partitions and records are deleted, and appends refused until the checkpoint has gone through.
//! What the old one needs stays: its salt names the groups, and no file of the write-ahead log is opened for writing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::limits::IO_ALIGNMENT;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_disk::DirEntry;

use crate::checkpoint::{Checkpoint, PartitionCheckpoint};
use crate::commit::Engine;
use crate::error::OpenError;
use crate::index::IndexMark;
use crate::partition::{DirState, PartitionLog, Recovered, RecoveredSegment};
use crate::segment::{
    DiskFault, INDEX_INTERVAL_BYTES_MIN, IndexBuilder, SegmentFile, WalkError, follows_on, scan_verified,
};
use crate::wal::format::{Entries, EntryHeader};
use crate::wal::replay::{Replayed, replay};
use crate::wal::writer::WalStart;

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

    remove_deleted(engine)?;
    recover_partitions(engine, &checkpoint, &mut report)?;
    let mut gone = deleted_partitions(engine, &checkpoint);
    let wal_dir = engine.wal_dir();
    let replayed = if checkpoint.clean {
        // Nothing was committed after it: its flag is taken back before the first commit of a next life.
        Replayed::nothing(checkpoint.wal_sequence)
    } else {
        let salt = (!is_new).then_some(checkpoint.wal_salt);
        replay(disk, &wal_dir, salt, checkpoint.wal_sequence, |path, position, entries| {
            replay_group(engine, &mut gone, &mut report, path, position, entries)
        })?
    };
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
        let recovery = PartitionRecovery { engine, dir: dir.clone(), report };
        let files = recovery.segment_files()?;
        if known.is_none() && files.is_empty() {
            // Made for a first segment that the crash forestalled; the write-ahead log has it, or nobody.
            engine.disk.remove_dir_all(&dir).map_err(OpenError::io("remove", &dir))?;
            continue;
        }
        let recovered = recovery.run(known, &files)?;
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

fn replay_group(
    engine: &Arc<Engine>,
    gone: &mut BTreeSet<TopicPartition>,
    report: &mut RecoveryReport,
    path: &Path,
    position: u64,
    mut entries: Entries<'_>,
) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::corrupt(path, position, format!("{reason}. {WAY_OUT}"));
    for (header, bytes) in entries.by_ref() {
        if !header.is_sound() {
            return Err(corrupt(format!("an entry does not fit together: {header:?}")));
        }
        let Some(partition) = partition_for(engine, gone, &header) else { continue };
        match partition.replay(&header, bytes) {
            Ok(bytes) => report.replayed_bytes += bytes,
            // Its directory was deleted together with what is missing here.
            Err(_) if !partition.has_dir() => {
                engine.partitions.write().remove(&header.tp);
                partition.end();
                gone.insert(header.tp);
            }
            Err(gap) => return Err(corrupt(format!("{gap}: committed records between them are missing"))),
        }
    }
    if !entries.are_done() {
        return Err(corrupt("the group's entries do not fill it".to_owned()));
    }
    Ok(())
}

/// The partition of an entry. One without a directory has been deleted, unless the entry is its beginning:
/// then its directory has not been made yet.
fn partition_for(
    engine: &Arc<Engine>,
    gone: &BTreeSet<TopicPartition>,
    header: &EntryHeader,
) -> Option<Arc<PartitionLog>> {
    if let Some(partition) = engine.partitions.read().get(&header.tp) {
        return Some(Arc::clone(partition));
    }
    if gone.contains(&header.tp) || header.position != 0 || header.base_offset != header.segment {
        return None;
    }
    let start = header.base_offset;
    let recovered = Recovered { log_start: start, end: start, ..Recovered::default() };
    let partition = PartitionLog::open(engine, header.tp, recovered);
    engine.partitions.write().insert(header.tp, Arc::clone(&partition));
    Some(partition)
}

/// Recovers one partition's segments.
struct PartitionRecovery<'a> {
    engine: &'a Arc<Engine>,
    dir: std::path::PathBuf,
    report: &'a mut RecoveryReport,
}

impl PartitionRecovery<'_> {
    fn run(
        mut self,
        known: Option<&PartitionCheckpoint>,
        files: &[(Offset, u64)],
    ) -> Result<Recovered, OpenError> {
        let mut recovered = Recovered { dir: DirState::Durable, ..Recovered::default() };
        let first = files.first().map(|(base, _)| *base);
        let point = match known {
            Some(known) => known.clone(),
            None => {
                let start = first.unwrap_or(0);
                PartitionCheckpoint {
                    log_start: start,
                    high_watermark: start,
                    offset: start,
                    segment: start,
                    max_timestamp_ms: -1,
                    ..PartitionCheckpoint::default()
                }
            }
        };
        // One that the checkpoint has no bytes of may have been made after it.
        if known.is_none_or(|known| known.position == 0) {
            recovered.dir = DirState::Made;
        }
        recovered.needed_from = known.map(|known| known.segment);
        recovered.log_start = point.log_start.max(first.unwrap_or(0));
        recovered.high_watermark = point.high_watermark;
        recovered.epochs = point.epochs.clone();
        recovered.producers = point.producers.clone();
        if recovered.log_start > known.map_or(0, |known| known.offset) {
            recovered.producers.forget_any();
        }
        recovered.end = point.offset;
        for (base, len) in files.iter().filter(|(base, _)| *base < point.segment) {
            let (len, file) = (self.segment_len(*base, *len)?, self.file(*base));
            recovered.segments.push(RecoveredSegment {
                base: *base,
                len,
                file,
                index: None,
                index_mark: IndexMark::default(),
            });
        }
        let later: Vec<_> = files.iter().filter(|(base, _)| *base >= point.segment).copied().collect();
        self.scan(&point, &later, &mut recovered)?;
        recovered.epochs.trim_start(recovered.log_start);
        Ok(recovered)
    }

    /// Base offsets and lengths of the segments on disk, ordered.
    fn segment_files(&self) -> Result<Vec<(Offset, u64)>, OpenError> {
        let entries = self.engine.disk.list(&self.dir).map_err(OpenError::io("list", &self.dir))?;
        let base = |entry: &DirEntry, suffix: &str| {
            entry.name.strip_suffix(suffix)?.parse::<Offset>().ok().filter(|base| *base >= 0)
        };
        let files: Vec<_> =
            entries.iter().filter_map(|entry| Some((base(entry, ".log")?, entry.len))).collect();
        for entry in &entries {
            if let Some(of) = base(entry, ".index")
                && !files.iter().any(|(base, _)| *base == of)
            {
                let path = self.dir.join(&entry.name);
                self.engine.disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
            }
        }
        Ok(files)
    }

    fn file(&self, base: Offset) -> Arc<SegmentFile> {
        let engine = self.engine;
        SegmentFile::new(Arc::clone(&engine.disk), Arc::clone(&engine.open_files), &self.dir, base)
    }

    fn segment_len(&self, base: Offset, len: u64) -> Result<u32, OpenError> {
        u32::try_from(len).map_err(|_| {
            OpenError::corrupt(&self.file(base).log_path, len, "it is longer than a segment can be")
        })
    }

    /// Checks the segments `files` from the recovery point on, as far as they are whole and follow each
    /// other, and cuts off the rest.
    fn scan(
        &mut self,
        point: &PartitionCheckpoint,
        files: &[(Offset, u64)],
        recovered: &mut Recovered,
    ) -> Result<(), OpenError> {
        if files.first().is_none_or(|(base, _)| *base != point.segment) {
            let file = self.file(point.segment);
            if point.position > 0 || !files.is_empty() {
                let reason = format!(
                    "the checkpoint has {} bytes of this segment, which is missing. {WAY_OUT}",
                    point.position
                );
                return Err(OpenError::corrupt(&file.log_path, 0, reason));
            }
            let index = Some(IndexBuilder::new(point.segment, INDEX_INTERVAL_BYTES_MIN));
            let index_mark = IndexMark::default();
            let fresh = RecoveredSegment { base: point.segment, len: 0, file, index, index_mark };
            recovered.segments.push(fresh);
            return Ok(());
        }
        for (number, (base, len)) in files.iter().enumerate() {
            let from = if number == 0 { point.position } else { 0 };
            let mark = if number == 0 { point.index } else { IndexMark::default() };
            let max_timestamp_ms = if number == 0 { point.max_timestamp_ms } else { -1 };
            let (file, end) = self.scan_segment(*base, from, (mark, max_timestamp_ms), *len, recovered)?;
            let next = files.get(number + 1).map(|(base, _)| *base);
            if next.is_some_and(|next| follows_on(recovered.end, next)) {
                recovered.close_from = recovered.close_from.or(Some(*base));
                continue;
            }
            self.cut(&file, end, *len, end > from, recovered)?;
            for (base, len) in &files[number + 1..] {
                let file = self.file(*base);
                file.remove().map_err(OpenError::io("remove", &file.log_path))?;
                self.report.truncated_bytes += len;
                recovered.unsynced.push(self.file(recovered.segments.last().map_or(0, |last| last.base)));
            }
            break;
        }
        Ok(())
    }

    /// Checks one segment from position `from` on; returns where it ends.
    fn scan_segment(
        &mut self,
        base: Offset,
        from: u32,
        (mark, max_timestamp_ms): (IndexMark, i64),
        len: u64,
        recovered: &mut Recovered,
    ) -> Result<(Arc<SegmentFile>, u32), OpenError> {
        let file = self.file(base);
        if len < u64::from(from) {
            let reason =
                format!("the checkpoint has {from} bytes of this segment; records are missing. {WAY_OUT}");
            return Err(OpenError::corrupt(&file.log_path, len, reason));
        }
        self.segment_len(base, len)?;
        let (index, index_mark) = file.active_index(from, mark).map_err(|error| match error {
            WalkError::Io(source) => OpenError::io("read", &file.log_path)(source),
            WalkError::Damaged { position, reason } => {
                OpenError::corrupt(&file.log_path, u64::from(position), reason)
            }
        })?;
        let mut index = IndexBuilder::resume(index, max_timestamp_ms, base);
        let log = file.log().map_err(OpenError::io("open", &file.log_path))?;
        let now_ms = self.engine.clock.now_ms();
        // Behind a gap, the log ends where the segment begins until there is a record in it.
        recovered.end = recovered.end.max(base);
        let (epochs, producers) = (&mut recovered.epochs, &mut recovered.producers);
        let (end, end_offset) = scan_verified(&*log, from, recovered.end, |position, header| {
            index.add(header, position);
            epochs.record(LeaderEpoch(header.partition_leader_epoch), header.base_offset);
            producers.record(header, now_ms);
        })
        .map_err(OpenError::io("read", &file.log_path))?;
        self.report.scanned_bytes += u64::from(end - from);
        recovered.end = end_offset;
        recovered.segments.push(RecoveredSegment {
            base,
            len: end,
            file: Arc::clone(&file),
            index: Some(index),
            index_mark,
        });
        Ok((file, end))
    }

    /// Makes `end` the end of the active segment's file, unless only the padding of its last block follows.
    fn cut(
        &mut self,
        file: &Arc<SegmentFile>,
        end: u32,
        len: u64,
        scanned: bool,
        recovered: &mut Recovered,
    ) -> Result<(), OpenError> {
        let log = file.log().map_err(OpenError::io("open", &file.log_path))?;
        let block = end - end % IO_ALIGNMENT as u32;
        let mut last_block = vec![0; IO_ALIGNMENT];
        let read =
            log.read_at(&mut last_block, u64::from(block)).map_err(OpenError::io("read", &file.log_path))?;
        let kept = (end - block) as usize;
        let padding_only = len <= u64::from(block) + IO_ALIGNMENT as u64
            && last_block[kept..read].iter().all(|byte| *byte == 0);
        if !padding_only || (kept == 0 && len > u64::from(end)) {
            log.truncate(u64::from(end)).map_err(OpenError::io("cut", &file.log_path))?;
            self.report.truncated_bytes += len - u64::from(end);
        }
        if scanned || len != u64::from(end) {
            recovered.unsynced.push(Arc::clone(file));
        }
        last_block.truncate(kept);
        recovered.last_block = last_block;
        Ok(())
    }
}
