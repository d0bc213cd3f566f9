//! Receive buffers that are used again, so that a steady load touches no fresh memory.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Memory that a pool keeps for later at most; the rest is given back to the system.
const KEPT_BYTES_MAX: usize = 128 << 20;

/// Buffers by no particular order; there are few.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer on loan. Its first `len` bytes are the caller's; whoever drops it last gives it back.
pub(crate) struct PooledBuffer {
    memory: Vec<u8>,
    len: usize,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A buffer of `len` bytes with whatever was in it before.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> PooledBuffer {
        let memory = self.reuse(len).unwrap_or_else(|| vec![0; len.next_power_of_two()]);
        PooledBuffer { memory, len, pool: Arc::clone(self) }
    }

    /// The smallest free buffer that is large enough, but none so large that most of it would lie idle.
    fn reuse(&self, len: usize) -> Option<Vec<u8>> {
        let mut free = self.free.lock();
        let (index, _) = free
            .buffers
            .iter()
            .enumerate()
            .filter(|(_, buffer)| buffer.len() >= len && buffer.len() / 4 <= len)
            .min_by_key(|(_, buffer)| buffer.len())?;
        let buffer = free.buffers.swap_remove(index);
        free.bytes -= buffer.len();
        Some(buffer)
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock();
        if free.bytes + buffer.len() <= KEPT_BYTES_MAX {
            free.bytes += buffer.len();
            free.buffers.push(buffer);
        }
    }
}

impl PooledBuffer {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    /// Shares the buffer; it returns to the pool when the last slice of it is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_its_last_slice_goes() {
        let pool = Arc::new(BufferPool::default());
        let whole = pool.take(100_000).freeze();
        let address = whole.as_ptr();
        let part = whole.slice(10..20);
        drop(whole);
        assert_ne!(pool.take(100_000).freeze().as_ptr(), address, "still in use");
        drop(part);
        assert!(pool.free.lock().buffers.iter().any(|buffer| buffer.as_ptr() == address));
    }

    #[test]
    fn a_large_buffer_is_not_spent_on_a_small_frame() {
        let pool = Arc::new(BufferPool::default());
        drop(pool.take(1 << 20));
        assert_eq!(pool.take(20_000).memory.len(), 32_768);
        assert_eq!(pool.take(600_000).memory.len(), 1 << 20);
    }
}
