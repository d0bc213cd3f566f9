//! The checkpoint: from where on a restart has to read the segments and the write-ahead log again.
//!
//! One file, `checkpoint`, for the whole data directory, [replaced](millrace_disk::replace) as one. It is written
//! only after everything it vouches for is durable. Little-endian, version 5:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `MRCK` |
//! | 4..6 | version u16 |
//! | 6..8 | flags u16: bit 0, the directory was closed in order |
//! | 8..12 | CRC-32C of all before and after it |
//! | 12..16 | partition count u32 |
//! | 16..24 | sequence u64 from which on files of the write-ahead log are needed |
//! | 24..32 | number u64 of the next group, a lower bound |
//! | 32..48 | salt u128 of the write-ahead log's groups |
//! | then each | topic id 16, partition i32, log start i64, high watermark i64, offset i64, segment i64, position u32, largest timestamp of that segment i64, index entry count u32, index CRC u32, first group u64, [epochs](crate::epochs), [producers](crate::producer), [aborted transactions](crate::transactions) |
//!
//! All of a partition's records below `offset` are in its segments, of which `segment` is the last and
//! reaches to `position`; the rest is the [history](crate::history) of that offset. What the write-ahead log holds of the
//! partition in groups of lower numbers than `first group` was taken back: it is not replayed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use millrace_base::{Offset, TopicPartition};
use millrace_disk::{Disk, OpenMode, replace};

use crate::checksum;
use crate::error::OpenError;
use crate::history::History;
use crate::index::IndexMark;
use crate::transactions;
use crate::wal::format::uuid_from;

const MAGIC: u32 = u32::from_le_bytes(*b"MRCK");
const VERSION: u16 = 5;
const HEADER_LEN: usize = 48;
const CLEAN: u16 = 1;

const NAME: &str = "checkpoint";

/// What a checkpoint says of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionCheckpoint {
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub offset: Offset,
    pub segment: Offset,
    pub position: u32,
    pub max_timestamp_ms: i64,
    pub index: IndexMark,
    pub first_group: u64,
    pub history: History,
}

impl PartitionCheckpoint {
    /// Of a log that begins and ends at `offset`, of which nothing else is known.
    pub fn at(offset: Offset, history: History) -> Self {
        Self {
            log_start: offset,
            high_watermark: offset,
            offset,
            segment: offset,
            max_timestamp_ms: -1,
            history,
            ..Self::default()
        }
    }

    /// Whether all that it says can be true together.
    fn check(&self) -> Result<(), &'static str> {
        if self.log_start < 0 || self.log_start > self.offset {
            return Err("a log that starts outside its records");
        }
        if self.high_watermark < self.log_start || self.high_watermark > self.offset {
            return Err("a high watermark outside its records");
        }
        if self.segment < 0 || self.segment > self.offset {
            return Err("a segment that begins outside its log");
        }
        // A segment's offsets are stored relative to its base, in 31 bits.
        if self.offset - self.segment > i64::from(i32::MAX) + 1 {
            return Err("more offsets than a segment can have");
        }
        if (self.position == 0) != (self.segment == self.offset) {
            return Err("a segment whose bytes and offsets do not match");
        }
        if !self.history.epochs.are_sound(self.offset) {
            return Err("leader epochs that do not grow within its log");
        }
        if !self.history.producers.are_sound(self.offset) {
            return Err("producers whose batches are outside its log");
        }
        if !transactions::are_sound(&self.history.aborted, self.offset) {
            return Err("aborted transactions that are outside its log");
        }
        Ok(())
    }
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub clean: bool,
    pub wal_sequence: u64,
    pub wal_number: u64,
    pub wal_salt: u128,
    pub partitions: BTreeMap<TopicPartition, Arc<PartitionCheckpoint>>,
}

impl Checkpoint {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.partitions.len() * 128);
        out.put_u32_le(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(if self.clean { CLEAN } else { 0 });
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(self.partitions.len()).expect("partitions are counted in i32"));
        out.put_u64_le(self.wal_sequence);
        out.put_u64_le(self.wal_number);
        out.put_u128_le(self.wal_salt);
        for (tp, partition) in &self.partitions {
            out.put_slice(tp.topic.0.as_bytes());
            out.put_i32_le(tp.partition);
            out.put_i64_le(partition.log_start);
            out.put_i64_le(partition.high_watermark);
            out.put_i64_le(partition.offset);
            out.put_i64_le(partition.segment);
            out.put_u32_le(partition.position);
            out.put_i64_le(partition.max_timestamp_ms);
            out.put_u32_le(partition.index.count);
            out.put_u32_le(partition.index.crc);
            out.put_u64_le(partition.first_group);
            partition.history.encode_body(&mut out);
        }
        let crc = checksum_of(&out);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        if rest.try_get_u32_le()? != MAGIC {
            return Err(damaged("it does not begin with its magic number"));
        }
        let version = rest.try_get_u16_le()?;
        let flags = rest.try_get_u16_le()?;
        let crc = rest.try_get_u32_le()?;
        if !checksum::holds(crc, checksum_of(bytes)) {
            return Err(damaged("its checksum does not match"));
        }
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let count = rest.try_get_u32_le()?;
        let mut checkpoint = Self {
            clean: flags & CLEAN != 0,
            wal_sequence: rest.try_get_u64_le()?,
            wal_number: rest.try_get_u64_le()?,
            wal_salt: rest.try_get_u128_le()?,
            partitions: BTreeMap::new(),
        };
        // Counted up from 1, for less than 2^63 groups.
        if checkpoint.wal_sequence.max(checkpoint.wal_number) > i64::MAX as u64 {
            return Err(damaged("it names a place of the write-ahead log that cannot be"));
        }
        for _ in 0..count {
            if rest.len() < 16 {
                return Err(damaged("it ends early"));
            }
            let topic = uuid_from(&mut rest);
            let tp = TopicPartition::new(topic, rest.try_get_i32_le()?);
            let partition = PartitionCheckpoint {
                log_start: rest.try_get_i64_le()?,
                high_watermark: rest.try_get_i64_le()?,
                offset: rest.try_get_i64_le()?,
                segment: rest.try_get_i64_le()?,
                position: rest.try_get_u32_le()?,
                max_timestamp_ms: rest.try_get_i64_le()?,
                index: IndexMark { count: rest.try_get_u32_le()?, crc: rest.try_get_u32_le()? },
                first_group: rest.try_get_u64_le()?,
                history: History::decode_body(&mut rest)?,
            };
            partition.check().map_err(|what| DecodeError::Damaged(format!("it gives {tp} {what}")))?;
            checkpoint.partitions.insert(tp, Arc::new(partition));
        }
        if !rest.is_empty() {
            return Err(damaged("it goes on behind its last partition"));
        }
        Ok(checkpoint)
    }

    /// Needs what `last` needs of the write-ahead log and of the partitions that it does not have itself: for a
    /// checkpoint that could not move on everywhere.
    pub fn go_on_with(&mut self, last: &Self) {
        self.clean = false;
        (self.wal_sequence, self.wal_number, self.wal_salt) =
            (last.wal_sequence, last.wal_number, last.wal_salt);
        for (tp, partition) in &last.partitions {
            self.partitions.entry(*tp).or_insert_with(|| Arc::clone(partition));
        }
    }

    /// Replaces the file of the data directory `dir`; durable when it returns.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        replace(disk, &dir.join(NAME), &self.encode())
    }

    /// The checkpoint of the data directory `dir`; `None` if it never had one.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(NAME);
        let file = match disk.open(&path, OpenMode::default()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let len = file.len().map_err(OpenError::io("read the length of", &path))?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(OpenError::io("read", &path))?;
        match Self::decode(&bytes) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(DecodeError::Version(found)) => Err(OpenError::Version { path, found, supported: VERSION }),
            Err(DecodeError::Damaged(why)) => {
                let reason = format!(
                    "{why}. Restore the directory, or remove this file: every segment is then read and \
                     checked, and deleted records that are still on disk come back"
                );
                Err(OpenError::corrupt(&path, 0, reason))
            }
        }
    }
}

#[derive(Debug)]
enum DecodeError {
    Damaged(String),
    Version(u16),
}

fn damaged(why: &str) -> DecodeError {
    DecodeError::Damaged(why.to_owned())
}

impl From<bytes::TryGetError> for DecodeError {
    fn from(_: bytes::TryGetError) -> Self {
        damaged("it ends early")
    }
}

/// Of everything but the checksum itself.
fn checksum_of(bytes: &[u8]) -> u32 {
    checksum::crc32c_append(checksum::crc32c(&bytes[..8]), bytes.get(12..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use millrace_base::{LeaderEpoch, TopicId};
    use proptest::prelude::*;

    use super::*;

    fn checkpoint(partitions: &[(u128, i32, i64)]) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            clean: true,
            wal_sequence: 5,
            wal_number: 9,
            wal_salt: 1 << 99,
            ..Checkpoint::default()
        };
        for (topic, partition, offset) in partitions {
            let mut history = History::default();
            history.epochs.record(LeaderEpoch(1), *offset);
            let tp = TopicPartition::new(TopicId(uuid::Uuid::from_u128(*topic)), *partition);
            let of = PartitionCheckpoint { offset: *offset, position: 77, history, ..Default::default() };
            of.check().unwrap();
            checkpoint.partitions.insert(tp, Arc::new(of));
        }
        checkpoint
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_the_same(
            partitions in prop::collection::vec((any::<u128>(), 0..i32::MAX, 1..=i64::from(i32::MAX)), 0..20),
        ) {
            let checkpoint = checkpoint(&partitions);
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()).unwrap(), checkpoint);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0..1000usize, by in 1..=255u8) {
            let mut bytes = checkpoint(&[(1, 1, 1), (2, 2, 2)]).encode();
            let at = at % bytes.len();
            bytes[at] ^= by;
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }

        #[test]
        fn what_cannot_be_is_refused(offset in 1..9000i64, value in any::<i64>(), which in 0..5usize) {
            let sound = checkpoint(&[(1, 1, offset)]);
            let (tp, of) = sound.partitions.first_key_value().unwrap();
            let mut of = PartitionCheckpoint::clone(of);
            prop_assume!(!(0..=offset).contains(&value));
            match which {
                0 => of.log_start = value,
                1 => of.segment = value,
                2 => of.position = 0,
                3 => of.high_watermark = value,
                _ => _ = of.history.epochs.record(LeaderEpoch(2), value),
            }
            let partitions = BTreeMap::from([(*tp, Arc::new(of))]);
            let refused = Checkpoint { partitions, ..sound.clone() };
            let error = Checkpoint::decode(&refused.encode()).unwrap_err();
            prop_assert!(matches!(&error, DecodeError::Damaged(why) if why.contains(&tp.to_string())), "{error:?}");
        }

        #[test]
        fn another_version_is_told_from_damage(version in any::<u16>()) {
            prop_assume!(version != VERSION);
            let mut bytes = checkpoint(&[(1, 1, 1)]).encode();
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            let crc = checksum_of(&bytes);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            let refused = Checkpoint::decode(&bytes);
            prop_assert!(matches!(refused, Err(DecodeError::Version(found)) if found == version));
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }
    }
}
