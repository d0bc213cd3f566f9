//! Giving tail memory back. What has been committed and written to a segment is only a cache.

use std::sync::Arc;

use millrace_base::limits::IO_ALIGNMENT;

use super::PartitionLog;
use super::state::State;
use crate::tail::{CHUNK_BYTES_MIN, PlacedChunk};

impl State {
    /// The segment and position before which memory is only a cache, aligned down.
    fn cached_before(&self) -> (i64, u32) {
        let (segment, position) = (self.flushed.segment, self.flushed.position)
            .min((self.committed.segment, self.committed.position));
        (segment, position - position % IO_ALIGNMENT as u32)
    }

    /// Index of the first segment that has chunks.
    fn first_with_chunks(&self) -> Option<usize> {
        self.segments.iter().position(|segment| !segment.tail.chunks.is_empty())
    }
}

impl PartitionLog {
    /// Tells the engine that memory could be had here.
    pub(super) fn offer_chunks(&self) {
        let newly = !std::mem::replace(&mut self.state.lock().evictable, true);
        if newly && let Some(me) = self.arc() {
            self.engine.offer(&me);
        }
    }

    /// Gives up the oldest chunk that is only a cache. True if there was one.
    pub(crate) fn evict(&self) -> bool {
        if self.evict_whole() || self.shrink_current() {
            return true;
        }
        self.state.lock().evictable = false;
        false
    }

    fn evict_whole(&self) -> bool {
        let mut state = self.state.lock();
        let (segment, position) = state.cached_before();
        let Some(index) = state.first_with_chunks() else { return false };
        let active = index + 1 == state.segments.len();
        let oldest = &mut state.segments[index];
        let Some(first) = oldest.tail.chunks.front() else { return false };
        let end = u64::from(first.position) + first.chunk.capacity() as u64;
        // The chunk that appends go into stays, full or not: `shrink_current` deals with it.
        let last_of_active = active && oldest.tail.chunks.len() == 1;
        let passed = oldest.base < segment || (oldest.base == segment && end <= u64::from(position));
        if last_of_active || !passed {
            return false;
        }
        oldest.tail.pop_chunk();
        true
    }

    /// Replaces the chunk of a partition at rest by the least that its next segment write needs: the last
    /// block, if that is not full.
    fn shrink_current(&self) -> bool {
        // A partition that is appending is not at rest.
        let Some(mut appender) = self.appender.try_lock() else { return false };
        let mut state = self.state.lock();
        let at_rest = state.flushed.total == state.end.total && state.committed.total == state.end.total;
        let end = state.end.position;
        let tail = &mut state.active().tail;
        let [current] = tail.chunks.make_contiguous() else { return false };
        let block = end - end % IO_ALIGNMENT as u32;
        if !at_rest || (current.chunk.capacity() == CHUNK_BYTES_MIN && block != end) {
            return false;
        }
        let kept = (block - current.position) as usize..(end - current.position) as usize;
        let mut writer = None;
        let mut chunks = None;
        if !kept.is_empty() {
            let mut small = self.engine.pool.chunk(CHUNK_BYTES_MIN);
            small.append(current.chunk.bytes(kept));
            chunks = Some(PlacedChunk { position: block, chunk: Arc::clone(small.chunk()) });
            writer = Some(small);
        }
        tail.pop_chunk();
        tail.chunks.extend(chunks);
        appender.writer = writer;
        true
    }
}
