//! What the threads that touch a partition share: its segments, and how far each step has come.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use millrace_base::Offset;
use millrace_base::limits::IO_ALIGNMENT;

use crate::commit::{Heat, Route};
use crate::history::History;
use crate::index::IndexMark;
use crate::segment::{IndexBuilder, SegmentFile};
use crate::tail::{Chunk, SegmentTail};
use crate::transactions::Aborted;

/// A place between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// Of the record that begins here.
    pub offset: Offset,
    /// Base offset of the segment, and the byte in it.
    pub segment: Offset,
    pub position: u32,
    /// Bytes appended before this place since the partition was opened: differences are distances.
    pub total: u64,
    /// How often the log had been cut back: a place of before is none any more.
    pub cuts: u64,
}

/// The transactions that ended in a closed segment.
#[derive(Debug, Default)]
pub(crate) struct EndedIn {
    /// Ordered by their markers.
    pub aborted: Vec<Aborted>,
    /// The first record of the oldest transaction that is open at its end.
    pub first_open: Option<Offset>,
}

impl EndedIn {
    pub fn of(history: &History) -> Arc<Self> {
        let first_open = history.producers.first_open_transaction();
        Arc::new(Self { aborted: history.aborted.clone(), first_open })
    }
}

/// One segment. The last one is active: the only one that grows.
pub(crate) struct Segment {
    pub base: Offset,
    pub file: Arc<SegmentFile>,
    pub len: u32,
    /// How much of it recovery found on disk.
    pub recovered: u32,
    /// `None`: to be loaded from the index file of a closed segment.
    pub index: Option<IndexBuilder>,
    /// What the last checkpoint vouches for of the index file.
    pub index_mark: IndexMark,
    /// What its index says of that is clean, once it is loaded.
    pub clean: u32,
    /// The transactions that ended in it; `None`: it is active, or they are to be loaded.
    pub ended: Option<Arc<EndedIn>>,
    /// The snapshot of its base offset, until it is written: when the segment before is closed.
    pub snapshot: Option<Vec<u8>>,
    pub tail: SegmentTail,
    /// The wall-clock time of the first append since it was opened, for `segment.ms`.
    pub created_ms: i64,
    /// When it was written to last: the last append, or what its file says where there was none since it was
    /// opened. `None`: the file was not asked yet.
    pub modified_ms: Option<i64>,
}

impl Segment {
    /// The largest timestamp, as far as the index is loaded.
    pub fn max_timestamp_ms(&self) -> Option<i64> {
        self.index.as_ref().map(|index| index.max_timestamp_ms)
    }

    /// The time that retention goes by: the largest timestamp, or when it was written to last if no record has
    /// one (Kafka's `largestTimestamp`). `None`: not known yet.
    pub fn newest_ms(&self) -> Option<i64> {
        match self.max_timestamp_ms()? {
            max_timestamp_ms @ 0.. => Some(max_timestamp_ms),
            _ => self.modified_ms,
        }
    }
}

/// Positions are ordered: committed ≤ end, flushed ≤ end; in flight, if any, between committed and end.
pub(crate) struct State {
    /// Ordered by base, never empty.
    pub segments: VecDeque<Segment>,
    /// Behind the last batch.
    pub end: LogPosition,
    /// Everything before is durable.
    pub committed: LogPosition,
    /// Everything before has been written to segments, durable or not; at an active segment or the start of
    /// one.
    pub flushed: LogPosition,
    /// What the commit under way will have committed.
    pub in_flight: Option<LogPosition>,
    /// The partition stands in one of the commit queues.
    pub queued: bool,
    /// Its last direct commit met an error that passes, most often a full disk.
    pub stalled: bool,
    /// Whether the log was cut back is not known until that is tried again with success.
    pub unsure: bool,
    pub deleted: bool,
    /// How often compaction has put segments in the place of others.
    pub swaps: u64,
    /// Chunks may be evicted, and the eviction queue knows.
    pub evictable: bool,
    pub heat: Heat,
    /// Counts changes that a checkpoint has to note.
    pub version: u64,
    /// What groups of the write-ahead log with lower numbers hold was taken back.
    pub first_group: u64,
}

/// What one write of the segment is to hold, and from where on.
pub(crate) struct FlushPlan {
    pub file: Arc<SegmentFile>,
    pub segment: Offset,
    /// A multiple of the I/O alignment, at or before what was flushed.
    pub start: u32,
    pub end: u32,
    pub pieces: Vec<(Arc<Chunk>, Range<usize>)>,
    /// Nothing was written to the segment before.
    pub first: bool,
    /// The segment has ended and is to be closed after the write.
    pub closes: bool,
}

impl State {
    /// Nothing is appended or committed until something else has succeeded.
    pub fn takes_nothing(&self) -> bool {
        self.stalled || self.unsure
    }

    pub fn pending_bytes(&self) -> u64 {
        self.end.total - self.committed.total
    }

    /// Index of the segment that holds `offset`, or of the first.
    pub fn segment_index(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    pub fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a partition has at least one segment")
    }

    /// The offset after the last record of segment `index`.
    pub fn segment_end(&self, index: usize) -> Offset {
        self.segments.get(index + 1).map_or(self.end.offset, |next| next.base)
    }

    /// The queue that the partition is to be put into now, if any; the caller does it.
    pub fn next_route(&mut self, wal_bytes_max: usize) -> Option<Route> {
        let idle = self.in_flight.is_none() && !self.queued && !self.takes_nothing() && !self.deleted;
        if !idle || self.pending_bytes() == 0 {
            return None;
        }
        self.queued = true;
        Some(self.heat.route(self.pending_bytes(), wal_bytes_max))
    }

    /// The stretches between committed and end, one a segment.
    pub fn pending_spans(&self) -> impl Iterator<Item = (&Segment, Range<u32>)> {
        let first = self.segment_index(self.committed.segment);
        self.segments.range(first..).filter_map(|segment| {
            let start = if segment.base == self.committed.segment { self.committed.position } else { 0 };
            (start < segment.len).then_some((segment, start..segment.len))
        })
    }

    /// The next write on the way to having flushed `target`.
    pub fn plan_flush(&self, target: LogPosition) -> Option<FlushPlan> {
        if self.deleted || target.cuts != self.flushed.cuts || self.flushed.segment > target.segment {
            return None;
        }
        let segment = &self.segments[self.segment_index(self.flushed.segment)];
        let closes = segment.base != target.segment;
        let from = self.flushed.position;
        let end = if closes { segment.len } else { target.position };
        if end <= from && !closes {
            return None;
        }
        let start = from - from % IO_ALIGNMENT as u32;
        let mut pieces = Vec::new();
        if end > from {
            segment.tail.for_each_piece(start..end, |chunk, range| pieces.push((Arc::clone(chunk), range)));
        }
        let file = Arc::clone(&segment.file);
        Some(FlushPlan { file, segment: segment.base, start, end, pieces, first: from == 0, closes })
    }

    /// Notes that `plan` was carried out.
    pub fn flushed(&mut self, plan: &FlushPlan) {
        let written = u64::from(plan.end.saturating_sub(self.flushed.position));
        self.flushed.total += written;
        self.flushed.position = plan.end;
        if plan.closes {
            let next = self.segment_index(plan.segment) + 1;
            self.flushed.segment = self.segments[next].base;
            self.flushed.position = self.segments[next].recovered;
        }
    }
}
