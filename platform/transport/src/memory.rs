//! Receive buffers: one budget over all connections, and reuse of the large ones.
//!
//! A frame's buffer has the frame's size, so nothing is held for what a peer might send. Large buffers come
//! back when the last slice of their frame is dropped and serve the next frame of about their size: steady
//! load touches no fresh memory, whose page faults cost as much as the copy into it. The budget is charged
//! with what a frame announces, in order of arrival, so one large frame is not starved by small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_base::limits::{KIB, MIB};
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::Semaphore;

/// Smallest buffer worth keeping; the allocator serves smaller ones from warm memory itself.
const POOLED_BYTES_MIN: usize = 4 * KIB;
/// Largest buffer kept; frames above it are rare and would pin much memory each.
const POOLED_BYTES_MAX: usize = 16 * MIB;
/// Sizes per doubling: a buffer is at most a quarter larger than its frame.
const STEPS_PER_DOUBLING: usize = 4;
const DOUBLINGS: usize = (POOLED_BYTES_MAX / POOLED_BYTES_MIN).ilog2() as usize;
const CLASSES: usize = DOUBLINGS * STEPS_PER_DOUBLING + 1;

const _: () = assert!(POOLED_BYTES_MIN.is_power_of_two() && POOLED_BYTES_MAX.is_power_of_two());

/// The budget and the pool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReceiveMemory(Arc<Inner>);

struct Inner {
    budget: Semaphore,
    in_use: IntGauge,
    /// Free buffers by size class, the most recently used last (its memory is warm).
    free: [Mutex<Vec<Vec<u8>>>; CLASSES],
    free_bytes: AtomicUsize,
    free_bytes_max: usize,
}

/// A frame's memory: initialised, of the frame's size, returned when dropped.
pub(crate) struct ReceiveBuffer {
    /// At least `len` bytes.
    storage: Vec<u8>,
    len: usize,
    memory: Arc<Inner>,
}

impl ReceiveMemory {
    pub(crate) fn new(budget_bytes: usize, pool_bytes: usize, in_use: IntGauge) -> Self {
        Self(Arc::new(Inner {
            budget: Semaphore::new(budget_bytes.min(Semaphore::MAX_PERMITS)),
            in_use,
            free: std::array::from_fn(|_| Mutex::default()),
            free_bytes: AtomicUsize::new(0),
            free_bytes_max: pool_bytes,
        }))
    }

    /// A buffer of `len` bytes, unless the budget is spent.
    pub(crate) fn try_buffer(&self, len: usize) -> Option<ReceiveBuffer> {
        self.0.budget.try_acquire_many(permits(len)).ok()?.forget();
        Some(self.charged(len, None))
    }

    /// A buffer that holds `bytes`, unless the budget is spent.
    pub(crate) fn try_copy(&self, bytes: &[u8]) -> Option<ReceiveBuffer> {
        self.0.budget.try_acquire_many(permits(bytes.len())).ok()?.forget();
        Some(self.charged(bytes.len(), Some(bytes)))
    }

    /// A buffer of `len` bytes as soon as the budget has room.
    pub(crate) async fn buffer(&self, len: usize) -> ReceiveBuffer {
        if let Ok(permit) = self.0.budget.acquire_many(permits(len)).await {
            permit.forget();
        }
        self.charged(len, None)
    }

    /// A buffer whose bytes are taken from the budget already.
    fn charged(&self, len: usize, content: Option<&[u8]>) -> ReceiveBuffer {
        self.0.in_use.add(len as i64);
        let storage = match (class_of(len), content) {
            (None, Some(content)) => content.to_vec(),
            (None, None) => vec![0; len],
            (Some(class), content) => {
                let mut storage = self.0.reuse(class).unwrap_or_else(|| vec![0; class_bytes(class)]);
                if let Some(content) = content {
                    storage[..len].copy_from_slice(content);
                }
                storage
            }
        };
        ReceiveBuffer { storage, len, memory: Arc::clone(&self.0) }
    }

    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.0.budget.available_permits()
    }
}

impl Inner {
    fn reuse(&self, class: usize) -> Option<Vec<u8>> {
        let storage = self.free[class].lock().pop()?;
        self.free_bytes.fetch_sub(storage.len(), Ordering::Relaxed);
        Some(storage)
    }

    fn take_back(&self, storage: Vec<u8>) {
        let Some(class) = class_of(storage.len()) else { return };
        let bytes = storage.len();
        if self.free_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.free_bytes_max {
            self.free_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        self.free[class].lock().push(storage);
    }
}

impl ReceiveBuffer {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[..self.len]
    }
}

impl AsRef<[u8]> for ReceiveBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.storage[..self.len]
    }
}

impl Drop for ReceiveBuffer {
    fn drop(&mut self) {
        self.memory.take_back(std::mem::take(&mut self.storage));
        self.memory.in_use.sub(self.len as i64);
        self.memory.budget.add_permits(self.len);
    }
}

/// Frames are below 2 GiB (`TransportLimits::validate`).
fn permits(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The class of the smallest pooled buffer that holds `len` bytes; `None` for one that is not pooled.
fn class_of(len: usize) -> Option<usize> {
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

fn class_bytes(class: usize) -> usize {
    let base = POOLED_BYTES_MIN << (class / STEPS_PER_DOUBLING);
    base + base / STEPS_PER_DOUBLING * (class % STEPS_PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(budget: usize, pool: usize) -> ReceiveMemory {
        ReceiveMemory::new(budget, pool, IntGauge::new("in_use", "bytes").unwrap())
    }

    #[test]
    fn a_class_holds_its_lengths_and_wastes_a_quarter_at_most() {
        assert_eq!(class_of(POOLED_BYTES_MIN - 1), None);
        assert_eq!(class_of(POOLED_BYTES_MAX + 1), None);
        assert_eq!(class_of(POOLED_BYTES_MAX), Some(CLASSES - 1));
        for len in (POOLED_BYTES_MIN..POOLED_BYTES_MAX).step_by(1013).chain([5120, 5121, 8192, 8193]) {
            let bytes = class_bytes(class_of(len).unwrap());
            assert!(bytes >= len && bytes <= len + len / 4 + 1, "{len} in {bytes}");
            assert_eq!(class_of(bytes), class_of(len), "a returned buffer goes where it came from");
        }
    }

    #[test]
    fn large_buffers_are_used_again_and_the_pool_is_bounded() {
        let memory = memory(10 * MIB, MIB);
        let mut first = memory.try_buffer(900 * KIB).unwrap();
        first.as_mut_slice()[0] = 1;
        let address = first.as_ref().as_ptr();
        drop(first);
        assert_eq!(memory.try_buffer(950 * KIB).unwrap().as_ref().as_ptr(), address);
        drop([memory.try_buffer(900 * KIB), memory.try_buffer(900 * KIB)]);
        assert!(memory.0.free_bytes.load(Ordering::Relaxed) <= MIB);
        assert_eq!(memory.available(), 10 * MIB, "everything is paid back");
        assert_eq!(memory.0.in_use.get(), 0);
    }

    #[tokio::test]
    async fn a_buffer_beyond_the_budget_waits_for_another_to_go() {
        let memory = memory(100, 0);
        let first = memory.try_copy(&[7; 80]).unwrap();
        assert!(memory.try_buffer(40).is_none());
        let (second, ()) = tokio::join!(memory.buffer(40), async { drop(first) });
        assert_eq!(second.as_ref().len(), 40);
    }
}
