//! The partition's part in compaction: what may be compacted, and putting what was written in the place of the old.
//!
//! The order of a swap, so that a crash leaves the log as it was or as it is to be: the new segment is complete and
//! durable under a name that a restart removes; it is renamed to one by which a restart finishes what is begun, and from
//! then on readers find it; when that is durable what it stands for is removed, durably; then it gets its name.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::Offset;
use millrace_config::TopicConfig;
use millrace_disk::{DiskFile, OpenMode};

use super::PartitionLog;
use super::read::read_error;
use super::segment_io::{SegmentIo, Swap};
use super::state::{Segment, State};
use crate::compaction::plan::{Cleanable, Source};
use crate::compaction::{Cleaned, CompactError, LastBatches};
use crate::error::ReadError;
use crate::history::History;
use crate::index::IndexMark;
use crate::segment::{DiskFault, SegmentFile};
use crate::tail::SegmentTail;
use crate::transactions::Aborted;
use crate::walk::{Walk, WalkError};

/// What a new segment is swapped in for.
pub(crate) struct SwapPlace<'a> {
    pub sources: &'a [Source],
    pub cuts: u64,
    /// How much of it is clean.
    pub clean: u32,
    /// What was aborted before.
    pub aborted: &'a [Aborted],
}

/// A file beside a segment, and what is to be written to it.
type Unlisted = (Arc<SegmentFile>, Vec<u8>);

impl State {
    /// How many segments from the first on are written and closed, and not needed by a checkpoint, which needs those at
    /// `needed_from` and after.
    fn closed(&self, needed_from: Offset) -> usize {
        let open_from = self.flushed.segment.min(needed_from);
        self.segments.partition_point(|segment| segment.base < open_from)
    }

    /// The place of `sources`, if they are what they were.
    fn place_of(&self, sources: &[Source], cuts: u64) -> Option<usize> {
        let first = self.segment_index(sources[0].base);
        let mut are_there = sources.iter().enumerate().map(|(number, source)| {
            let segment = self.segments.get(first + number);
            segment
                .is_some_and(|segment| Arc::ptr_eq(&segment.file, &source.file) && segment.len == source.len)
        });
        (!self.deleted && self.end.cuts == cuts && are_there.all(|is_there| is_there)).then_some(first)
    }
}

impl PartitionLog {
    /// The settings, if the partition is to be compacted.
    pub(crate) fn compacted(&self) -> Option<Arc<TopicConfig>> {
        self.config.read().clone().filter(|config| config.cleanup_policy.compact)
    }

    /// What may be compacted now.
    pub(crate) fn cleanable(&self, config: &TopicConfig, now_ms: i64) -> Result<Cleanable, ReadError> {
        self.load_closed_indexes()?;
        let bound = self.last_stable_offset();
        let aborted = self.all_aborted()?;
        let last_batches = LastBatches::of(&self.appender.lock().history.producers);
        let state = self.state.lock();
        let bound = bound.min(state.committed.offset);
        let newest_allowed_ms = match config.min_compaction_lag_ms {
            0 => i64::MAX,
            lag_ms => now_ms.saturating_sub(lag_ms),
        };
        let closed = (0..state.closed(self.needed_from())).map(|number| source(&state, number));
        let sources: Vec<_> = closed
            .take_while(|source| source.end <= bound && source.newest_ms <= newest_allowed_ms)
            .collect();
        let cuts = state.end.cuts;
        drop(state);
        let mut cleanable = Cleanable {
            sources,
            cuts,
            log_start: self.log_start_offset(),
            is_overdue: false,
            min_dirty_ratio: config.min_cleanable_dirty_ratio,
            segment_bytes: config.segment_bytes,
            delete_retention_ms: config.delete_retention_ms,
            aborted,
            last_batches,
        };
        if config.max_compaction_lag_ms < i64::MAX {
            let overdue_ms = now_ms.saturating_sub(config.max_compaction_lag_ms);
            cleanable.is_overdue = is_overdue(&cleanable, overdue_ms)?;
        }
        Ok(cleanable)
    }

    /// Indexes of closed segments say what is clean, and how old it is.
    fn load_closed_indexes(&self) -> Result<(), ReadError> {
        loop {
            let unloaded = {
                let state = self.state.lock();
                let closed = state.closed(self.needed_from());
                let unloaded = state.segments.range(..closed).find(|segment| segment.newest_ms().is_none());
                let Some(segment) = unloaded else { return Ok(()) };
                (segment.base, Arc::clone(&segment.file), segment.index.is_some())
            };
            let (base, file, is_indexed) = unloaded;
            if is_indexed {
                let loaded = self.load_modified(base, &file);
                loaded.map_err(|source| ReadError::Io { path: file.log_path.clone(), source })?;
            } else {
                self.load_index(base)?;
            }
        }
    }

    /// Whether a segment has ended that a checkpoint has to see before it can be compacted.
    pub(crate) fn compaction_waits_for_checkpoint(&self) -> bool {
        self.needed_from() < self.state.lock().end.segment
    }

    /// Whether `cleanable` is still what the log is.
    pub(crate) fn is_as_it_was(&self, cleanable: &Cleanable) -> bool {
        self.state.lock().place_of(&cleanable.sources, cleanable.cuts).is_some()
    }

    fn needed_from(&self) -> Offset {
        self.checkpointed_segment.load(Ordering::Relaxed)
    }

    /// Ends an active segment whose first record is older than `max.compaction.lag.ms`, so that it can be compacted.
    pub(crate) fn roll_overdue(&self, config: &TopicConfig, now_ms: i64) {
        let mut appender = self.appender.lock();
        if appender.closed || appender.end.position == 0 {
            return;
        }
        let created_ms = self.state.lock().active().created_ms;
        if now_ms.saturating_sub(created_ms) > config.max_compaction_lag_ms {
            let base = appender.end.offset;
            self.roll(&mut appender, base, now_ms);
        }
    }

    /// An empty file for what is left of segments from `first` on.
    pub(crate) fn cleaned_file(
        &self,
        first: &SegmentFile,
    ) -> Result<(PathBuf, Arc<dyn DiskFile>), CompactError> {
        // Held so that the directory is this partition's, not one of the same name that was made later.
        let _io = self.segment_io.lock();
        if self.state.lock().deleted {
            return Err(CompactError::Interrupted);
        }
        let path = first.cleaned_path();
        let mode = OpenMode { create: true, direct: true, ..OpenMode::default() };
        let made = self.engine.disk.open(&path, mode).and_then(|file| {
            // A run that has failed may have left one.
            file.truncate(0)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(CompactError::of_new_file(DiskFault::of("make", &path)(error))),
        }
    }

    /// Removes what was written and is of no use.
    pub(crate) fn drop_cleaned(&self, path: &Path) {
        let _io = self.segment_io.lock();
        if !self.state.lock().deleted {
            // One that stays is removed by the next start, or written over by the next run.
            let _ = self.engine.disk.remove_file(path);
        }
    }

    /// Notes that a segment is clean as it is.
    pub(crate) fn mark_clean(&self, place: &SwapPlace<'_>, cleaned: &Cleaned) -> Result<(), CompactError> {
        let _io = self.segment_io.lock();
        let mut state = self.state.lock();
        let number = state.place_of(place.sources, place.cuts).ok_or(CompactError::Interrupted)?;
        let segment = &mut state.segments[number];
        segment.clean = place.clean;
        let file = Arc::clone(&segment.file);
        drop(state);
        let index = &cleaned.index;
        file.replace_index(&index.index, cleaned.len, index.max_timestamp_ms, place.clean)
            .map_err(CompactError::of_new_file)
    }

    /// Puts the segment that was written to `path` in its place.
    pub(crate) fn swap_in(
        &self,
        place: &SwapPlace<'_>,
        path: &Path,
        cleaned: Cleaned,
    ) -> Result<(), CompactError> {
        let mut io = self.segment_io.lock();
        self.finish_swap(&mut io).map_err(failed)?;
        let (first, last) = (&place.sources[0], &place.sources[place.sources.len() - 1]);
        // Nobody else takes segments away while `segment_io` is locked, nor puts any before these.
        let number = self.state.lock().place_of(place.sources, place.cuts);
        let number = number.ok_or(CompactError::Interrupted)?;
        let relisted = self.unlist_aborted(place, number, (path, cleaned.len))?;
        let swap_path = self.dir.join(format!("{:020}-{:020}.swap", first.base, last.end));
        let renamed = self.engine.disk.rename(path, &swap_path);
        renamed.map_err(|error| CompactError::of_new_file(DiskFault::of("rename", path)(error)))?;
        // It is decided, though a crash may forget it yet.
        let file = self.segment_file(first.base).swapped_in(swap_path);
        let mut state = self.state.lock();
        let new = Segment {
            base: first.base,
            file: Arc::clone(&file),
            len: cleaned.len,
            recovered: cleaned.len,
            index: Some(cleaned.index.clone()),
            index_mark: IndexMark::default(),
            clean: place.clean,
            ended: None,
            snapshot: state.segments[number].snapshot.take(),
            tail: SegmentTail::default(),
            created_ms: state.segments[number].created_ms,
            modified_ms: Some(cleaned.newest_ms),
        };
        let mut later = state.segments.split_off(number);
        let kept = later.split_off(place.sources.len());
        state.segments.push_back(new);
        state.segments.extend(kept);
        state.swaps += 1;
        if (first.base..last.end).contains(&state.committed.segment) {
            // All of it is committed, so the next begins where that ends.
            state.committed.segment = last.end;
            state.committed.position = 0;
        }
        drop(state);
        let replaced: Vec<_> = later.into_iter().map(|segment| segment.file).collect();
        replaced.iter().for_each(|file| file.retire());
        let index = Some((cleaned.index, cleaned.len, place.clean));
        io.swap = Some(Swap { file, index, replaced, are_removed: false });
        self.finish_swap(&mut io).map_err(failed)?;
        if let Some((next, snapshot)) = relisted {
            next.write_snapshot(&snapshot).map_err(failed)?;
            self.sync_dir().map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the list of aborted transactions, which lies beside the segment that follows, before their markers may
    /// go: readers leave out what a producer sends behind one until they meet its marker. Returns what is to lie there
    /// after the swap; until then the segments say it.
    fn unlist_aborted(
        &self,
        place: &SwapPlace<'_>,
        number: usize,
        (path, len): (&Path, u32),
    ) -> Result<Option<Unlisted>, CompactError> {
        let (first, last) = (&place.sources[0], &place.sources[place.sources.len() - 1]);
        let within = |aborted: &&Aborted| (first.base..last.end).contains(&aborted.last_offset);
        let mut aborted: Vec<_> = place.aborted.iter().filter(within).copied().collect();
        if aborted.is_empty() {
            return Ok(None);
        }
        let unreadable = |error| CompactError::of_new_file(DiskFault::of("read", path)(error));
        let log = self.engine.disk.open(path, OpenMode::default()).map_err(unreadable)?;
        let mut walk = Walk::new(&*log, 0, len);
        let mut markers = BTreeSet::new();
        loop {
            match walk.next_header() {
                Ok(Some((_, header))) if header.attributes.is_control() && header.record_count > 0 => {
                    markers.insert(header.base_offset);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(WalkError::Io(error)) => return Err(unreadable(error)),
                Err(damaged) => return Err(unreadable(io::Error::other(damaged))),
            }
        }
        aborted.retain(|aborted| markers.contains(&aborted.last_offset));
        let next = Arc::clone(&self.state.lock().segments[number + place.sources.len()].file);
        let known = next.snapshot_bytes().and_then(|bytes| History::decode(&bytes, last.end));
        next.remove_snapshot()
            .map_err(|error| failed(DiskFault::of("remove", &next.snapshot_path)(error)))?;
        self.sync_dir().map_err(failed)?;
        let Some(known) = known else { return Ok(None) };
        let snapshot = History { aborted, ..known }.encode(last.end);
        Ok(Some((next, snapshot)))
    }

    /// Finishes a swap that is decided, if there is one. Before it nothing else is done to segments.
    pub(super) fn finish_swap(&self, io: &mut SegmentIo) -> Result<(), DiskFault> {
        let Some(swap) = &mut io.swap else { return Ok(()) };
        if !swap.are_removed {
            // Before it nothing is removed, and nothing else is done to the log that a restart could then undo.
            self.sync_dir()?;
            for (number, file) in swap.replaced.iter().enumerate() {
                let removed = if number == 0 { file.remove_replaced() } else { file.remove() };
                removed.map_err(DiskFault::of("remove", &file.log_path))?;
            }
            self.sync_dir()?;
            swap.are_removed = true;
        }
        swap.file.take_name().map_err(DiskFault::of("rename", &swap.file.log_path))?;
        if let Some((index, len, clean)) = &swap.index {
            swap.file.replace_index(&index.index, *len, index.max_timestamp_ms, *clean)?;
        }
        self.sync_dir()?;
        io.swap = None;
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), DiskFault> {
        self.engine.disk.sync_dir(&self.dir).map_err(DiskFault::of_sync("sync", &self.dir))
    }
}

/// Whether a segment that is not clean has begun before `overdue_ms`.
fn is_overdue(cleanable: &Cleanable, overdue_ms: i64) -> Result<bool, ReadError> {
    let from = cleanable.dirty_from();
    for source in cleanable.sources.iter().filter(|source| source.end > from) {
        let position = if source.base < from { source.dirty_position } else { 0 };
        let log = source.file.log().map_err(|error| read_error(&source.file, error.into()))?;
        let first = Walk::new(&*log, position, source.len).next_header();
        let first = first.map_err(|error| read_error(&source.file, error))?;
        if first.is_some_and(|(_, header)| (1..overdue_ms).contains(&header.max_timestamp)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A fault after which a swap is decided: one that passes leaves it to be finished later.
fn failed(fault: DiskFault) -> CompactError {
    if fault.is_passing() { CompactError::Waits(fault) } else { CompactError::Failed(fault) }
}

/// Segment `number`, which is closed and has its index loaded.
fn source(state: &State, number: usize) -> Source {
    let segment = &state.segments[number];
    let end = state.segment_end(number);
    let relative = |clean: u32| clean.min(u32::try_from(end - segment.base).unwrap_or(u32::MAX));
    let dirty = segment.index.as_ref().and_then(|index| index.index.at_or_before(relative(segment.clean)));
    Source {
        file: Arc::clone(&segment.file),
        base: segment.base,
        end,
        len: segment.len,
        clean: segment.clean,
        dirty_position: dirty.map_or(0, |entry| entry.position),
        newest_ms: segment.newest_ms().unwrap_or(i64::MIN),
    }
}
