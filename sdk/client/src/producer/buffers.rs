//! Batch buffers that are used again: fresh memory costs a page fault for every 4 KiB.

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers come quickly from the allocator.
const REUSED_BYTES_MIN: usize = 32 << 10;
/// What is kept for later, at most.
const KEPT_BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
pub(crate) struct Buffers {
    free: Mutex<(Vec<Vec<u8>>, usize)>,
}

impl Buffers {
    /// A buffer with room for `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes < REUSED_BYTES_MIN {
            return Vec::with_capacity(bytes);
        }
        let (free, kept) = &mut *self.free.lock();
        match free.pop_if(|last| last.capacity() >= bytes) {
            Some(buffer) => {
                *kept -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(bytes),
        }
    }

    /// Keeps the memory of a batch that is done, unless the transport still holds on to it.
    pub(crate) fn give_back(&self, mut batch: Bytes) {
        if batch.len() < REUSED_BYTES_MIN || !batch.is_unique() {
            return;
        }
        // Emptied first: only the memory is wanted, and turning it into a vector would copy the content.
        batch.truncate(0);
        let buffer = Vec::from(batch);
        let (free, kept) = &mut *self.free.lock();
        if *kept + buffer.capacity() <= KEPT_BYTES_MAX {
            *kept += buffer.capacity();
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_batchs_memory_is_used_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(100_000);
        buffer.resize(90_000, 1);
        let address = buffer.as_ptr();
        let batch = Bytes::from(buffer);
        let held = batch.clone();
        buffers.give_back(batch);
        let other = buffers.take(50_000);
        assert_ne!(other.as_ptr(), address, "somebody holds it");
        buffers.give_back(held);
        let again = buffers.take(50_000);
        assert_eq!(again.as_ptr(), address);
    }
}
