//! Reading batches: from memory as slices, from segments as ranges of files.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::{Offset, Payload, Piece};
use millrace_disk::DiskFile;

use super::state::State;
use super::{PartitionLog, Read};
use crate::error::ReadError;
use crate::index::IndexEntry;
use crate::segment::{IndexBuilder, SegmentFile};
use crate::tail::{BatchRef, SegmentTail};
use crate::walk::{GAP_OFFSETS_MAX, Walk, WalkError};

/// What a read asks for.
#[derive(Clone, Copy)]
struct Wanted {
    from: Offset,
    up_to: Offset,
    max_bytes: usize,
    at_least_one: bool,
}

/// Where in a segment's file to look.
struct FilePlan {
    file: Arc<SegmentFile>,
    /// A batch begins here, at or before the one that is wanted. `None`: it is the segment's first.
    look_from: Option<IndexEntry>,
    /// A batch begins here too, and all before it may be returned: none of them need be looked at.
    skip_to: Option<IndexEntry>,
    /// The end of what may be read.
    end: u32,
    base: Offset,
    /// After the segment's last record.
    end_offset: Offset,
    /// Where the next batch behind `end` begins, if offsets may be missing before it.
    behind_gap: Option<Offset>,
}

/// What a look at the disk has brought.
enum Found {
    Batches(Read),
    /// Offsets are missing; the next batch begins here.
    Gap(Offset),
    /// A segment's index.
    Index,
}

impl PartitionLog {
    /// Reads whole batches from memory; never blocks. `None`: not there, ask [`Self::read`]. Only batches
    /// that end at or below `up_to` are returned, `max_bytes` of them at most, but one if
    /// `at_least_one_batch`.
    pub fn read_tail(
        &self,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<Option<Read>, ReadError> {
        let state = self.state.lock();
        self.check_range(&state, from)?;
        let wanted =
            Wanted { from, up_to: up_to.min(state.end.offset), max_bytes, at_least_one: at_least_one_batch };
        if from >= wanted.up_to {
            return Ok(Some(nothing(from)));
        }
        Ok(read_memory(&state, wanted))
    }

    /// As [`Self::read_tail`], from disk where memory has it no longer. May block.
    pub fn read(
        &self,
        mut from: Offset,
        up_to: Offset,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<Read, ReadError> {
        loop {
            if let Some(read) = self.read_tail(from, up_to, max_bytes, at_least_one_batch)? {
                return Ok(read);
            }
            let wanted = Wanted {
                from,
                up_to: up_to.min(self.log_end_offset()),
                max_bytes,
                at_least_one: at_least_one_batch,
            };
            let (plan, before) = {
                let state = self.state.lock();
                self.check_range(&state, from)?;
                (plan_file(&state, wanted), (state.end.cuts, state.swaps))
            };
            let found = match plan {
                Ok(plan) => read_file(&plan, wanted).and_then(|found| match (found, plan.behind_gap) {
                    (Some(read), _) => Ok(Found::Batches(read)),
                    (None, Some(next)) => Ok(Found::Gap(next)),
                    (None, None) => Err(missing(&plan, from)),
                }),
                Err(segment) => self.load_index(segment).map(|()| Found::Index),
            };
            let state = self.state.lock();
            if (state.end.cuts, state.swaps) != before {
                // Cut back or compacted meanwhile: what was found may be of before, of after, or of both.
                continue;
            }
            match found {
                Ok(Found::Batches(read)) => return Ok(read),
                Ok(Found::Gap(next)) => from = next,
                Ok(Found::Index) => {}
                Err(error) => {
                    // What retention has removed meanwhile is no damage.
                    self.check_range(&state, from)?;
                    return Err(error);
                }
            }
        }
    }

    fn check_range(&self, state: &State, offset: Offset) -> Result<(), ReadError> {
        let (start, end) = (self.log_start.load(Ordering::Acquire), state.end.offset);
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        Ok(())
    }

    /// Loads the index of the closed segment at `base`.
    pub(super) fn load_index(&self, base: Offset) -> Result<(), ReadError> {
        let (file, len) = {
            let state = self.state.lock();
            let segment = &state.segments[state.segment_index(base)];
            if segment.base != base || segment.index.is_some() {
                return Ok(());
            }
            (Arc::clone(&segment.file), segment.len)
        };
        let loaded = file.closed_index(len).map_err(|error| read_error(&file, error))?;
        let mut state = self.state.lock();
        let index = state.segment_index(base);
        let segment = &mut state.segments[index];
        if segment.base == base && segment.index.is_none() {
            segment.index = Some(IndexBuilder::resume(loaded.index, loaded.max_timestamp_ms, base));
            segment.clean = loaded.clean;
        }
        Ok(())
    }
}

fn nothing(from: Offset) -> Read {
    Read { payload: Payload::new(), first_offset: from, next_offset: from }
}

fn read_memory(state: &State, wanted: Wanted) -> Option<Read> {
    let first = state.segment_index(wanted.from);
    let mut read = nothing(wanted.from);
    for index in first..state.segments.len() {
        let segment = &state.segments[index];
        let batches = &segment.tail.batches;
        let start = batches.partition_point(|batch| batch.next_offset() <= wanted.from);
        let Some(batch) = batches.get(start) else {
            // Offsets are missing at the segment's end, or all of it is on disk only.
            if batches.is_empty() && read.payload.is_empty() {
                return None;
            }
            if batches.is_empty() {
                break;
            }
            continue;
        };
        // Whether what is on disk before it ends before the offset is not known here.
        let is_next = batch.base_offset <= wanted.from && index == first;
        if !is_next && start == 0 && batch.position > 0 {
            if read.payload.is_empty() {
                return None;
            }
            break;
        }
        let room = wanted.max_bytes.saturating_sub(read.payload.len());
        let at_least_one = wanted.at_least_one && read.payload.is_empty();
        let (range, next_offset) =
            choose(&segment.tail, start, segment.len, Wanted { max_bytes: room, at_least_one, ..wanted })?;
        if range.is_empty() {
            break;
        }
        if read.payload.is_empty() {
            read.first_offset = batches[start].base_offset;
        }
        segment
            .tail
            .for_each_piece(range.clone(), |chunk, piece| read.payload.push_bytes(chunk.slice(piece)));
        read.next_offset = next_offset;
        if range.end < segment.len {
            break;
        }
    }
    Some(read)
}

/// The longest run of batches from number `start` on that is wanted: its bytes and the offset behind it.
/// `segment_len` is where the tail's last batch ends.
fn choose(
    tail: &SegmentTail,
    start: usize,
    segment_len: u32,
    wanted: Wanted,
) -> Option<(Range<u32>, Offset)> {
    let batches = &tail.batches;
    let begin = batches.get(start)?.position;
    let end_of = |index: usize| {
        let position = batches.get(index + 1).map_or(segment_len, |next: &BatchRef| next.position);
        (batches[index].next_offset(), position)
    };
    // The end of batch `index` grows with it, so the last that fits is found by halving.
    let fits = |index: usize| {
        let (offset, position) = end_of(index);
        let small = (position - begin) as usize <= wanted.max_bytes;
        offset <= wanted.up_to && (small || (wanted.at_least_one && index == start))
    };
    let (mut low, mut high) = (start, batches.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == start {
        return Some((begin..begin, batches[start].base_offset));
    }
    let (offset, position) = end_of(low - 1);
    Some((begin..position, offset))
}

/// `Err`: the index of the segment with this base has to be loaded first.
fn plan_file(state: &State, wanted: Wanted) -> Result<FilePlan, Offset> {
    let number = state.segment_index(wanted.from);
    let segment = &state.segments[number];
    let Some(index) = &segment.index else { return Err(segment.base) };
    let relative = |offset: Offset| u32::try_from(offset - segment.base).unwrap_or(u32::MAX);
    let flushed_here = segment.base == state.flushed.segment;
    let look_from = index.index.at_or_before(relative(wanted.from));
    let within = look_from
        .map_or(0, |entry| entry.position)
        .saturating_add(u32::try_from(wanted.max_bytes).unwrap_or(u32::MAX));
    let end = if flushed_here { state.flushed.position } else { segment.len };
    let behind_gap = if end < segment.len {
        segment.tail.batches.iter().find(|batch| batch.position == end).map(|batch| batch.base_offset)
    } else {
        let next = state.segments.get(number + 1).map(|next| next.base);
        next.filter(|next| next - segment.base > GAP_OFFSETS_MAX)
    };
    Ok(FilePlan {
        file: Arc::clone(&segment.file),
        look_from,
        skip_to: index.index.last_before(within.min(end.saturating_sub(1)), relative(wanted.up_to)),
        end,
        base: segment.base,
        end_offset: state.segment_end(number),
        behind_gap: behind_gap.filter(|next| *next > wanted.from),
    })
}

/// `None`: every batch that the plan covers ends before the offset.
fn read_file(plan: &FilePlan, wanted: Wanted) -> Result<Option<Read>, ReadError> {
    let log = plan.file.log().map_err(|error| read_error(&plan.file, error.into()))?;
    let chosen = choose_in_file(&*log, plan, wanted).map_err(|error| read_error(&plan.file, error))?;
    Ok(chosen.map(|(range, mut read)| {
        let len = range.len();
        read.payload.push(Piece::File { file: log, position: u64::from(range.start), len });
        read
    }))
}

/// Finding nothing would have the reader ask for the same for ever.
fn missing(plan: &FilePlan, from: Offset) -> ReadError {
    let reason = format!("the records from offset {from} on are missing");
    read_error(&plan.file, WalkError::Damaged { position: plan.end, reason })
}

fn choose_in_file(
    log: &dyn DiskFile,
    plan: &FilePlan,
    wanted: Wanted,
) -> Result<Option<(Range<u32>, Read)>, WalkError> {
    let mut walk = Walk::new(log, plan.look_from.map_or(0, |entry| entry.position), plan.end);
    let mut led_by = plan.look_from;
    let mut read = nothing(wanted.from);
    let mut range = 0..0;
    let mut reached = false;
    while let Some((position, header)) = walk.next_header()? {
        let (first, next) = (header.base_offset, header.next_offset());
        if first < plan.base || next > plan.end_offset || next <= first {
            let (from, to) = (plan.base, plan.end_offset);
            let reason = format!("offsets {first} to {next} in a segment of {from} to {to}");
            return Err(WalkError::Damaged { position, reason });
        }
        if let Some(entry) = led_by.take()
            && plan.base + i64::from(entry.relative_offset) != first
        {
            let index = plan.file.index_path.display();
            let reason = format!(
                "offset {first} begins here, which is not what {index} says; stop the broker and remove that \
                 index, it is made again"
            );
            return Err(WalkError::Damaged { position, reason });
        }
        if header.next_offset() <= wanted.from {
            continue;
        }
        reached = true;
        let end = position + header.total_len() as u32;
        let first = range.is_empty();
        let start = if first { position } else { range.start };
        let small = (end - start) as usize <= wanted.max_bytes;
        if header.next_offset() > wanted.up_to || !(small || (first && wanted.at_least_one)) {
            break;
        }
        range = start..end;
        read.next_offset = header.next_offset();
        if first {
            read.first_offset = header.base_offset;
            if let Some(entry) = plan.skip_to.filter(|entry| entry.position > end) {
                walk.skip_to(entry.position);
                led_by = Some(entry);
                range.end = entry.position;
                read.next_offset = plan.base + i64::from(entry.relative_offset);
            }
        }
    }
    Ok(reached.then_some((range, read)))
}

pub(super) fn read_error(file: &SegmentFile, error: WalkError) -> ReadError {
    let path = file.log_path.clone();
    match error {
        WalkError::Io(source) => ReadError::Io { path, source },
        WalkError::Damaged { position, reason } => {
            ReadError::Corrupt { path, position: u64::from(position), reason }
        }
    }
}
