//! The memory of frames, used again: under steady load no fresh pages are touched, whose faults cost as much as the
//! copy into them.
//!
//! Memory that was used before is resident all of it, whatever of it its next frame has room for. So it is bounded
//! together with what lies idle: whatever the budget does not pay for is at most the pool's size. Fresh memory is
//! touched only as far as there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_base::limits::{KIB, MIB};
use parking_lot::Mutex;

/// Smallest buffer worth keeping; the allocator serves smaller ones from warm memory itself.
const POOLED_BYTES_MIN: usize = 4 * KIB;
/// Largest buffer kept; frames above it are rare and would pin much memory each.
const POOLED_BYTES_MAX: usize = 16 * MIB;
/// Sizes per doubling: a buffer is at most a quarter larger than its frame.
const STEPS_PER_DOUBLING: usize = 4;
const DOUBLINGS: usize = (POOLED_BYTES_MAX / POOLED_BYTES_MIN).ilog2() as usize;
const CLASSES: usize = DOUBLINGS * STEPS_PER_DOUBLING + 1;
/// Address space that a frame has before it has filled it. Beyond, its buffer moves once.
const BLIND_BYTES_MAX: usize = 2 * MIB;

const _: () = assert!(POOLED_BYTES_MIN.is_power_of_two() && POOLED_BYTES_MAX.is_power_of_two());

pub(super) struct Pool {
    /// Free buffers by size class, the most recently used last.
    free: [Mutex<Vec<Vec<u8>>>; CLASSES],
    /// Resident bytes that no grant pays for: in free buffers, and in used ones beyond their room.
    unpaid: AtomicUsize,
    unpaid_max: usize,
}

impl Pool {
    pub(super) fn new(unpaid_max: usize) -> Self {
        Self { free: std::array::from_fn(|_| Mutex::default()), unpaid: AtomicUsize::new(0), unpaid_max }
    }

    fn take(&self, len: usize) -> Option<Vec<u8>> {
        self.free[class_for(len)?].lock().pop()
    }

    fn put(&self, bytes: Vec<u8>) {
        let Some(class) = class_of_capacity(bytes.capacity()) else { return };
        let len = bytes.len();
        if self.unpaid.fetch_add(len, Ordering::Relaxed) + len > self.unpaid_max {
            self.unpaid.fetch_sub(len, Ordering::Relaxed);
            return;
        }
        self.free[class].lock().push(bytes);
    }

    #[cfg(test)]
    pub(super) fn unpaid(&self) -> usize {
        self.unpaid.load(Ordering::Relaxed)
    }
}

/// One frame's memory. Its vector's length is what has been touched.
pub(super) struct Storage {
    bytes: Vec<u8>,
    /// Bytes touched by frames before and not paid for by this one, which the pool counts.
    unpaid: usize,
    pool: Arc<Pool>,
}

impl Storage {
    /// No memory yet.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self { bytes: Vec::new(), unpaid: 0, pool: Arc::clone(pool) }
    }

    /// Writes at `position`, up to which everything is written, for a frame of `len` bytes that pays for `room`.
    pub(super) fn place(&mut self, len: usize, position: usize, bytes: &[u8], room: usize) {
        self.prepare(len, position + bytes.len(), room);
        let (over, fresh) = bytes.split_at(bytes.len().min(self.bytes.len() - position));
        self.bytes[position..position + over.len()].copy_from_slice(over);
        self.bytes.extend_from_slice(fresh);
    }

    /// The first `room` bytes, for a frame of `len` that pays for them.
    pub(super) fn touch(&mut self, len: usize, room: usize) -> &mut [u8] {
        self.prepare(len, room, room);
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        &mut self.bytes[..room]
    }

    pub(super) fn written(&self, len: usize) -> &[u8] {
        &self.bytes[..len]
    }

    /// Has capacity for `needed` bytes, and counts what is not paid for.
    fn prepare(&mut self, len: usize, needed: usize, room: usize) {
        if self.bytes.capacity() == 0 {
            if let Some(used) = self.pool.take(len) {
                self.unpaid = used.len();
                self.bytes = used;
            } else {
                self.bytes = Vec::with_capacity(capacity_for(len.min(BLIND_BYTES_MAX.max(needed))));
            }
        }
        if self.bytes.capacity() < needed {
            self.bytes.reserve_exact(capacity_for(len) - self.bytes.len());
        }
        self.keep_unpaid(self.bytes.len().saturating_sub(room));
    }

    /// Counts `most` bytes at most as not paid for.
    fn keep_unpaid(&mut self, most: usize) {
        // Small frames have none; they need not meet at the counter.
        if self.unpaid > most {
            self.pool.unpaid.fetch_sub(self.unpaid - most, Ordering::Relaxed);
            self.unpaid = most;
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.keep_unpaid(0);
        self.pool.put(std::mem::take(&mut self.bytes));
    }
}

/// What to allocate for `len` bytes.
fn capacity_for(len: usize) -> usize {
    class_for(len).map_or(len, class_bytes)
}

/// The class of the smallest pooled buffer that holds `len` bytes; `None` for one that is not pooled.
fn class_for(len: usize) -> Option<usize> {
    if !(POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&len) {
        return None;
    }
    if len == POOLED_BYTES_MIN {
        return Some(0);
    }
    let doubling = ((len - 1) / POOLED_BYTES_MIN).ilog2() as usize;
    let base = POOLED_BYTES_MIN << doubling;
    let step = base / STEPS_PER_DOUBLING;
    Some(doubling * STEPS_PER_DOUBLING + (len - base).div_ceil(step))
}

/// The class that a buffer belongs to: the largest whose frames all fit.
fn class_of_capacity(capacity: usize) -> Option<usize> {
    let class = class_for(capacity)?;
    if class_bytes(class) == capacity { Some(class) } else { class.checked_sub(1) }
}

fn class_bytes(class: usize) -> usize {
    let base = POOLED_BYTES_MIN << (class / STEPS_PER_DOUBLING);
    base + base / STEPS_PER_DOUBLING * (class % STEPS_PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_lengths_and_wastes_a_quarter_at_most() {
        assert_eq!(class_for(POOLED_BYTES_MIN - 1), None);
        assert_eq!(class_for(POOLED_BYTES_MAX + 1), None);
        assert_eq!(class_for(POOLED_BYTES_MAX), Some(CLASSES - 1));
        for len in (POOLED_BYTES_MIN..POOLED_BYTES_MAX).step_by(1013).chain([5120, 5121, 8192, 8193]) {
            let bytes = class_bytes(class_for(len).unwrap());
            assert!(bytes >= len && bytes <= len + len / 4 + 1, "{len} in {bytes}");
            assert_eq!(class_of_capacity(bytes), class_for(len), "a returned buffer goes where it came from");
            assert!(class_of_capacity(len).is_none_or(|class| class_bytes(class) <= len));
        }
    }

    #[test]
    fn memory_that_nobody_pays_for_is_bounded() {
        let pool = Arc::new(Pool::new(MIB));
        let used = || {
            let mut storage = Storage::new(&pool);
            storage.touch(600 * KIB, 600 * KIB);
            storage
        };
        drop([used(), used(), used()]);
        let free = pool.unpaid();
        assert!((600 * KIB..=MIB).contains(&free), "{free}");
        // A frame that has little room has all of a buffer that was used before.
        let mut begun = Storage::new(&pool);
        begun.place(600 * KIB, 0, &[1; 1000], 1000);
        assert_eq!(pool.unpaid(), free - 1000);
        drop(used());
        assert!(pool.unpaid() <= MIB);
        drop(begun);
        assert!(pool.unpaid() <= MIB);
    }

    #[test]
    fn large_buffers_are_used_again() {
        let pool = Arc::new(Pool::new(4 * MIB));
        let mut first = Storage::new(&pool);
        let address = first.touch(900 * KIB, 900 * KIB).as_ptr();
        drop(first);
        assert_eq!(Storage::new(&pool).touch(950 * KIB, 950 * KIB).as_ptr(), address);
    }

    #[test]
    fn a_length_alone_takes_little_of_the_address_space() {
        let pool = Arc::new(Pool::new(MIB));
        let mut storage = Storage::new(&pool);
        storage.place(100 * MIB, 0, &[7; 100], 4096);
        assert!(storage.bytes.capacity() <= BLIND_BYTES_MAX);
        assert_eq!(storage.bytes.len(), 100, "nothing beyond is touched");
        let room = storage.touch(100 * MIB, 3 * MIB);
        assert_eq!((room[99], room[100]), (7, 0), "what came before moved along");
    }
}
