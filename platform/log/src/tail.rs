//! Recent records in memory, as the byte image of the segment they belong to.
//!
//! A [`Chunk`] is append-only: one [`ChunkWriter`] copies bytes in behind what is there, any number of
//! readers look at what was there before. So an append copies a batch once, and after that a fetch is a
//! slice and a segment write goes from the same memory to the disk. Chunks start at aligned file positions,
//! which is what direct I/O asks for. They grow from 4 KiB to 2 MiB with a partition's traffic, so that ten
//! thousand quiet partitions stay small.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use millrace_base::Offset;
use millrace_base::limits::{IO_ALIGNMENT, KIB, MIB};
use parking_lot::Mutex;

/// Capacity of a partition's first chunk.
pub(crate) const CHUNK_BYTES_MIN: usize = 4 * KIB;
/// Capacity of the largest chunks: one huge page.
pub(crate) const CHUNK_BYTES_MAX: usize = 2 * MIB;

const _: () = assert!(CHUNK_BYTES_MIN.is_multiple_of(IO_ALIGNMENT));
const _: () = assert!(CHUNK_BYTES_MAX.is_power_of_two());

/// Chunks from this capacity on are kept for the next: fresh memory costs a page fault a page.
const KEPT_BYTES_MIN: usize = 64 * KIB;
const KEPT_SIZES: usize = (CHUNK_BYTES_MAX / KEPT_BYTES_MIN).ilog2() as usize + 1;

/// Where chunks come from and go to.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    free: Mutex<FreeChunks>,
    /// What chunks in use and kept ones may take together; beyond it none are kept.
    budget_bytes: u64,
    /// Bytes of all chunks that live, those only a reader still holds included.
    used: AtomicU64,
    /// Chunks that are being written: one for each partition with traffic.
    writers: AtomicU64,
}

#[derive(Debug, Default)]
struct FreeChunks {
    /// By the power of two that their capacity is of [`KEPT_BYTES_MIN`].
    by_size: [Vec<Memory>; KEPT_SIZES],
    bytes: u64,
}

impl FreeChunks {
    /// The list for `capacity`, a power of two; chunks below the kept sizes have none.
    fn of(&mut self, capacity: usize) -> Option<&mut Vec<Memory>> {
        let size = (capacity / KEPT_BYTES_MIN).checked_ilog2()?;
        self.by_size.get_mut(size as usize)
    }

    fn take(&mut self, capacity: usize) -> Option<Memory> {
        let memory = self.of(capacity)?.pop()?;
        self.bytes -= capacity as u64;
        Some(memory)
    }

    /// Gives memory of any size back to the system until at most `bytes` are kept.
    fn shrink_to(&mut self, bytes: u64) {
        for size in &mut self.by_size {
            while self.bytes > bytes
                && let Some(memory) = size.pop()
            {
                self.bytes -= memory.capacity as u64;
            }
        }
    }
}

impl ChunkPool {
    /// A pool whose chunks, with what it keeps for reuse, are to stay within `budget_bytes`.
    pub fn new(budget_bytes: u64) -> Arc<Self> {
        let (used, writers) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { free: Mutex::default(), budget_bytes, used, writers })
    }

    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Capacity of the largest chunk for now: half of the budget is for chunks that are being written.
    fn capacity_max(&self) -> usize {
        let share = self.budget_bytes / 2 / (self.writers.load(Ordering::Relaxed) + 1);
        let share = usize::try_from(share).unwrap_or(usize::MAX).clamp(KEPT_BYTES_MIN, CHUNK_BYTES_MAX);
        1 << share.ilog2()
    }

    /// An empty chunk with room for `bytes`, or of the largest size if that is less.
    pub fn chunk(self: &Arc<Self>, bytes: usize) -> ChunkWriter {
        let wanted = bytes.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).next_power_of_two();
        let capacity = wanted.min(self.capacity_max());
        let used = self.used.fetch_add(capacity as u64, Ordering::Relaxed) + capacity as u64;
        let kept = {
            let mut free = self.free.lock();
            let kept = free.take(capacity);
            free.shrink_to(self.budget_bytes.saturating_sub(used));
            kept
        };
        let memory = kept.unwrap_or_else(|| Memory::new(capacity));
        self.writers.fetch_add(1, Ordering::Relaxed);
        let chunk = Chunk { memory: Some(memory), written: AtomicUsize::new(0), pool: Arc::clone(self) };
        ChunkWriter { chunk: Arc::new(chunk) }
    }

    fn give_back(&self, memory: Memory) {
        let capacity = memory.capacity as u64;
        let used = self.used.fetch_sub(capacity, Ordering::Relaxed) - capacity;
        let mut free = self.free.lock();
        if used + free.bytes + capacity <= self.budget_bytes
            && let Some(kept) = free.of(memory.capacity)
        {
            kept.push(memory);
            free.bytes += capacity;
        }
    }
}

/// A page-aligned allocation that is not initialised.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: `Memory` owns its allocation alone, as a `Box<[u8]>` would; what guards access is `Chunk`.
#[expect(unsafe_code)]
unsafe impl Send for Memory {}
// SAFETY: `&Memory` gives out nothing but the address.
#[expect(unsafe_code)]
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(capacity: usize) -> Layout {
        let align = if capacity == CHUNK_BYTES_MAX { CHUNK_BYTES_MAX } else { IO_ALIGNMENT };
        Layout::from_size_align(capacity, align).expect("both are powers of two up to 2 MiB")
    }

    fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: `layout` has the non-zero size `capacity`.
        #[expect(unsafe_code)]
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        let memory = Self { start, capacity };
        memory.advise_huge();
        memory
    }

    /// One huge page costs one fault and one entry of the TLB instead of 512.
    fn advise_huge(&self) {
        if cfg!(miri) || self.capacity < CHUNK_BYTES_MAX {
            return;
        }
        // SAFETY: the range is an allocation of ours; the advice changes no byte of it.
        #[expect(unsafe_code)]
        let advised = unsafe {
            rustix::mm::madvise(self.start.as_ptr().cast(), self.capacity, rustix::mm::Advice::LinuxHugepage)
        };
        // A kernel without huge pages serves small ones; that is only slower.
        let _ = advised;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this layout and is given back once.
        #[expect(unsafe_code)]
        unsafe {
            dealloc(self.start.as_ptr(), Self::layout(self.capacity));
        }
    }
}

/// Append-only memory. Bytes below `written` never change again; those above belong to the one writer.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// `None` only while the chunk is dropped.
    memory: Option<Memory>,
    written: AtomicUsize,
    pool: Arc<ChunkPool>,
}

impl Chunk {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("taken by drop alone")
    }

    pub fn capacity(&self) -> usize {
        self.memory().capacity
    }

    /// The bytes of `range`, all of which must have been written.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        let written = self.written.load(Ordering::Acquire);
        assert!(range.start <= range.end && range.end <= written, "{range:?} of {written} written bytes");
        // SAFETY: bytes below `written` are initialised (the acquire load pairs with the writer's release
        // store) and no one writes to them again, so a shared borrow of them is sound.
        #[expect(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.memory().start.as_ptr().add(range.start), range.len())
        }
    }

    /// As [`Self::bytes`], keeping the chunk's memory as long as the slice lives.
    pub fn slice(self: &Arc<Self>, range: Range<usize>) -> Bytes {
        // Checked here, so that the panic is the caller's.
        let _ = self.bytes(range.clone());
        Bytes::from_owner(ChunkSlice { chunk: Arc::clone(self), range })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.give_back(memory);
        }
    }
}

struct ChunkSlice {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl AsRef<[u8]> for ChunkSlice {
    fn as_ref(&self) -> &[u8] {
        self.chunk.bytes(self.range.clone())
    }
}

/// The only way to add to a chunk; there is one for each, and it is not cloned.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    chunk: Arc<Chunk>,
}

impl ChunkWriter {
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    pub fn written(&self) -> usize {
        self.chunk.written.load(Ordering::Relaxed)
    }

    pub fn room(&self) -> usize {
        self.chunk.capacity() - self.written()
    }

    /// Copies as much of `bytes` as there is room for and returns how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let written = self.written();
        let len = bytes.len().min(self.room());
        // SAFETY: the target is inside the allocation and above `written`, where only the one `ChunkWriter`
        // goes (`&mut self`) and no reader looks; `bytes` cannot overlap it, being readable.
        #[expect(unsafe_code)]
        unsafe {
            let target = self.chunk.memory().start.as_ptr().add(written);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, len);
        }
        self.chunk.written.store(written + len, Ordering::Release);
        len
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        self.chunk.pool.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A batch in the tail; its bytes end where the next begins, its offsets may end before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchRef {
    pub base_offset: Offset,
    pub position: u32,
    pub last_offset_delta: i32,
}

impl BatchRef {
    /// The offset after its last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset + Offset::from(self.last_offset_delta) + 1
    }
}

/// A chunk and the position of its first byte in the segment.
#[derive(Clone, Debug)]
pub(crate) struct PlacedChunk {
    pub position: u32,
    pub chunk: Arc<Chunk>,
}

impl PlacedChunk {
    fn end(&self) -> u64 {
        u64::from(self.position) + self.chunk.capacity() as u64
    }
}

/// What memory has of one segment: adjoining chunks, and the batches that lie in them whole.
#[derive(Debug, Default)]
pub(crate) struct SegmentTail {
    pub chunks: VecDeque<PlacedChunk>,
    pub batches: VecDeque<BatchRef>,
}

impl SegmentTail {
    /// Calls `take` with each piece of `range` (segment positions), in order. All of it must be here.
    pub fn for_each_piece(&self, range: Range<u32>, mut take: impl FnMut(&Arc<Chunk>, Range<usize>)) {
        let first = self.chunks.partition_point(|placed| placed.end() <= u64::from(range.start));
        let mut position = range.start;
        for placed in self.chunks.range(first..) {
            if position >= range.end {
                break;
            }
            let start = (position - placed.position) as usize;
            let end = placed.chunk.capacity().min((range.end - placed.position) as usize);
            take(&placed.chunk, start..end);
            position += (end - start) as u32;
        }
        assert!(position >= range.end, "{range:?} ends at {position} in memory");
    }

    /// Drops the first chunk and the batches that begin in it.
    pub fn pop_chunk(&mut self) {
        self.chunks.pop_front();
        let kept_from = self.chunks.front().map_or(u32::MAX, |placed| placed.position);
        let gone = self.batches.partition_point(|batch| batch.position < kept_from);
        self.batches.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_written_and_keep_it_alive() {
        let pool = ChunkPool::new(0);
        let mut writer = pool.chunk(10);
        assert_eq!(writer.append(b"hello "), 6);
        let slice = writer.chunk().slice(0..6);
        assert_eq!(writer.append(b"world"), 5);
        assert_eq!(writer.chunk().bytes(3..11), b"lo world");
        drop(writer);
        assert_eq!(&slice[..], b"hello ");
        assert_eq!(pool.used_bytes(), CHUNK_BYTES_MIN as u64);
        drop(slice);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn a_full_chunk_takes_what_fits() {
        let mut writer = ChunkPool::new(0).chunk(1);
        assert_eq!(writer.append(&[7; CHUNK_BYTES_MIN + 3]), CHUNK_BYTES_MIN);
        assert_eq!((writer.append(b"x"), writer.room()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "written bytes")]
    fn what_is_not_written_cannot_be_read() {
        let writer = ChunkPool::new(0).chunk(1);
        let _ = writer.chunk().bytes(0..1);
    }

    #[test]
    fn a_writer_and_readers_on_other_threads_agree() {
        let mut writer = ChunkPool::new(0).chunk(1);
        let chunk = Arc::clone(writer.chunk());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for byte in 0..100u8 {
                    writer.append(&[byte; 3]);
                }
            });
            scope.spawn(move || {
                let mut seen = 0;
                while seen < 300 {
                    seen = chunk.written.load(Ordering::Acquire);
                    for (at, byte) in chunk.bytes(0..seen).iter().enumerate() {
                        assert_eq!(usize::from(*byte), at / 3);
                    }
                }
            });
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "large chunks take long there")]
    fn chunks_are_used_again_within_the_budget() {
        let pool = ChunkPool::new(4 * CHUNK_BYTES_MAX as u64);
        for capacity in [KEPT_BYTES_MIN, CHUNK_BYTES_MAX] {
            let first = pool.chunk(capacity);
            let address = first.chunk().memory().start;
            drop(first);
            assert_eq!(pool.chunk(capacity).chunk().memory().start, address);
        }
        let many: Vec<_> = (0..64).map(|_| pool.chunk(CHUNK_BYTES_MAX)).collect();
        drop(many);
        assert!(pool.free.lock().bytes <= 4 * CHUNK_BYTES_MAX as u64);
    }

    #[test]
    #[cfg_attr(miri, ignore = "large chunks take long there")]
    fn many_writers_share_the_budget() {
        let pool = ChunkPool::new(4 * CHUNK_BYTES_MAX as u64);
        let writers: Vec<_> = (0..64).map(|_| pool.chunk(usize::MAX)).collect();
        assert_eq!(writers[0].chunk().capacity(), CHUNK_BYTES_MAX);
        assert_eq!(writers[63].chunk().capacity(), KEPT_BYTES_MIN);
    }

    #[test]
    fn pieces_cover_a_range_over_several_chunks() {
        let pool = ChunkPool::new(0);
        let mut tail = SegmentTail::default();
        for position in [4096, 8192] {
            let mut writer = pool.chunk(1);
            writer.append(&[1; CHUNK_BYTES_MIN]);
            tail.chunks.push_back(PlacedChunk { position, chunk: Arc::clone(writer.chunk()) });
            tail.batches.push_back(BatchRef {
                base_offset: i64::from(position),
                position,
                last_offset_delta: 0,
            });
        }
        let mut pieces = Vec::new();
        tail.for_each_piece(5000..8193, |_, range| pieces.push(range));
        assert_eq!(pieces, [904..4096, 0..1]);
        tail.pop_chunk();
        assert_eq!(tail.batches, [BatchRef { base_offset: 8192, position: 8192, last_offset_delta: 0 }]);
    }
}
