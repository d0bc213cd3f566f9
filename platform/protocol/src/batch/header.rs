//! The 61 bytes before a batch's records. All integers are big-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | base offset |
//! | 8..12 | batch length: of everything after this field |
//! | 12..16 | partition leader epoch |
//! | 16 | magic: 2 |
//! | 17..21 | CRC-32C of everything after this field |
//! | 21..23 | attributes: compression (bits 0-2), timestamp type (3), transactional (4), control (5), delete horizon (6) |
//! | 23..27 | last offset delta |
//! | 27..35 | base timestamp, ms |
//! | 35..43 | max timestamp, ms |
//! | 43..51 | producer id |
//! | 51..53 | producer epoch |
//! | 53..57 | base sequence |
//! | 57..61 | record count |
//!
//! Base offset and leader epoch stand outside the checksum, so that a broker sets them without touching the
//! rest (Kafka's "Record Batch", KIP-98).

use super::BatchError;
use crate::compression::Codec;
use crate::crc;

/// Length of a batch's header; the records follow.
pub const HEADER_LEN: usize = 61;

/// The record format that this crate reads and writes.
pub const MAGIC: i8 = 2;

/// What the batch length does not count: base offset and the length itself.
const LENGTH_END: usize = 12;
/// Where the checksum stands, and where what it covers begins.
const CRC_AT: usize = 17;
pub(super) const CRC_FROM: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// What a batch's timestamps mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's, one for each record.
    #[default]
    CreateTime,
    /// The broker's, one for all: the batch's max timestamp.
    LogAppendTime,
}

/// The attributes field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub const TIMESTAMP_TYPE: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    pub const DELETE_HORIZON: i16 = 1 << 6;

    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = (self.0 & 7) as u8;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::TIMESTAMP_TYPE == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which a tombstone may go (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes that follow this field.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    pub attributes: Attributes,
    /// Offset of the last record, less the base offset.
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// -1: the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 without a producer id.
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. Checks the magic, and that the announced length covers a
    /// header; whether `bytes` holds the whole batch, and the checksum, are not checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let magic =
            *bytes.get(16).ok_or(BatchError::Truncated { needed: HEADER_LEN, available: bytes.len() })? as i8;
        match magic {
            MAGIC => {}
            0 | 1 => return Err(BatchError::OldMagic(magic)),
            _ => return Err(BatchError::UnknownMagic(magic)),
        }
        let Some((mut header, _)) = bytes.split_at_checked(HEADER_LEN) else {
            return Err(BatchError::Truncated { needed: HEADER_LEN, available: bytes.len() });
        };
        let header = Self::read(&mut header);
        if header.batch_length < (HEADER_LEN - LENGTH_END) as i32 {
            return Err(BatchError::BadLength { length: header.batch_length });
        }
        Ok(header)
    }

    fn read(bytes: &mut &[u8]) -> Self {
        use bytes::Buf;
        Self {
            base_offset: bytes.get_i64(),
            batch_length: bytes.get_i32(),
            partition_leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: Attributes(bytes.get_i16()),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        }
    }

    /// Writes the header as it stands to the front of `bytes`, which is at least [`HEADER_LEN`] long.
    pub fn write(&self, bytes: &mut [u8]) {
        use bytes::BufMut;
        let mut bytes = &mut bytes[..HEADER_LEN];
        bytes.put_i64(self.base_offset);
        bytes.put_i32(self.batch_length);
        bytes.put_i32(self.partition_leader_epoch);
        bytes.put_i8(self.magic);
        bytes.put_u32(self.crc);
        bytes.put_i16(self.attributes.0);
        bytes.put_i32(self.last_offset_delta);
        bytes.put_i64(self.base_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.record_count);
    }

    /// Sets the maximum timestamp, and the checksum with it, as [`stamp_log_append_time`] does.
    pub fn correct_max_timestamp(&mut self, timestamp_ms: i64) {
        if self.max_timestamp == timestamp_ms {
            return;
        }
        let before = self.own_crc();
        self.max_timestamp = timestamp_ms;
        self.crc ^= crc::shift(before ^ self.own_crc(), self.total_len() - HEADER_LEN);
    }

    /// The checksum of what it covers of the header alone.
    fn own_crc(&self) -> u32 {
        let mut bytes = [0; HEADER_LEN];
        self.write(&mut bytes);
        crc::crc32c(&bytes[CRC_FROM..])
    }

    /// Length of the whole batch in bytes.
    pub const fn total_len(&self) -> usize {
        self.batch_length as usize + LENGTH_END
    }

    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// Offset after the last record.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; -1 without a producer id.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    pub const fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// The sequence number `by` (not negative) records after `sequence`; 0 follows `i32::MAX`.
pub const fn increment_sequence(sequence: i32, by: i32) -> i32 {
    sequence.wrapping_add(by) & i32::MAX
}

/// Sets base offset and leader epoch of the batch that `header` begins. The checksum does not cover them.
pub fn stamp(header: &mut [u8], base_offset: i64, leader_epoch: i32) {
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    header[LENGTH_END..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Sets `LogAppendTime` and the maximum timestamp of the batch that `header` begins, whose total length is
/// `batch_len`, and the checksum with them.
///
/// The checksum follows from the old one and the header's change alone: the records are not read, and a
/// batch that was damaged before stays recognisable as such.
pub fn stamp_log_append_time(header: &mut [u8], batch_len: usize, timestamp_ms: i64) {
    let before = crc::crc32c(&header[CRC_FROM..HEADER_LEN]);
    let attributes =
        i16::from_be_bytes([header[CRC_FROM], header[CRC_FROM + 1]]) | Attributes::TIMESTAMP_TYPE;
    header[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
    header[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    let after = crc::crc32c(&header[CRC_FROM..HEADER_LEN]);

    let mut stored = [0; 4];
    stored.copy_from_slice(&header[CRC_AT..CRC_FROM]);
    let change = crc::shift(before ^ after, batch_len - HEADER_LEN);
    let stored = u32::from_be_bytes(stored) ^ change;
    header[CRC_AT..CRC_FROM].copy_from_slice(&stored.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_around_to_zero() {
        assert_eq!(increment_sequence(0, 4), 4);
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn old_and_unknown_formats_are_told_apart() {
        let mut bytes = [0; HEADER_LEN];
        assert!(matches!(BatchHeader::parse(&bytes), Err(BatchError::OldMagic(0))));
        bytes[16] = 1;
        assert!(matches!(BatchHeader::parse(&bytes[..17]), Err(BatchError::OldMagic(1))));
        bytes[16] = 3;
        assert!(matches!(BatchHeader::parse(&bytes), Err(BatchError::UnknownMagic(3))));
        bytes[16] = 2;
        assert!(matches!(BatchHeader::parse(&bytes), Err(BatchError::BadLength { length: 0 })));
        assert!(matches!(BatchHeader::parse(&bytes[..60]), Err(BatchError::Truncated { .. })));
    }
}
