//! Taking a checkpoint: segments are brought up to date and synced, then files of the write-ahead log are
//! free again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use millrace_disk::Need;

use super::{Engine, Trash};
use crate::checkpoint::{Checkpoint, PartitionCheckpoint};
use crate::error::LogError;
use crate::index::IndexMark;
use crate::metrics::count;
use crate::options::Threading;
use crate::partition::{Captured, Flushed, PartitionLog};
use crate::segment::DiskFault;
use crate::wal::writer::WalWriter;

/// Files that are synced one by one. For more, one sync of the whole file system costs less, and what a
/// checkpoint costs does not grow with the partitions.
const SYNC_EACH_MAX: usize = 8;

/// Partitions that a checkpoint writes at the same time.
const FLUSH_THREADS: usize = 4;

/// A checkpoint in the making.
struct Draft {
    checkpoint: Checkpoint,
    /// What of it is written, with the mark of each index.
    written: Vec<(Arc<PartitionLog>, Captured, IndexMark)>,
    /// The first error that kept a partition from being written, if it passes.
    unwritten: Option<DiskFault>,
}

impl Engine {
    /// Takes a checkpoint of all partitions. `clean`: nothing follows before the directory is closed.
    ///
    /// Partitions that cannot be written, since the disk is full most often, stay as the last checkpoint has them, and
    /// so does all that the write-ahead log is needed for. The others move on, so that what they do not need any more
    /// can be removed, which may make the room. That is an error all the same.
    pub fn run_checkpoint(&self, clean: bool) -> Result<(), DiskFault> {
        self.clear_trash()?;
        let completed = if clean { Ok(()) } else { self.complete_wal() };
        self.checkpoint_locked(&mut self.checkpoint.lock(), clean)?;
        completed
    }

    /// Does `write`, which may be repeated, with what there is of the reserve if `need` says for what.
    pub fn in_room<T>(
        &self,
        need: impl Into<Option<Need>>,
        mut write: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match need.into() {
            Some(need) => self.options.reserve.with_room(need, write),
            None => write(),
        }
    }

    /// Makes the files of the write-ahead log that the first start has put off.
    pub(super) fn complete_wal(&self) -> Result<(), DiskFault> {
        let dir = self.wal_dir();
        loop {
            let missing = self.wal.lock().as_ref().and_then(WalWriter::missing);
            let Some(missing) = missing else { return Ok(()) };
            let file = missing.make(&*self.disk, &dir).map_err(DiskFault::of("make a file in", &dir))?;
            if let Some(writer) = self.wal.lock().as_mut() {
                writer.made(&missing, file);
            }
        }
    }

    pub(super) fn checkpoint_locked(&self, last: &mut Checkpoint, clean: bool) -> Result<(), DiskFault> {
        self.check_sound()?;
        let start = self.wal_start.get().expect("recovery sets it before the first checkpoint");
        let (wal_sequence, wal_number) = match self.wal.lock().as_ref() {
            // At the end not even the current file is needed.
            Some(writer) => (writer.current_sequence() + u64::from(clean), writer.next_number()),
            None => (start.sequence, start.number),
        };
        let checkpoint =
            Checkpoint { clean, wal_sequence, wal_number, wal_salt: start.salt, ..Checkpoint::default() };
        let mut draft = Draft { checkpoint, written: Vec::new(), unwritten: None };
        self.write_partitions(last, &mut draft)?;
        if let Some(fault) = draft.unwritten.take() {
            // Before there is any checkpoint, none can be gone on with.
            if last.wal_salt != 0 && !draft.written.is_empty() {
                draft.checkpoint.go_on_with(last);
                self.finish(last, draft)?;
            }
            return Err(fault);
        }
        self.finish(last, draft)?;
        if !clean {
            self.free_wal(wal_sequence)?;
        }
        count(&self.counters.checkpoints, 1);
        Ok(())
    }

    /// Writes the partitions that have changed since `last` to their segments, durably, and adds all to `draft`.
    fn write_partitions(&self, last: &Checkpoint, draft: &mut Draft) -> Result<(), DiskFault> {
        let partitions: Vec<Arc<PartitionLog>> = self.partitions.read().values().cloned().collect();
        let mut captured = Vec::new();
        for partition in partitions {
            let tp = partition.topic_partition();
            if let Some(unchanged) = last.partitions.get(&tp) {
                draft.checkpoint.partitions.insert(tp, Arc::clone(unchanged));
            }
            if let Some(capture) = partition.capture() {
                captured.push((partition, capture));
            }
        }
        // Where room ends, as many as can be had move on.
        captured.sort_by_key(|(_, capture)| capture.unwritten_bytes);
        // An index stays open until its sync, so no more are written than may be open.
        while !captured.is_empty() {
            let some: Vec<_> =
                captured.drain(..self.options.open_segments.clamp(1, captured.len())).collect();
            let mut unsynced = Vec::new();
            let mut unsynced_files = 0;
            let flushed = self.flush(&some);
            for ((partition, capture), flushed) in some.into_iter().zip(flushed) {
                let tp = partition.topic_partition();
                let flushed = match flushed {
                    Ok(Some(flushed)) => flushed,
                    Ok(None) => {
                        draft.checkpoint.partitions.remove(&tp);
                        continue;
                    }
                    Err(fault) if fault.is_passing() => {
                        draft.unwritten.get_or_insert(fault);
                        continue;
                    }
                    Err(fault) => return Err(fault),
                };
                if flushed.unsynced_files > 0 {
                    unsynced_files += flushed.unsynced_files;
                    unsynced.push(Arc::clone(&partition));
                }
                let of = PartitionCheckpoint { index: flushed.index, ..capture.checkpoint.clone() };
                draft.checkpoint.partitions.insert(tp, Arc::new(of));
                draft.written.push((partition, capture, flushed.index));
            }
            self.evict();
            self.sync_partitions(&unsynced, unsynced_files)?;
        }
        Ok(())
    }

    /// Makes the checkpoint durable, and removes what it does not need any more.
    fn finish(&self, last: &mut Checkpoint, draft: Draft) -> Result<(), DiskFault> {
        // Taken here: a deletion that made a partition miss in the draft holds the lock until it stands in there.
        let mut trash = std::mem::take(&mut *self.trash.lock());
        let written = self.sync_deletions(&mut trash).and_then(|()| self.write_checkpoint(&draft.checkpoint));
        if let Err(fault) = written {
            self.trash.lock().extend(trash);
            return Err(fault);
        }
        *last = draft.checkpoint;
        for (partition, capture, index_mark) in &draft.written {
            partition.checkpointed(capture, *index_mark);
        }
        self.remove_trash(trash);
        Ok(())
    }

    /// After a checkpoint that needs the write-ahead log from `sequence` on only. After recovery's: its salt is durable
    /// now, and that of the groups so far is gone, so that the log is opened.
    fn free_wal(&self, sequence: u64) -> Result<(), DiskFault> {
        let mut wal = self.wal.lock();
        if let Some(writer) = wal.as_mut() {
            writer.recycle(sequence);
            return Ok(());
        }
        let (dir, start) = (self.wal_dir(), self.wal_start.get().expect("see checkpoint_locked"));
        let writer = WalWriter::create(&*self.disk, &dir, self.options.wal_bytes, *start);
        *wal = Some(writer.map_err(DiskFault::of("make the write-ahead log in", &dir))?);
        Ok(())
    }

    /// Writes what was captured to the segments, of many partitions side by side: each write by itself leaves
    /// most of a disk unused. In their order, what came of each.
    fn flush(&self, captured: &[(Arc<PartitionLog>, Captured)]) -> Vec<Result<Option<Flushed>, DiskFault>> {
        let one_by_one = |part: &[(Arc<PartitionLog>, Captured)]| -> Vec<_> {
            part.iter().map(|(partition, capture)| partition.flush_captured(capture)).collect()
        };
        if self.options.threading == Threading::Stepped || captured.len() < 2 * FLUSH_THREADS {
            return one_by_one(captured);
        }
        thread::scope(|scope| {
            let parts = captured.chunks(captured.len().div_ceil(FLUSH_THREADS));
            let running: Vec<_> = parts.map(|part| scope.spawn(move || one_by_one(part))).collect();
            let flushed = running.into_iter().map(|part| part.join().expect("a flush does not panic"));
            flushed.flatten().collect()
        })
    }

    /// After a write of a checkpoint's that took `busy`: leaves the disk to commits for as long, unless these
    /// are about to run out of room in the write-ahead log.
    pub fn give_way(&self, busy: Duration) {
        let runs = self.options.threading == Threading::Threads && !self.queues.is_stopped();
        if runs && self.wal.lock().as_ref().is_some_and(WalWriter::has_free_file) {
            thread::sleep(busy);
        }
    }

    fn sync_partitions(&self, unsynced: &[Arc<PartitionLog>], files: usize) -> Result<(), DiskFault> {
        if files <= SYNC_EACH_MAX {
            return unsynced.iter().try_for_each(|partition| partition.sync(&mut partition.io()));
        }
        count(&self.counters.syncs, 1);
        self.disk.sync_all(&self.dir).map_err(DiskFault::of_sync("sync", &self.dir))?;
        for partition in unsynced {
            // What others wrote meanwhile they have synced themselves, under this lock.
            partition.io().synced();
        }
        Ok(())
    }

    /// Removes what is left of deleted partitions, which needs no room and makes some. Should a crash come before
    /// the next checkpoint, recovery finds what it finds after a crash in the middle of a deletion.
    fn clear_trash(&self) -> Result<(), DiskFault> {
        self.check_sound()?;
        let trash = {
            // A checkpoint that finds nothing here takes the deletions for durable, so they are before they go.
            let mut trash = self.trash.lock();
            self.sync_deletions(&mut trash)?;
            std::mem::take(&mut *trash)
        };
        self.remove_trash(trash);
        Ok(())
    }

    /// A deleted partition must not come back without what the write-ahead log had of it.
    fn sync_deletions(&self, trash: &mut [Trash]) -> Result<(), DiskFault> {
        if trash.is_empty() {
            return Ok(());
        }
        for Trash { from, dir } in trash {
            let Some(present) = &from else { continue };
            self.in_room(Need::Control, || self.disk.rename(present, dir))
                .map_err(DiskFault::of("rename", present))?;
            *from = None;
        }
        let topics = self.topics_dir();
        count(&self.counters.syncs, 1);
        self.disk.sync_dir(&topics).map_err(DiskFault::of_sync("sync", &topics))
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), DiskFault> {
        count(&self.counters.syncs, 2);
        self.in_room(Need::Control, || checkpoint.write(&*self.disk, &self.dir))
            .map_err(DiskFault::of("write checkpoint in", &self.dir))
    }

    /// Makes the log start of `partition` durable. Where its segments allow it, by the last checkpoint with
    /// nothing else changed; else by a new one.
    pub fn persist_log_start(&self, partition: &PartitionLog) -> Result<(), LogError> {
        let log_start = partition.log_start_offset();
        let mut last = self.checkpoint.lock();
        if let Some(reason) = self.failure() {
            return Err(LogError::Failed(reason));
        }
        // What is known of before the log was cut back counts for nothing.
        let is_current = |known: &&Arc<PartitionCheckpoint>| known.first_group == partition.first_group();
        let known = last.partitions.get(&partition.topic_partition()).filter(is_current);
        if log_start <= known.map_or(0, |known| known.log_start) {
            return Ok(());
        }
        let outcome = match known.filter(|known| known.offset > log_start) {
            Some(known) => {
                let changed = PartitionCheckpoint {
                    log_start,
                    high_watermark: known.high_watermark.max(log_start),
                    ..(**known).clone()
                };
                let mut next = last.clone();
                next.clean = false;
                next.partitions.insert(partition.topic_partition(), Arc::new(changed));
                let written = self.write_checkpoint(&next);
                if written.is_ok() {
                    *last = next;
                }
                written
            }
            None => self.checkpoint_locked(&mut last, false),
        };
        outcome.map_err(|fault| {
            self.report(&fault);
            LogError::Io { action: fault.action, path: fault.path, source: fault.source }
        })
    }

    /// Removes what is left of deleted partitions; the sync of their renaming is behind us.
    fn remove_trash(&self, trash: Vec<Trash>) {
        for Trash { dir, .. } in trash {
            if let Err(error) = self.disk.remove_dir_all(&dir) {
                // The next start removes it.
                tracing::warn!(path = %dir.display(), %error, "directory could not be removed");
            }
        }
    }

    /// Makes sure that no record from before a partition's deletion is replayed into one of the same name.
    pub fn forget_deleted(&self) -> Result<(), DiskFault> {
        let mut last = self.checkpoint.lock();
        // A checkpoint frees every other file, but commits may have filled the next one since.
        while {
            self.checkpoint_locked(&mut last, false)?;
            self.complete_wal()?;
            let rotated = self.wal.lock().as_mut().map_or(Ok(true), WalWriter::rotate);
            !rotated.map_err(self.wal_fault())?
        } {}
        self.checkpoint_locked(&mut last, false)?;
        self.deleted.lock().clear();
        self.direct_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}
