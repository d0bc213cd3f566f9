//! What of a log may be compacted, whether it is time, and which segments become one. Pure.

use std::ops::Range;
use std::sync::Arc;

use millrace_base::Offset;

use super::filter::LastBatches;
use crate::segment::SegmentFile;
use crate::transactions::Aborted;
use crate::walk::GAP_OFFSETS_MAX;

/// Of a segment, all was compacted together with all that is below; otherwise so many offsets from its base on.
pub(crate) const CLEAN_ALL: u32 = u32::MAX;

/// A closed segment as it was when compaction began.
#[derive(Clone)]
pub(crate) struct Source {
    pub file: Arc<SegmentFile>,
    pub base: Offset,
    /// Where the next segment begins.
    pub end: Offset,
    pub len: u32,
    /// See [`CLEAN_ALL`].
    pub clean: u32,
    /// Where its bytes begin that are not clean, or a little before.
    pub dirty_position: u32,
    pub newest_ms: i64,
}

impl Source {
    /// Its records below are clean.
    fn clean_end(&self) -> Offset {
        if self.clean == CLEAN_ALL { self.end } else { self.base + Offset::from(self.clean) }
    }
}

/// What of a partition may be compacted.
pub(crate) struct Cleanable {
    /// From the log's first segment on.
    pub sources: Vec<Source>,
    /// How often the log had been cut back.
    pub cuts: u64,
    pub log_start: Offset,
    /// The oldest record that is not clean is older than `max.compaction.lag.ms`.
    pub is_overdue: bool,
    pub min_dirty_ratio: f64,
    pub segment_bytes: u32,
    pub delete_retention_ms: i64,
    pub aborted: Vec<Aborted>,
    pub last_batches: LastBatches,
}

impl Cleanable {
    /// The offset from which on records are not clean.
    pub fn dirty_from(&self) -> Offset {
        let first_dirty = self.sources.iter().find(|source| source.clean_end() < source.end);
        let end = self.sources.last().map_or(self.log_start, |last| last.end);
        first_dirty.map_or(end, Source::clean_end).max(self.log_start)
    }

    /// Bytes that are not clean, and all.
    pub fn bytes(&self) -> (u64, u64) {
        let from = self.dirty_from();
        let dirty = self.sources.iter().filter(|source| source.end > from).map(|source| {
            let clean = if source.base < from { source.dirty_position.min(source.len) } else { 0 };
            u64::from(source.len - clean)
        });
        (dirty.sum(), self.sources.iter().map(|source| u64::from(source.len)).sum())
    }

    /// The share of bytes that are not clean.
    pub fn dirty_ratio(&self) -> f64 {
        match self.bytes() {
            (_, 0) => 0.0,
            (dirty, all) => dirty as f64 / all as f64,
        }
    }

    /// Whether it is time (Kafka's rule: more than the ratio, or too old).
    pub fn is_due(&self) -> bool {
        let (dirty, _) = self.bytes();
        dirty > 0 && (self.is_overdue || self.dirty_ratio() > self.min_dirty_ratio)
    }

    /// Records below `end` that are not clean, at most.
    pub fn dirty_records(&self) -> u64 {
        let end = self.sources.last().map_or(0, |last| last.end);
        (end - self.dirty_from()).max(0) as u64
    }

    /// How many segments have records below `end`.
    pub fn below(&self, end: Offset) -> usize {
        self.sources.partition_point(|source| source.base < end)
    }

    /// Whether segment `next` may become one with those from `first` to before it, of which `bytes` are left at most:
    /// together they are no larger than a segment may be, nor have more offsets than may be missing in one.
    pub fn joins(&self, first: usize, next: usize, bytes: u64) -> bool {
        let Some(source) = self.sources.get(next) else { return false };
        bytes + u64::from(source.len) <= u64::from(self.segment_bytes)
            && source.end - self.sources[first].base <= GAP_OFFSETS_MAX
    }

    /// How much of the segment that `group` has become is clean once everything below `end` is.
    pub fn clean_of(&self, group: &Range<usize>, end: Offset) -> u32 {
        let (first, last) = (&self.sources[group.start], &self.sources[group.end - 1]);
        if end >= last.end {
            return CLEAN_ALL;
        }
        // A group of one may have more offsets than there are numbers for: it counts as less clean.
        u32::try_from(end - first.base).map_or(CLEAN_ALL - 1, |clean| clean.min(CLEAN_ALL - 1))
    }
}
