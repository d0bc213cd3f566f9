//! Bytes of the write-ahead log.
//!
//! A file is a sequence of groups, each at a multiple of 4096. A group is what one durable write commits.
//! Little-endian, version 3:
//!
//! | group bytes | what |
//! |---|---|
//! | 0..4 | `MRWG` |
//! | 4..6 | version u16 |
//! | 6..8 | zero |
//! | 8..12 | CRC-32C of bytes 12..length |
//! | 12..16 | length u32: this header and all entries, without the padding to 4096 |
//! | 16..24 | sequence u64 of the file's current life; groups of earlier lives have smaller ones |
//! | 24..32 | number u64 of the group, one more than that of the group before, across files |
//! | 32..36 | entry count u32 |
//! | 36..52 | salt u128 that the checkpoint names |
//! | 52..64 | zero |
//!
//! | entry bytes | what |
//! |---|---|
//! | 0..16 | topic id |
//! | 16..20 | partition i32 |
//! | 20..24 | length u32 of the batches |
//! | 24..32 | base offset i64 |
//! | 32..40 | end offset i64, exclusive |
//! | 40..48 | base offset i64 of the segment they belong into |
//! | 48..52 | their position u32 there |
//! | 52 | kind u8: 0 append, 1 truncate, 2 reset, 3 cut |
//! | 53..56 | zero |
//! | 56.. | record batches as they stand in the segment |
//!
//! Entries count in the order of their groups. A *truncate* takes the partition's records from its end offset on
//! back: those below are in segments, durably, of which the last, at the entry's segment, ends at its position. What
//! the groups before it hold of the partition is void. A *reset* does so with all records; the log begins anew at the
//! entry's offset. Either stands alone in its group. A *cut*, with the fields of what it follows, says that what was
//! taken back is gone from the segments, too: records that stand there behind that place have come later.
//!
//! Files are written over and over, so behind the last group of a file there are bytes of earlier ones, at the
//! places where groups stand: values that clients chose. The salt tells our groups from those. It is random,
//! nothing but the checkpoint and the groups hold it, and each opening of the directory draws a new one, which
//! is durable in its checkpoint before the first group is written. Lives of a file between two openings are told
//! apart by their sequence. Without the salt only the header at the beginning of a file is looked at: that place
//! is never a value's.

use bytes::{Buf, BufMut};
use millrace_base::limits::{IO_ALIGNMENT, KIB, SEGMENT_BYTES_MAX};
use millrace_base::{Offset, TopicId, TopicPartition};

use crate::checksum;

pub(crate) const VERSION: u16 = 3;
pub(crate) const GROUP_HEADER_LEN: usize = 64;
pub(crate) const ENTRY_HEADER_LEN: usize = 56;
/// Largest group. A bigger one would make lone records wait longer than it saves writes.
pub(crate) const GROUP_BYTES_MAX: usize = 1024 * KIB;

const MAGIC: u32 = u32::from_le_bytes(*b"MRWG");
const CRC_START: usize = 12;
const SALT_START: usize = 36;

/// Identity of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId {
    pub sequence: u64,
    pub number: u64,
}

/// What an entry does to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Append,
    Truncate,
    Reset,
    Cut,
}

impl EntryKind {
    const ALL: [Self; 4] = [Self::Append, Self::Truncate, Self::Reset, Self::Cut];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// An entry: for an append, the stretch of the partition whose batches follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub kind: EntryKind,
    pub tp: TopicPartition,
    pub len: u32,
    pub base_offset: Offset,
    pub end_offset: Offset,
    pub segment: Offset,
    pub position: u32,
}

impl EntryHeader {
    pub fn encode(&self) -> [u8; ENTRY_HEADER_LEN] {
        let mut bytes = [0; ENTRY_HEADER_LEN];
        let mut out = bytes.as_mut_slice();
        out.put_slice(self.tp.topic.0.as_bytes());
        out.put_i32_le(self.tp.partition);
        out.put_u32_le(self.len);
        out.put_i64_le(self.base_offset);
        out.put_i64_le(self.end_offset);
        out.put_i64_le(self.segment);
        out.put_u32_le(self.position);
        out.put_u8(self.kind as u8);
        bytes
    }

    /// Whether all that it says can be true together.
    pub fn is_sound(&self) -> bool {
        self.tp.partition >= 0
            && self.segment >= 0
            && self.segment <= self.base_offset
            && match self.kind {
                EntryKind::Append => self.base_offset < self.end_offset,
                EntryKind::Truncate | EntryKind::Cut => self.len == 0 && self.base_offset == self.end_offset,
                EntryKind::Reset => {
                    self.len == 0 && self.position == 0 && self.base_offset == self.end_offset
                }
            }
            && self.end_offset - self.segment <= i64::from(i32::MAX) + 1
            && (self.position == 0) == (self.segment == self.base_offset)
            && self.position.checked_add(self.len).is_some_and(|end| end as usize <= SEGMENT_BYTES_MAX)
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        if bytes.len() < ENTRY_HEADER_LEN {
            return None;
        }
        let topic = uuid_from(bytes);
        let tp = TopicPartition::new(topic, bytes.get_i32_le());
        let (len, base_offset, end_offset) = (bytes.get_u32_le(), bytes.get_i64_le(), bytes.get_i64_le());
        let (segment, position) = (bytes.get_i64_le(), bytes.get_u32_le());
        let kind = EntryKind::of(bytes.get_u8())?;
        bytes.advance(3);
        Some(Self { kind, tp, len, base_offset, end_offset, segment, position })
    }
}

/// Takes a topic id off the front of `bytes`, which has one.
pub(crate) fn uuid_from(bytes: &mut &[u8]) -> TopicId {
    let mut id = [0; 16];
    bytes.copy_to_slice(&mut id);
    TopicId(uuid::Uuid::from_bytes(id))
}

/// Writes the header over the first [`GROUP_HEADER_LEN`] bytes of `group`, whose entries follow it.
pub(crate) fn seal(group: &mut [u8], id: GroupId, entry_count: u32, salt: u128) {
    let len = u32::try_from(group.len()).expect("a group is at most GROUP_BYTES_MAX long");
    let mut header = [0; GROUP_HEADER_LEN];
    let mut out = header.as_mut_slice();
    out.put_u32_le(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(0);
    out.put_u32_le(0);
    out.put_u32_le(len);
    out.put_u64_le(id.sequence);
    out.put_u64_le(id.number);
    out.put_u32_le(entry_count);
    out.put_u128_le(salt);
    group[..GROUP_HEADER_LEN].copy_from_slice(&header);
    let crc = checksum::crc32c(&group[CRC_START..]);
    group[8..CRC_START].copy_from_slice(&crc.to_le_bytes());
}

/// A whole group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DecodedGroup<'a> {
    pub id: GroupId,
    /// With the padding: where the next group stands.
    pub padded_len: usize,
    pub entries: Entries<'a>,
}

/// Reads the group at the front of `bytes`. `None`: there is none that was sealed with `salt`, or it was not
/// written to its end.
pub(crate) fn decode(bytes: &[u8], salt: u128) -> Option<DecodedGroup<'_>> {
    // Before anything is computed: bytes of clients' can make checksums costly, but not guess the salt.
    if stamp(bytes)? != (VERSION, salt) {
        return None;
    }
    let mut header = &bytes[8..GROUP_HEADER_LEN];
    let crc = header.get_u32_le();
    let len = header.get_u32_le() as usize;
    let id = GroupId { sequence: header.get_u64_le(), number: header.get_u64_le() };
    let count = header.get_u32_le();
    if len < GROUP_HEADER_LEN || len > bytes.len() {
        return None;
    }
    if !checksum::holds(crc, checksum::crc32c(&bytes[CRC_START..len])) {
        return None;
    }
    // Counted up from 1, for less than 2^63 groups.
    if id.sequence.max(id.number) > i64::MAX as u64 {
        return None;
    }
    let entries = Entries { rest: &bytes[GROUP_HEADER_LEN..len], left: count };
    Some(DecodedGroup { id, padded_len: len.next_multiple_of(IO_ALIGNMENT), entries })
}

/// Version and salt of the group header at the front of `bytes`, whole or not: to be believed at the beginning
/// of a file, where nothing else is ever written. Another version may have its salt elsewhere.
pub(crate) fn stamp(bytes: &[u8]) -> Option<(u16, u128)> {
    let mut header = bytes.get(..GROUP_HEADER_LEN)?;
    if header.get_u32_le() != MAGIC {
        return None;
    }
    let version = header.get_u16_le();
    header.advance(SALT_START - 6);
    Some((version, header.get_u128_le()))
}

/// Walks a group's entries, as far as they are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
    left: u32,
}

impl Entries<'_> {
    /// Whether none is left. A group's checksum was right, so what cannot be walked is a writer's bug.
    pub fn are_done(&self) -> bool {
        self.left == 0 && self.rest.is_empty()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (EntryHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let header = EntryHeader::decode(&mut self.rest)?;
        let batches = self.rest.split_off(..header.len as usize)?;
        Some((header, batches))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;

    fn group(entries: &[Vec<u8>], id: GroupId) -> Vec<u8> {
        let mut group = vec![0; GROUP_HEADER_LEN];
        for (index, batches) in entries.iter().enumerate() {
            group.extend(header(index, batches).encode());
            group.extend(batches);
        }
        seal(&mut group, id, entries.len() as u32, SALT);
        group
    }

    fn header(index: usize, batches: &[u8]) -> EntryHeader {
        EntryHeader {
            kind: if batches.is_empty() { EntryKind::Truncate } else { EntryKind::Append },
            tp: TopicPartition::new(TopicId(uuid::Uuid::from_u128(index as u128)), 7),
            len: batches.len() as u32,
            base_offset: 10,
            end_offset: 20,
            segment: 5,
            position: 99,
        }
    }

    proptest! {
        #[test]
        fn a_group_decodes_to_what_was_sealed(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            stale in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let id = GroupId { sequence: 3, number: 8 };
            let mut bytes = group(&entries, id);
            let padded = bytes.len().next_multiple_of(IO_ALIGNMENT);
            bytes.extend(stale);
            let DecodedGroup { id: found, padded_len, entries: walk } = decode(&bytes, SALT).unwrap();
            prop_assert_eq!((found, padded_len), (id, padded));
            let walked: Vec<_> = walk.map(|(header, batches)| (header, batches.to_vec())).collect();
            let expected: Vec<_> =
                entries.iter().enumerate().map(|(i, batches)| (header(i, batches), batches.clone())).collect();
            prop_assert_eq!(walked, expected);
        }

        #[test]
        fn a_group_with_any_byte_changed_is_none(at in 0..400usize, by in 1..=255u8) {
            let mut bytes = group(&[vec![1; 200], vec![2; 100]], GroupId { sequence: 1, number: 1 });
            let at = at % bytes.len();
            // The zeros behind the version are outside the checksum.
            prop_assume!(!(6..8).contains(&at));
            bytes[at] ^= by;
            prop_assert_eq!(decode(&bytes, SALT), None);
        }

        #[test]
        fn garbage_is_no_group(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            prop_assert_eq!(decode(&bytes, SALT), None);
        }

        #[test]
        fn a_group_of_another_salt_is_none(salt in any::<u128>()) {
            prop_assume!(salt != SALT);
            let bytes = group(&[vec![1; 200]], GroupId { sequence: 1, number: 1 });
            prop_assert_eq!(decode(&bytes, salt), None);
            prop_assert_eq!(stamp(&bytes), Some((VERSION, SALT)));
        }
    }
}
