//! Taking records of a partition back: alone with the checkpoint, and first in the write-ahead log.

use millrace_base::Offset;

use super::Engine;
use crate::error::LogError;
use crate::metrics::count;
use crate::partition::{Back, Failure, Outcome, PartitionLog};
use crate::segment::DiskFault;
use crate::wal::format::EntryHeader;
use crate::wal::writer::Group;

impl Engine {
    /// Takes records of `partition` back, durably; returns the end of its log. See [`PartitionLog::truncate`].
    pub fn take_back(&self, partition: &PartitionLog, back: Back) -> Result<Offset, LogError> {
        // No checkpoint is taken of what is about to be void.
        let mut last = self.checkpoint.lock();
        loop {
            if let Some(reason) = self.failure() {
                return Err(LogError::Failed(reason));
            }
            match partition.try_take_back(back) {
                Ok(Outcome::Done(None)) => break,
                Ok(Outcome::Done(Some(fault))) => {
                    // Gone they are. A checkpoint knows it, and nothing is left to be said.
                    let passes = fault.is_passing();
                    let outcome = if passes { self.checkpoint_locked(&mut last, false) } else { Err(fault) };
                    if let Err(fault) = outcome {
                        self.report(&fault);
                    }
                    break;
                }
                Ok(Outcome::NeedsCheckpoint) => {
                    let freed = self.checkpoint_locked(&mut last, false).and_then(|()| self.complete_wal());
                    freed.map_err(|fault| self.failed(fault))?;
                }
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Disk(fault)) => return Err(self.failed(fault)),
            }
        }
        drop(last);
        Ok(partition.taken_back())
    }

    /// Writes `entry` to the write-ahead log durably, as a group of its own, of which `on_written` gets the number
    /// before another group can follow. False: there is no room for it until a checkpoint was taken.
    pub fn write_entry(&self, entry: &EntryHeader, on_written: impl FnOnce(u64)) -> Result<bool, DiskFault> {
        self.check_sound()?;
        let mut wal = self.wal.lock();
        let Some(writer) = wal.as_mut() else { return Ok(false) };
        let mut group = Group::small();
        group.push(entry, |_| ());
        let full_before = writer.has_full_files();
        if !writer.make_room(&group).map_err(self.wal_fault())? {
            return Ok(false);
        }
        let number = writer.next_number();
        let written = writer.write(&mut group).map_err(self.wal_fault())?;
        on_written(number);
        let turned = !full_before && writer.has_full_files();
        drop(wal);
        count(&self.counters.wal_bytes, written);
        count(&self.counters.wal_groups, 1);
        count(&self.counters.wal_entries, 1);
        if turned {
            self.queues.request_checkpoint();
        }
        Ok(true)
    }

    /// A fault of the write-ahead log. No sync in the sense of a fault: what was written is written again, to the same
    /// place.
    pub fn wal_fault(&self) -> impl FnOnce(std::io::Error) -> DiskFault + use<> {
        let dir = self.wal_dir();
        move |source| DiskFault::of("write", &dir)(source)
    }

    /// No file of the write-ahead log can be freed, which passes with whatever keeps a checkpoint from being taken.
    pub fn wal_is_full(&self) -> DiskFault {
        self.wal_fault()(std::io::ErrorKind::StorageFull.into())
    }

    fn failed(&self, fault: DiskFault) -> LogError {
        self.report(&fault);
        LogError::Io { action: fault.action, path: fault.path, source: fault.source }
    }
}
