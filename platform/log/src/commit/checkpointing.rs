//! Taking a checkpoint: segments are brought up to date and synced, then files of the write-ahead log are
//! free again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::Engine;
use crate::checkpoint::{Checkpoint, PartitionCheckpoint};
use crate::error::LogError;
use crate::metrics::count;
use crate::options::Threading;
use crate::partition::{Captured, PartitionLog};
use crate::segment::DiskFault;
use crate::wal::writer::WalWriter;

/// Files that are synced one by one. For more, one sync of the whole file system costs less, and what a
/// checkpoint costs does not grow with the partitions.
const SYNC_EACH_MAX: usize = 8;

/// Partitions that a checkpoint writes at the same time.
const FLUSH_THREADS: usize = 4;

impl Engine {
    /// Takes a checkpoint of all partitions. `clean`: nothing follows before the directory is closed.
    pub fn run_checkpoint(&self, clean: bool) -> Result<(), DiskFault> {
        self.clear_trash()?;
        if !clean {
            self.complete_wal()?;
        }
        let mut last = self.checkpoint.lock();
        self.checkpoint_locked(&mut last, clean)
    }

    /// Makes the files of the write-ahead log that the first start has put off.
    fn complete_wal(&self) -> Result<(), DiskFault> {
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

    fn checkpoint_locked(&self, last: &mut Checkpoint, clean: bool) -> Result<(), DiskFault> {
        self.check_sound()?;
        let (wal_sequence, wal_number) = match self.wal.lock().as_ref() {
            // At the end not even the current file is needed.
            Some(writer) => (writer.current_sequence() + u64::from(clean), writer.next_number()),
            None => (last.wal_sequence, last.wal_number),
        };
        let partitions: Vec<Arc<PartitionLog>> = self.partitions.read().values().cloned().collect();
        let wal_salt = last.wal_salt;
        let mut next = Checkpoint { clean, wal_sequence, wal_number, wal_salt, ..Checkpoint::default() };
        let mut captured = Vec::new();
        for partition in &partitions {
            let tp = partition.topic_partition();
            if let Some(capture) = partition.capture() {
                captured.push((partition, capture));
            } else if let Some(unchanged) = last.partitions.get(&tp) {
                next.partitions.insert(tp, Arc::clone(unchanged));
            }
        }
        // An index stays open until its sync, so no more are written than may be open.
        for captured in captured.chunks(self.options.open_segments.max(1)) {
            let mut unsynced = Vec::new();
            let mut unsynced_files = 0;
            let flushed = self.flush(captured)?;
            for ((partition, capture), files) in captured.iter().zip(flushed) {
                let Some(files) = files else { continue };
                if files > 0 {
                    unsynced_files += files;
                    unsynced.push(*partition);
                }
                next.partitions.insert(partition.topic_partition(), Arc::new(capture.checkpoint.clone()));
            }
            self.evict();
            self.sync_partitions(&unsynced, unsynced_files)?;
        }
        // Taken here: a deletion that made a partition miss above holds the lock until it stands in there.
        let trash = std::mem::take(&mut *self.trash.lock());
        let written = self.sync_deletions(&trash).and_then(|()| self.write_checkpoint(&next));
        if let Err(fault) = written {
            self.trash.lock().extend(trash);
            return Err(fault);
        }
        *last = next;
        for (partition, capture) in &captured {
            partition.checkpointed(capture);
        }
        if let Some(writer) = self.wal.lock().as_mut().filter(|_| !clean) {
            writer.recycle(wal_sequence);
        }
        count(&self.counters.checkpoints, 1);
        self.remove_trash(trash);
        Ok(())
    }

    /// Writes what was captured to the segments, of many partitions side by side: each write by itself leaves
    /// most of a disk unused. In their order, how many files of each wait for their sync.
    fn flush(&self, captured: &[(&Arc<PartitionLog>, Captured)]) -> Result<Vec<Option<usize>>, DiskFault> {
        let one_by_one = |part: &[(&Arc<PartitionLog>, Captured)]| -> Result<Vec<_>, DiskFault> {
            part.iter().map(|(partition, capture)| partition.flush_captured(capture)).collect()
        };
        if self.options.threading == Threading::Stepped || captured.len() < 2 * FLUSH_THREADS {
            return one_by_one(captured);
        }
        thread::scope(|scope| {
            let parts = captured.chunks(captured.len().div_ceil(FLUSH_THREADS));
            let running: Vec<_> = parts.map(|part| scope.spawn(move || one_by_one(part))).collect();
            let mut flushed = Vec::with_capacity(captured.len());
            for part in running {
                flushed.extend(part.join().expect("a flush does not panic")?);
            }
            Ok(flushed)
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

    fn sync_partitions(&self, unsynced: &[&Arc<PartitionLog>], files: usize) -> Result<(), DiskFault> {
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
            self.sync_deletions(&trash)?;
            std::mem::take(&mut *trash)
        };
        self.remove_trash(trash);
        Ok(())
    }

    /// A deleted partition must not come back without what the write-ahead log had of it.
    fn sync_deletions(&self, trash: &[PathBuf]) -> Result<(), DiskFault> {
        if trash.is_empty() {
            return Ok(());
        }
        let topics = self.topics_dir();
        count(&self.counters.syncs, 1);
        self.disk.sync_dir(&topics).map_err(DiskFault::of_sync("sync", &topics))
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), DiskFault> {
        count(&self.counters.syncs, 2);
        checkpoint.write(&*self.disk, &self.dir).map_err(DiskFault::of("write checkpoint in", &self.dir))
    }

    /// Makes the log start of `partition` durable. Where its segments allow it, by the last checkpoint with
    /// nothing else changed; else by a new one.
    pub fn persist_log_start(&self, partition: &PartitionLog) -> Result<(), LogError> {
        let log_start = partition.log_start_offset();
        let mut last = self.checkpoint.lock();
        if let Some(reason) = self.failure() {
            return Err(LogError::Failed(reason));
        }
        let known = last.partitions.get(&partition.topic_partition());
        if log_start <= known.map_or(0, |known| known.log_start) {
            return Ok(());
        }
        let outcome = match known.filter(|known| known.offset > log_start) {
            Some(known) => {
                let changed = PartitionCheckpoint { log_start, ..(**known).clone() };
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
    fn remove_trash(&self, trash: Vec<PathBuf>) {
        for dir in trash {
            if let Err(error) = self.disk.remove_dir_all(&dir) {
                // The next start removes it.
                tracing::warn!(path = %dir.display(), %error, "directory could not be removed");
            }
        }
    }

    /// Makes sure that no record from before a partition's deletion is replayed into one of the same name.
    pub fn forget_deleted(&self) -> Result<(), DiskFault> {
        self.complete_wal()?;
        let mut last = self.checkpoint.lock();
        // A checkpoint frees every other file, but commits may have filled the next one since.
        while {
            self.checkpoint_locked(&mut last, false)?;
            !self.wal.lock().as_mut().is_none_or(WalWriter::rotate)
        } {}
        self.checkpoint_locked(&mut last, false)?;
        self.deleted.lock().clear();
        self.direct_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}
