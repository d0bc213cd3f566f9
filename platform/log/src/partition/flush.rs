//! Writing the tail to segments: for direct commits, checkpoints and before a segment is closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use millrace_base::limits::{IO_ALIGNMENT, KIB};
use millrace_disk::{AlignedBuffer, DiskFile, Need, is_passing};

use super::PartitionLog;
use super::segment_io::{DirState, SegmentIo};
use super::state::{FlushPlan, LogPosition};
use crate::checkpoint::PartitionCheckpoint;
use crate::index::IndexMark;
use crate::metrics::count;
use crate::segment::{DiskFault, SegmentFile};

/// Bytes of a gentle write: some 0.2 ms of a disk's time, which a commit that comes meanwhile has to wait.
const GENTLE_BYTES: usize = 512 * KIB;

/// What segments are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A commit: somebody waits for it. It never spends the reserve.
    Commit,
    /// A checkpoint or retention, which make room.
    Upkeep,
    /// The same, and commits through the write-ahead log want the disk at the same time.
    GentleUpkeep,
}

impl Purpose {
    fn need(self) -> Option<Need> {
        (self != Self::Commit).then_some(Need::Data)
    }
}

/// A partition as a checkpoint is to describe it, and how far it must be flushed before.
pub(crate) struct Captured {
    pub target: LogPosition,
    pub version: u64,
    pub checkpoint: PartitionCheckpoint,
    /// Bytes that no segment had when it was captured.
    pub unwritten_bytes: u64,
    segment: Arc<SegmentFile>,
    mark_before: IndexMark,
    index_entries: Vec<u8>,
}

/// What writing a captured partition came to.
pub(crate) struct Flushed {
    /// How many of its files wait for their sync.
    pub unsynced_files: usize,
    /// How much of the active segment's index is written.
    pub index: IndexMark,
}

impl PartitionLog {
    /// Writes everything before `target` to segments and closes those that have ended. Durable after
    /// [`Self::sync`].
    pub(crate) fn flush_to(
        &self,
        io: &mut SegmentIo,
        target: LogPosition,
        purpose: Purpose,
    ) -> Result<(), DiskFault> {
        self.engine.check_sound()?;
        self.finish_swap(io)?;
        self.remove_leftovers(io)?;
        loop {
            let Some(plan) = self.state.lock().plan_flush(target) else { break };
            self.make_dir(io, purpose)?;
            io.names |= plan.first || plan.closes;
            self.write(&plan, purpose)?;
            if !io.logs.iter().any(|log| Arc::ptr_eq(log, &plan.file)) {
                io.logs.push(Arc::clone(&plan.file));
            }
            if plan.closes {
                self.close_segment(&plan)?;
                // Names become durable in order: where a later segment is found, the earlier ones are.
                self.sync_names(io)?;
                io.logs.retain(|log| !Arc::ptr_eq(log, &plan.file));
            }
            self.state.lock().flushed(&plan);
        }
        self.offer_chunks();
        Ok(())
    }

    fn make_dir(&self, io: &mut SegmentIo, purpose: Purpose) -> Result<(), DiskFault> {
        if io.dir == DirState::Missing {
            let made = self.engine.in_room(purpose.need(), || self.engine.disk.create_dir_all(&self.dir));
            made.map_err(DiskFault::of("make directory", &self.dir))?;
            io.dir = DirState::Made;
        }
        Ok(())
    }

    /// Whole blocks go to the disk from where they lie; the last, partial one is copied and padded with
    /// zeros. The next write repeats it, so its old bytes stay what they are.
    fn write(&self, plan: &FlushPlan, purpose: Purpose) -> Result<(), DiskFault> {
        if plan.pieces.is_empty() {
            return Ok(());
        }
        let fault = || DiskFault::of("write segment", &plan.file.log_path);
        let file = self.engine.in_room(purpose.need(), || plan.file.log()).map_err(fault())?;
        let whole_end = plan.end - plan.end % IO_ALIGNMENT as u32;
        let mut whole = Vec::with_capacity(plan.pieces.len() + 1);
        let mut last_block = AlignedBuffer::zeroed(IO_ALIGNMENT);
        let mut position = plan.start;
        for (chunk, range) in &plan.pieces {
            let bytes = chunk.bytes(range.clone());
            let (blocks, partial) = bytes.split_at(bytes.len().min((whole_end - position) as usize));
            if !blocks.is_empty() {
                whole.push(blocks);
            }
            last_block.as_mut_slice()[..partial.len()].copy_from_slice(partial);
            position += bytes.len() as u32;
        }
        if plan.end > whole_end {
            whole.push(last_block.as_slice());
        }
        let start = u64::from(plan.start);
        let write = || match purpose {
            Purpose::Commit | Purpose::Upkeep => file.write_all_at(&whole, start),
            Purpose::GentleUpkeep => self.write_gently(&*file, &whole, start),
        };
        self.engine.in_room(purpose.need(), write).map_err(fault())?;
        let written: usize = whole.iter().map(|piece| piece.len()).sum();
        count(&self.engine.counters.segment_bytes, written as u64);
        Ok(())
    }

    /// In parts, between which commits get their turn at the disk.
    fn write_gently(&self, file: &dyn DiskFile, whole: &[&[u8]], mut position: u64) -> io::Result<()> {
        for part in whole.iter().flat_map(|piece| piece.chunks(GENTLE_BYTES)) {
            let started = Instant::now();
            file.write_all_at(&[part], position)?;
            position += part.len() as u64;
            self.engine.give_way(started.elapsed());
        }
        Ok(())
    }

    fn close_segment(&self, plan: &FlushPlan) -> Result<(), DiskFault> {
        let (index, max_timestamp_ms, next) = {
            let mut state = self.state.lock();
            let number = state.segment_index(plan.segment);
            let next = state.segments.get_mut(number + 1);
            let next = next.and_then(|next| Some((Arc::clone(&next.file), next.snapshot.take()?)));
            let index = state.segments[number].index.as_ref();
            let index = index.expect("a segment that was active has its index loaded");
            (index.index.clone(), index.max_timestamp_ms, next)
        };
        count(&self.engine.counters.syncs, 3);
        plan.file.close(&index, plan.end, max_timestamp_ms)?;
        match next {
            Some((file, snapshot)) => file.write_snapshot(&snapshot),
            None => Ok(()),
        }
    }

    /// Makes what was flushed durable, names included.
    pub(crate) fn sync(&self, io: &mut SegmentIo) -> Result<(), DiskFault> {
        let syncs = io.unsynced_files();
        for log in &io.logs {
            let fault = || DiskFault::of_sync("sync segment", &log.log_path);
            log.log().map_err(fault())?.sync().map_err(fault())?;
        }
        for index in &io.indexes {
            index.sync().map_err(DiskFault::of_sync("sync an index in", &self.dir))?;
        }
        self.sync_names(io)?;
        if io.dir == DirState::Made {
            let topics = self.engine.topics_dir();
            self.engine.disk.sync_dir(&topics).map_err(DiskFault::of_sync("sync", &topics))?;
        }
        count(&self.engine.counters.syncs, syncs as u64);
        io.synced();
        Ok(())
    }

    fn sync_names(&self, io: &mut SegmentIo) -> Result<(), DiskFault> {
        if io.names {
            self.engine.disk.sync_dir(&self.dir).map_err(DiskFault::of_sync("sync", &self.dir))?;
            io.names = false;
        }
        Ok(())
    }

    pub(crate) fn io(&self) -> parking_lot::MutexGuard<'_, SegmentIo> {
        self.segment_io.lock()
    }

    /// The partition as of now; `None` if nothing changed since the last checkpoint.
    pub(crate) fn capture(&self) -> Option<Captured> {
        let appender = self.appender.lock();
        let mut state = self.state.lock();
        let version = state.version;
        let high_watermark = self.high_watermark();
        if version == self.checkpointed_version.load(Ordering::Relaxed)
            && high_watermark == self.checkpointed_high_watermark.load(Ordering::Relaxed)
        {
            return None;
        }
        let (target, first_group) = (state.end, state.first_group);
        let active = state.active();
        let index = active.index.as_ref().expect("the active segment has its index loaded");
        let mark_before = active.index_mark;
        let index_entries = index.index.encode_from(mark_before.count as usize);
        let checkpoint = PartitionCheckpoint {
            log_start: self.log_start_offset(),
            high_watermark,
            offset: target.offset,
            segment: target.segment,
            position: target.position,
            max_timestamp_ms: index.max_timestamp_ms,
            index: mark_before.extended(&index_entries),
            first_group,
            history: appender.history.clone(),
        };
        let segment = Arc::clone(&active.file);
        let unwritten_bytes = target.total.saturating_sub(state.flushed.total);
        Some(Captured { target, version, checkpoint, unwritten_bytes, segment, mark_before, index_entries })
    }

    /// Writes what `captured` describes to its files. `None` if the partition has been deleted.
    pub(crate) fn flush_captured(&self, captured: &Captured) -> Result<Option<Flushed>, DiskFault> {
        let mut io = self.segment_io.lock();
        if self.state.lock().deleted {
            return Ok(None);
        }
        // A heavy partition's own commits wait for this lock, so it is not kept longer than need be.
        let heavy = self.state.lock().heat.is_heavy();
        let purpose = if heavy { Purpose::Upkeep } else { Purpose::GentleUpkeep };
        self.flush_to(&mut io, captured.target, purpose)?;
        if captured.checkpoint.segment > 0 {
            // Without it, what the checkpoint says would be of a partition that was deleted.
            self.make_dir(&mut io, purpose)?;
        }
        let mut index = captured.checkpoint.index;
        if !captured.index_entries.is_empty() {
            match captured.segment.append_index(captured.mark_before, &captured.index_entries) {
                Ok(written) => {
                    io.names |= captured.mark_before.count == 0;
                    io.indexes.push(written);
                }
                // Nobody vouches for entries that were not written. A restart does without them, or the next
                // checkpoint writes them.
                Err(error) if is_passing(&error) => index = captured.mark_before,
                Err(error) => return Err(DiskFault::of("write index", &captured.segment.index_path)(error)),
            }
        }
        Ok(Some(Flushed { unsynced_files: io.unsynced_files(), index }))
    }

    /// Notes that a checkpoint with `captured` in it is durable.
    pub(crate) fn checkpointed(&self, captured: &Captured, index_mark: IndexMark) {
        // Nothing that the write-ahead log had of them counts any more.
        self.segment_io.lock().leftovers = None;
        self.checkpointed_version.store(captured.version, Ordering::Relaxed);
        self.checkpointed_high_watermark.store(captured.checkpoint.high_watermark, Ordering::Relaxed);
        self.checkpointed_segment.store(captured.target.segment, Ordering::Relaxed);
        let mut state = self.state.lock();
        let index = state.segment_index(captured.target.segment);
        let segment = &mut state.segments[index];
        if segment.base == captured.target.segment {
            segment.index_mark = index_mark;
        }
    }
}
