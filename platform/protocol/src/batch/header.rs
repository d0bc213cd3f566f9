//! The 61 bytes before a batch's records.

use crate::ErrorCode;
use crate::compression::{Codec, DecompressError};

/// Length of a batch's header; the records follow.
pub const HEADER_LEN: usize = 61;

/// A batch that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    #[error("the batch ends early: {available} bytes of {needed}")]
    Truncated { needed: usize, available: usize },
    #[error("the batch announces {length} bytes; a header alone has 49 after the length")]
    BadLength { length: i32 },
    #[error("a batch of {len} bytes is over the limit of {max}")]
    TooLarge { len: usize, max: usize },
    #[error("record format magic {0} is not supported; producers of Kafka 0.11 and later write magic 2")]
    OldMagic(i8),
    #[error("record format magic {0} is unknown")]
    UnknownMagic(i8),
    #[error("checksum {computed:#010x} of the batch is not the {stored:#010x} it announces")]
    BadCrc { stored: u32, computed: u32 },
    #[error("compression type {0} is unknown")]
    UnknownCodec(u8),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("record {index} of the batch is malformed")]
    MalformedRecord { index: i32 },
    #[error(transparent)]
    Decompress(#[from] DecompressError),
}

impl BatchError {
    /// What the producer is told.
    pub fn code(&self) -> ErrorCode {
        unimplemented!()
    }
}

/// What a batch's timestamps mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The attributes field: compression (bits 0-2), timestamp type (3), transactional (4), control (5),
/// delete horizon (6).
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
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes` and checks magic and length, not the checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let _ = bytes;
        unimplemented!()
    }

    /// Writes the header as it stands to the front of `bytes`, which is at least [`HEADER_LEN`] long.
    pub fn write(&self, bytes: &mut [u8]) {
        let _ = bytes;
        unimplemented!()
    }

    /// Length of the whole batch in bytes.
    pub const fn total_len(&self) -> usize {
        self.batch_length as usize + 12
    }

    pub const fn last_offset(&self) -> i64 {
        self.base_offset + self.last_offset_delta as i64
    }

    /// Offset after the last record.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Sequence number of the last record (wraps around after `i32::MAX` to 0); -1 without a producer id.
    pub fn last_sequence(&self) -> i32 {
        unimplemented!()
    }

    pub const fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// Sets base offset and leader epoch of the batch that `header_bytes` begins; both are outside the checksum.
pub fn stamp(header_bytes: &mut [u8], base_offset: i64, leader_epoch: i32) {
    let _ = (header_bytes, base_offset, leader_epoch);
    unimplemented!()
}

/// Sets `LogAppendTime` and the maximum timestamp of the whole `batch`, and its checksum anew.
pub fn stamp_log_append_time(batch: &mut [u8], timestamp_ms: i64) {
    let _ = (batch, timestamp_ms);
    unimplemented!()
}
