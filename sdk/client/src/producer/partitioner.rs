//! Which partition a record goes to when its sender does not say.
//!
//! With a key: Kafka's hash of it, so that all clients agree. Without: one partition for as long as it takes to
//! fill a batch, then the next (KIP-480, KIP-794), which makes large batches of the records of many senders.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The partition that records without key go to at the moment. Races between senders cost a slightly uneven
/// batch, nothing else.
pub(crate) struct Sticky {
    current: AtomicU32,
    bytes: AtomicUsize,
}

impl Sticky {
    /// Starts at `start`, which differs between producers so that they do not all start on one partition.
    pub(crate) const fn starting_at(start: u32) -> Self {
        Self { current: AtomicU32::new(start), bytes: AtomicUsize::new(0) }
    }

    pub(crate) fn current(&self, partitions: usize) -> usize {
        self.current.load(Ordering::Relaxed) as usize % partitions.max(1)
    }

    /// Counts `bytes` sent to the current partition and moves on after `batch_bytes` of them.
    pub(crate) fn sent(&self, bytes: usize, batch_bytes: usize) {
        let total = self.bytes.load(Ordering::Relaxed) + bytes;
        if total < batch_bytes {
            self.bytes.store(total, Ordering::Relaxed);
        } else {
            self.bytes.store(0, Ordering::Relaxed);
            self.current.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_kept_for_a_batch_and_then_left() {
        let sticky = Sticky::starting_at(6);
        assert_eq!(sticky.current(4), 2);
        sticky.sent(900, 1000);
        assert_eq!(sticky.current(4), 2);
        sticky.sent(100, 1000);
        assert_eq!(sticky.current(4), 3);
        sticky.sent(5000, 1000);
        assert_eq!(sticky.current(4), 0);
    }
}
