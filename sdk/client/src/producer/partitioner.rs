//! Which partition a record goes to when its sender does not say.
//!
//! With a key: Kafka's murmur2, so that all clients agree. Without: one partition for as long as it takes to
//! fill a batch, then the next (KIP-480, KIP-794), which makes large batches of the records of many senders.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Kafka's partition of `key` among `partitions`.
pub(crate) fn of_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// MurmurHash 2 with Kafka's seed, as `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

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

    /// The values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key) as i32, expected, "{key:?}");
        }
    }

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
