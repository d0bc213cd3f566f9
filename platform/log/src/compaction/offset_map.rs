//! The newest offset of each key, in memory that is fixed when it is made.
//!
//! A key stands in it by the first half of its SHA-256: nobody can make two keys that are taken for one, which would
//! delete the one's records. A table with open addressing, 24 bytes a key; it is full at nine tenths, so that looking up
//! stays quick. Pure.

use millrace_base::Offset;
use sha2::{Digest, Sha256};

/// Digest in two words, and the offset plus one; zeros where there is none, so that memory is taken as it is filled.
type Slot = [u64; 3];

const SLOT_BYTES: u64 = size_of::<Slot>() as u64;

#[derive(Debug)]
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    max: usize,
    /// All records below it that have a key are here.
    end: Offset,
}

impl OffsetMap {
    /// For `keys` keys, or as many as `bytes` bytes have room for, and for one at least. Records below `start` are not
    /// looked for.
    pub fn new(bytes: u64, keys: u64, start: Offset) -> Self {
        let wanted = keys.saturating_mul(10) / 9 + 2;
        let slots = usize::try_from((bytes / SLOT_BYTES).min(wanted).max(2)).unwrap_or(usize::MAX);
        Self { slots: vec![Slot::default(); slots], used: 0, max: (slots * 9 / 10).max(1), end: start }
    }

    pub fn bytes(&self) -> u64 {
        self.slots.len() as u64 * SLOT_BYTES
    }

    /// Notes that the newest record of `key` so far is at `offset`. False: there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let digest = digest(key);
        let at = self.slot(digest);
        if self.slots[at][2] == 0 {
            if self.used == self.max {
                return false;
            }
            self.used += 1;
        }
        self.slots[at] = [digest[0], digest[1], offset as u64 + 1];
        self.end = offset + 1;
        true
    }

    /// Records below `offset` have all been put that have a key.
    pub fn reached(&mut self, offset: Offset) {
        self.end = self.end.max(offset);
    }

    /// The offset below which the map knows every record from its start on.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether the map knows of a record of `key` behind `offset`.
    pub fn has_newer(&self, key: &[u8], offset: Offset) -> bool {
        self.slots[self.slot(digest(key))][2] > offset as u64 + 1
    }

    /// Where the digest stands, or would.
    fn slot(&self, digest: [u64; 2]) -> usize {
        let len = self.slots.len();
        let mut at = (digest[0] % len as u64) as usize;
        // There is always a free slot.
        while self.slots[at][2] != 0 && self.slots[at][..2] != digest {
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        at
    }
}

fn digest(key: &[u8]) -> [u64; 2] {
    let digest = Sha256::digest(key);
    let word = |at: usize| u64::from_le_bytes(digest[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_is_what_is_allowed_or_needed() {
        assert_eq!(OffsetMap::new(1 << 20, u64::MAX, 0).bytes(), (1 << 20) / 24 * 24);
        assert_eq!(OffsetMap::new(1 << 40, 90, 0).bytes(), 102 * 24);
        assert_eq!(OffsetMap::new(0, 0, 0).bytes(), 48);
    }

    #[test]
    fn it_is_full_at_nine_tenths_and_goes_on_with_keys_that_it_has() {
        let mut map = OffsetMap::new(240, 1000, 5);
        for offset in 5..14 {
            assert!(map.put(&[offset as u8], offset));
        }
        assert!(!map.put(&[99], 14));
        assert_eq!(map.end(), 14);
        assert!(map.put(&[5], 14));
        assert_eq!(map.end(), 15);
        assert!(map.has_newer(&[5], 13) && !map.has_newer(&[5], 14) && !map.has_newer(&[99], 0));
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_says(puts in prop::collection::vec(0..40u8, 0..200)) {
            let (mut map, mut model) = (OffsetMap::new(1 << 20, 40, 0), BTreeMap::new());
            for (offset, key) in (0i64..).zip(&puts) {
                prop_assert!(map.put(&[*key], offset));
                model.insert(*key, offset);
            }
            for key in 0..40u8 {
                for offset in 0..puts.len() as i64 {
                    let newer = model.get(&key).is_some_and(|newest| *newest > offset);
                    prop_assert_eq!(map.has_newer(&[key], offset), newer);
                }
            }
        }
    }
}
