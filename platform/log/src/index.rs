//! The sparse index of one segment, by offset and by time.
//!
//! `<base offset>.index`, little-endian, version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `MRIX` |
//! | 4..6 | version u16 |
//! | 6..8 | zero |
//! | 8..16 | base offset i64 |
//! | then 16 each | entries: relative offset u32, position u32, largest timestamp before it i64 |
//! | last 32, closed segments only | `MRIF`, entry count u32, segment length u32, clean u32, largest timestamp i64, zero u32, CRC-32C of all before it u32 |
//!
//! An active segment's file grows at checkpoints, which note how many entries hold and their checksum
//! ([`IndexMark`]). *Clean* says how many of the segment's offsets, from its base on, were compacted together with all
//! segments below: 0 are none, 2^32 - 1 all. A file that does not match is built anew from the segment. Another version is, too.

use bytes::{Buf, BufMut};

use crate::checksum;

const MAGIC: u32 = u32::from_le_bytes(*b"MRIX");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"MRIF");
const VERSION: u16 = 1;
const HEADER_LEN: usize = 16;
const FOOTER_LEN: usize = 32;
const ENTRY_LEN: usize = 16;

/// A batch that the index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Its base offset, less the segment's.
    pub relative_offset: u32,
    pub position: u32,
    /// Largest timestamp of the segment before this batch.
    pub max_timestamp_before_ms: i64,
}

/// How much of an active segment's index file a checkpoint vouches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexMark {
    pub count: u32,
    /// CRC-32C of the entries' bytes.
    pub crc: u32,
}

/// What the index file of a closed segment says of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClosedIndex {
    pub index: SparseIndex,
    pub segment_len: u32,
    pub max_timestamp_ms: i64,
    /// Offsets from the base on that were compacted together with all that is below; `u32::MAX`: all.
    pub clean: u32,
}

/// Entries in the order of the segment. The segment's first batch needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    entries: Vec<IndexEntry>,
}

impl SparseIndex {
    /// Notes a batch, if the last one noted is `interval_bytes` or more before it.
    pub fn note(&mut self, entry: IndexEntry, interval_bytes: u32) {
        let last = self.entries.last().map_or(0, |last| last.position);
        if entry.position - last >= interval_bytes {
            self.entries.push(entry);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where to look for `relative_offset`: a batch at or before the one that holds it. `None`: the first.
    pub fn at_or_before(&self, relative_offset: u32) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.relative_offset <= relative_offset);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// The last entry at or before `position` whose batch begins at or below `relative_offset`.
    pub fn last_before(&self, position: u32, relative_offset: u32) -> Option<IndexEntry> {
        let fits =
            |entry: &IndexEntry| entry.position <= position && entry.relative_offset <= relative_offset;
        let after = self.entries.partition_point(fits);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// Relative offset from which to look for the first batch with a timestamp of `timestamp_ms` or later.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> u32 {
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before_ms < timestamp_ms);
        after.checked_sub(1).map_or(0, |index| self.entries[index].relative_offset)
    }

    /// The bytes of the entries from `from` on, to be put at [`file_position`] of `from`.
    pub fn encode_from(&self, from: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.entries.len() - from) * ENTRY_LEN);
        encode_entries(&self.entries[from..], &mut out);
        out
    }

    /// The whole file of a closed segment.
    pub fn encode_closed(
        &self,
        base_offset: i64,
        segment_len: u32,
        max_timestamp_ms: i64,
        clean: u32,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.entries.len() * ENTRY_LEN + FOOTER_LEN);
        encode_header(base_offset, &mut out);
        encode_entries(&self.entries, &mut out);
        out.put_u32_le(FOOTER_MAGIC);
        out.put_u32_le(self.entries.len() as u32);
        out.put_u32_le(segment_len);
        out.put_u32_le(clean);
        out.put_i64_le(max_timestamp_ms);
        out.put_u32_le(0);
        let crc = checksum::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// `None`: not the whole, undamaged file of the closed segment at `base_offset`.
    pub fn decode_closed(bytes: &[u8], base_offset: i64) -> Option<ClosedIndex> {
        let entries_len = bytes.len().checked_sub(HEADER_LEN + FOOTER_LEN)?;
        let (body, mut crc) = bytes.split_at(bytes.len() - 4);
        if !checksum::holds(crc.get_u32_le(), checksum::crc32c(body)) || !header_matches(bytes, base_offset) {
            return None;
        }
        let mut footer = &bytes[HEADER_LEN + entries_len..];
        if footer.get_u32_le() != FOOTER_MAGIC || footer.get_u32_le() as usize * ENTRY_LEN != entries_len {
            return None;
        }
        let segment_len = footer.get_u32_le();
        let clean = footer.get_u32_le();
        let max_timestamp_ms = footer.get_i64_le();
        let index = decode_entries(&bytes[HEADER_LEN..HEADER_LEN + entries_len])?;
        Some(ClosedIndex { index, segment_len, max_timestamp_ms, clean })
    }

    /// `None`: the file does not begin with what `mark` vouches for.
    pub fn decode_active(bytes: &[u8], base_offset: i64, mark: IndexMark) -> Option<Self> {
        if mark.count == 0 {
            return Some(Self::default());
        }
        let end = (mark.count as usize).checked_mul(ENTRY_LEN)?.checked_add(HEADER_LEN)?;
        let entries = bytes.get(HEADER_LEN..end)?;
        if !header_matches(bytes, base_offset) || !checksum::holds(mark.crc, checksum::crc32c(entries)) {
            return None;
        }
        decode_entries(entries)
    }
}

impl IndexMark {
    /// Vouches for `entries`, whose bytes follow what it vouched for so far.
    pub fn extended(self, entries: &[u8]) -> Self {
        Self {
            count: self.count + (entries.len() / ENTRY_LEN) as u32,
            crc: checksum::crc32c_append(self.crc, entries),
        }
    }
}

/// Where an index file has its entry of number `entry`.
pub(crate) const fn file_position(entry: u32) -> u64 {
    (HEADER_LEN + entry as usize * ENTRY_LEN) as u64
}

/// What an index file begins with.
pub(crate) fn file_header(base_offset: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    encode_header(base_offset, &mut out);
    out
}

fn encode_header(base_offset: i64, out: &mut Vec<u8>) {
    out.put_u32_le(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(0);
    out.put_i64_le(base_offset);
}

fn header_matches(bytes: &[u8], base_offset: i64) -> bool {
    bytes.starts_with(&file_header(base_offset))
}

fn encode_entries(entries: &[IndexEntry], out: &mut Vec<u8>) {
    for entry in entries {
        out.put_u32_le(entry.relative_offset);
        out.put_u32_le(entry.position);
        out.put_i64_le(entry.max_timestamp_before_ms);
    }
}

fn decode_entries(mut bytes: &[u8]) -> Option<SparseIndex> {
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(bytes.len() / ENTRY_LEN);
    while bytes.len() >= ENTRY_LEN {
        let entry = IndexEntry {
            relative_offset: bytes.get_u32_le(),
            position: bytes.get_u32_le(),
            max_timestamp_before_ms: bytes.get_i64_le(),
        };
        let grows = entries.last().is_none_or(|last| {
            entry.relative_offset > last.relative_offset && entry.position > last.position
        });
        if !grows {
            return None;
        }
        entries.push(entry);
    }
    bytes.is_empty().then_some(SparseIndex { entries })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An index with entries (relative offset, position, largest timestamp before).
    fn index(of: &[(u32, u32, i64)]) -> SparseIndex {
        let mut index = SparseIndex::default();
        for (relative_offset, position, max_timestamp_before_ms) in of.iter().copied() {
            index.note(IndexEntry { relative_offset, position, max_timestamp_before_ms }, 100);
        }
        index
    }

    #[test]
    fn lookups_lead_to_the_entry_at_or_before() {
        let index = index(&[(5, 50, 1), (10, 100, 7), (20, 200, 7), (30, 300, 9)]);
        assert_eq!(index.len(), 3, "the first is too close to the segment's beginning");
        let position = |offset| index.at_or_before(offset).map_or(0, |entry| entry.position);
        assert_eq!([9, 10, 19, 20, 99].map(position), [0, 100, 100, 200, 300]);
        let last_before = |position, offset| index.last_before(position, offset).map(|e| e.position);
        assert_eq!(last_before(250, 99), Some(200));
        assert_eq!(last_before(999, 15), Some(100));
        assert_eq!(last_before(99, 99), None);
        assert_eq!([6, 7, 8, 9, 10].map(|ms| index.offset_for_timestamp(ms)), [0, 0, 20, 20, 30]);
    }

    #[test]
    fn an_active_file_counts_as_far_as_its_mark() {
        let whole = index(&[(10, 100, 7), (20, 200, 7), (30, 300, 9)]);
        let part = index(&[(10, 100, 7), (20, 200, 7)]);
        let mark = IndexMark::default().extended(&part.encode_from(0));
        let mut file = file_header(40);
        file.extend(part.encode_from(0));
        assert_eq!(file_position(2), file.len() as u64);
        file.extend(whole.encode_from(2));
        let whole_mark = mark.extended(&whole.encode_from(2));
        assert_eq!(SparseIndex::decode_active(&file, 40, mark), Some(part.clone()));
        assert_eq!(SparseIndex::decode_active(&file, 40, whole_mark), Some(whole.clone()));
        assert_eq!(SparseIndex::decode_active(&file, 41, whole_mark), None);
        assert_eq!(SparseIndex::decode_active(&file[..20], 40, mark), None);
    }

    proptest! {
        #[test]
        fn a_closed_file_decodes_to_what_was_encoded(steps in prop::collection::vec((1..50u32, 100..500u32, 0..5i64), 0..40)) {
            let (mut offset, mut position, mut time) = (0, 0, 0);
            let entries: Vec<_> = steps.iter().map(|(o, p, t)| {
                (offset, position, time) = (offset + o, position + p, time + t);
                (offset, position, time)
            }).collect();
            let index = index(&entries);
            let file = index.encode_closed(9, 12345, 77, 5);
            let decoded = SparseIndex::decode_closed(&file, 9);
            prop_assert_eq!(decoded, Some(ClosedIndex { index, segment_len: 12345, max_timestamp_ms: 77, clean: 5 }));
            for cut in 0..file.len() {
                prop_assert_eq!(SparseIndex::decode_closed(&file[..cut], 9), None);
            }
        }

        #[test]
        fn garbage_is_no_index(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(SparseIndex::decode_closed(&bytes, 0), None);
            let mark = IndexMark { count: 2, crc: 1 };
            prop_assert_eq!(SparseIndex::decode_active(&bytes, 0, mark), None);
        }
    }
}
