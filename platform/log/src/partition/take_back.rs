//! Taking records back: truncation to a leader's history, and beginning anew.
//!
//! In this order: everything below the place is made durable in segments; an entry of the write-ahead log says that
//! what is above is void, and from then on it is, here and after a crash; a new segment begins at the place, so that
//! no byte that a reader may hold is written over; what is left of the old is removed; and another entry says that it
//! is, since from then on records above the place may become durable in segments alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::Offset;

use super::flush::Purpose;
use super::segment_io::{CutSegment, DirState, Leftovers, SegmentIo};
use super::state::{LogPosition, State};
use super::{Appender, PartitionLog};
use crate::error::LogError;
use crate::history::{CutAt, History, cut_at};
use crate::index::IndexMark;
use crate::segment::{CLEAN_NOTHING, DiskFault, IndexBuilder};
use crate::tail::SegmentTail;
use crate::wal::format::{EntryHeader, EntryKind};
use crate::walk::WalkError;

/// What is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// The records from this offset on.
    To(Offset),
    /// All of them; the log begins anew.
    ResetAt(Offset),
}

/// What came of taking back.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done; the fault kept what is left from being removed, which is tried again.
    Done(Option<DiskFault>),
    /// A checkpoint has to make room in the write-ahead log first.
    NeedsCheckpoint,
}

/// Why nothing was taken back.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(LogError),
    Disk(DiskFault),
}

impl From<DiskFault> for Failure {
    fn from(fault: DiskFault) -> Self {
        Self::Disk(fault)
    }
}

/// Where the log is cut.
struct Place {
    kind: EntryKind,
    /// The segment that it ends in, and where there.
    segment: Offset,
    position: u32,
    end: Offset,
    /// Of what is left of that segment.
    index: IndexBuilder,
    history: History,
}

impl Place {
    fn reset(start: Offset) -> Self {
        let mut history = History::default();
        // Nobody has looked into what is below.
        history.producers.forget_any();
        let index = IndexBuilder::resume(Default::default(), -1, start);
        Self { kind: EntryKind::Reset, segment: start, position: 0, end: start, index, history }
    }
}

impl State {
    /// Where the batches end that end at or below `to`, if memory has them.
    fn locate(&self, to: Offset) -> Option<LogPosition> {
        let number = self.segment_index(to);
        let segment = &self.segments[number];
        let at = |offset, position| LogPosition { offset, segment: segment.base, position, ..self.end };
        if to <= segment.base {
            return Some(at(segment.base, 0));
        }
        let batches = &segment.tail.batches;
        let behind = batches.partition_point(|batch| batch.next_offset() <= to);
        let position = batches.get(behind).map_or(segment.len, |batch| batch.position);
        match behind.checked_sub(1) {
            Some(last) => Some(at(batches[last].next_offset(), position)),
            None => (position == 0).then(|| at(segment.base, 0)),
        }
    }
}

impl PartitionLog {
    /// Takes back, with the lock of the checkpoint held.
    pub(crate) fn try_take_back(&self, back: Back) -> Result<Outcome, Failure> {
        let mut io = self.segment_io.lock();
        let mut appender = self.appender.lock();
        if appender.closed {
            return Err(Failure::Refused(LogError::Closed));
        }
        self.finish_swap(&mut io)?;
        let Some(place) = self.place(back, &mut io, &appender)? else { return Ok(Outcome::Done(None)) };
        let header = EntryHeader {
            kind: place.kind,
            tp: self.tp,
            len: 0,
            base_offset: place.end,
            end_offset: place.end,
            segment: place.segment,
            position: place.position,
        };
        let mut leftovers = None;
        let is_written = self.engine.write_entry(&header, |group| {
            leftovers = Some(self.cut_back(&mut appender, place, &header, group));
        });
        let is_written = is_written.inspect_err(|_| {
            // It may stand there all the same.
            self.state.lock().unsure = true;
        })?;
        if !is_written {
            return Ok(Outcome::NeedsCheckpoint);
        }
        io.taken_back(leftovers);
        drop(appender);
        Ok(Outcome::Done(self.finish_taking_back(&mut io).err()))
    }

    /// Where to cut. `None`: there is nothing to take back.
    fn place(&self, back: Back, io: &mut SegmentIo, appender: &Appender) -> Result<Option<Place>, Failure> {
        let (start, end) = (self.log_start_offset(), appender.end.offset);
        let is_sure = !self.state.lock().unsure;
        match back {
            Back::ResetAt(offset) if offset < 0 => {
                Err(Failure::Refused(LogError::OutOfRange { offset, start, end: Offset::MAX }))
            }
            Back::ResetAt(offset) if is_sure && start == offset && end == offset => Ok(None),
            Back::ResetAt(offset) => Ok(Some(Place::reset(offset))),
            Back::To(offset) if offset < start => {
                Err(Failure::Refused(LogError::OutOfRange { offset, start, end }))
            }
            Back::To(offset) if is_sure && offset >= end => Ok(None),
            Back::To(offset) => {
                let place = self.prepare(offset.min(end), io, appender)?;
                // The log may start within the batch that goes.
                Ok(Some(if place.end < start { Place::reset(start) } else { place }))
            }
        }
    }

    /// Makes everything below `to` durable in segments, and finds out what is known of it.
    fn prepare(&self, to: Offset, io: &mut SegmentIo, appender: &Appender) -> Result<Place, Failure> {
        self.remove_leftovers(io)?;
        let located = self.state.lock().locate(to);
        if let Some(target) = located {
            self.flush_to(io, target, Purpose::Upkeep)?;
        }
        self.sync(io)?;
        let segments: Vec<_> = {
            let state = self.state.lock();
            let last = state.segment_index(to);
            let on_disk = |number: usize| match (&state.segments[number], located) {
                (_, Some(target)) if number == last => target.position,
                (segment, None) if segment.base == state.flushed.segment => state.flushed.position,
                (segment, _) => segment.len,
            };
            (0..=last).map(|number| (Arc::clone(&state.segments[number].file), on_disk(number))).collect()
        };
        let (file, _) = segments.last().expect("a partition has at least one segment");
        let cut = cut_at(&segments, to, self.engine.clock.now_ms());
        let CutAt { position, end, index, history } = cut.map_err(|error| match error {
            WalkError::Io(source) => Failure::Disk(DiskFault::of("read segment", &file.log_path)(source)),
            WalkError::Damaged { position, reason } => Failure::Refused(LogError::Corrupt {
                path: file.log_path.clone(),
                position: u64::from(position),
                reason,
            }),
        })?;
        let mut producers = history.producers;
        producers.forget_as(&appender.history.producers);
        let mut epochs = appender.history.epochs.clone();
        epochs.trim_end(end);
        let history = History { epochs, producers, aborted: history.aborted };
        Ok(Place { kind: EntryKind::Truncate, segment: file.base_offset(), position, end, index, history })
    }

    /// Makes `place` the end of the log for everybody, after the entry of this group. The lock of the write-ahead log
    /// is held: nothing of before is written to it any more.
    fn cut_back(&self, appender: &mut Appender, place: Place, header: &EntryHeader, group: u64) -> Leftovers {
        let end = place.end;
        appender.history = place.history;
        self.reset_unstable(&appender.history.producers);
        appender.writer = None;
        let mut state = self.state.lock();
        let (total, cuts) = (state.end.total, state.end.cuts + 1);
        appender.end = LogPosition { offset: end, segment: end, position: 0, total, cuts };
        let pending = state.pending_bytes();
        let kept = match place.kind {
            EntryKind::Reset => 0,
            _ => state.segments.partition_point(|segment| segment.base < end),
        };
        let files = state.segments.split_off(kept).into_iter().map(|segment| segment.file).collect();
        let last = state.segments.back_mut().filter(|_| place.position > 0);
        let cut = last.map(|segment| {
            segment.len = place.position;
            segment.recovered = place.position;
            segment.index = Some(place.index.clone());
            segment.index_mark = IndexMark::default();
            segment.clean = CLEAN_NOTHING;
            segment.ended = None;
            segment.tail = SegmentTail::default();
            CutSegment { file: Arc::clone(&segment.file), len: place.position, index: place.index }
        });
        let mut next = self.new_segment(appender, self.engine.clock.now_ms());
        let snapshot = next.snapshot.take().unwrap_or_default();
        let next_file = Arc::clone(&next.file);
        state.segments.push_back(next);
        (state.end, state.committed, state.flushed) = (appender.end, appender.end, appender.end);
        state.in_flight = None;
        state.unsure = false;
        state.version += 1;
        state.first_group = group + 1;
        self.log_end.store(end, Ordering::Release);
        self.durable_end.store(end, Ordering::Release);
        if place.kind == EntryKind::Reset {
            self.high_watermark.store(end, Ordering::Release);
            self.log_start.store(end, Ordering::Release);
        } else {
            self.high_watermark.fetch_min(end, Ordering::AcqRel);
        }
        // A restart needs the segment that was cut.
        self.checkpointed_segment.fetch_min(place.segment, Ordering::Relaxed);
        drop(state);
        self.engine.committed(pending);
        let gone = EntryHeader { kind: EntryKind::Cut, ..*header };
        Leftovers { gone, files, cut, next: next_file, snapshot, are_removed: false }
    }

    /// After the records were taken back: waits until nobody is being told of them any more.
    pub(crate) fn taken_back(&self) -> Offset {
        drop(self.listener.write());
        let end = self.log_end_offset();
        // It may have been moved by who was told.
        self.high_watermark.fetch_min(end, Ordering::AcqRel);
        end
    }

    /// Removes what was taken back from the segments, durably.
    pub(super) fn remove_leftovers(&self, io: &mut SegmentIo) -> Result<(), DiskFault> {
        let Some(leftovers) = io.leftovers.as_mut().filter(|leftovers| !leftovers.are_removed) else {
            return Ok(());
        };
        if io.dir != DirState::Missing {
            // The newest first: what is left is a log without holes.
            for file in leftovers.files.iter().rev() {
                file.remove().map_err(DiskFault::of("remove", &file.log_path))?;
            }
            if let Some(CutSegment { file, len, index }) = &leftovers.cut {
                file.close(&index.index, *len, index.max_timestamp_ms)?;
            }
            leftovers.next.write_snapshot(&leftovers.snapshot)?;
            self.engine.disk.sync_dir(&self.dir).map_err(DiskFault::of_sync("sync", &self.dir))?;
        }
        leftovers.are_removed = true;
        Ok(())
    }

    /// Has the write-ahead log say that what was taken back is gone, if that is still to be said. After that records
    /// may become durable in segments alone.
    pub(super) fn finish_taking_back(&self, io: &mut SegmentIo) -> Result<(), DiskFault> {
        self.remove_leftovers(io)?;
        let Some(leftovers) = &io.leftovers else { return Ok(()) };
        if !self.engine.write_entry(&leftovers.gone, |_| ())? {
            return Err(self.engine.wal_is_full());
        }
        io.leftovers = None;
        Ok(())
    }
}
