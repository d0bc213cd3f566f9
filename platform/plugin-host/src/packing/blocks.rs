//! From a transform's output blocks to record batches that are ready to be appended.
//!
//! | bytes | field, little-endian |
//! |---|---|
//! | 0..4 | index of the output topic |
//! | 4..8 | number of records, at least 1 |
//! | 8..12 | length of the records |
//! | 12..20 | base timestamp, ms |
//! | 20.. | records, encoded as in a record batch |

use bytes::Bytes;
use millrace_protocol::batch::{Attributes, Batch, BatchHeader, HEADER_LEN, MAGIC};
use millrace_protocol::crc::crc32c;

use super::walk::{self, RecordFault};

/// What stands before a block's records.
pub const BLOCK_HEADER_LEN: usize = 20;

/// From here on a batch's checksum covers it.
const CRC_FROM: usize = 21;
/// What the batch length field does not count.
const LENGTH_END: usize = 12;

/// How much one call may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Output topics; blocks name them by their index.
    pub outputs: u32,
    /// Bytes of all batches of a call.
    pub bytes: usize,
    /// Records of all batches of a call: the fan-out.
    pub records: u64,
    /// Bytes of one block's records.
    pub block_bytes: usize,
}

/// A block that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("the output ends in the middle of a block: {available} bytes of {needed}")]
    CutOff { needed: usize, available: usize },
    #[error("a block names output {index}, and the deployment has {outputs}")]
    NoSuchOutput { index: u32, outputs: u32 },
    #[error("a block holds at least one record")]
    Empty,
    #[error("a block is malformed: {0}")]
    Record(#[from] RecordFault),
    #[error("a block's timestamps leave the range of 64 bits")]
    Timestamp,
    #[error("a block of {len} bytes is over the limit of {max}; emit smaller blocks")]
    BlockTooLarge { len: usize, max: usize },
    #[error("the output is over the limit of {max} bytes for a batch")]
    TooManyBytes { max: usize },
    #[error("the output is over the limit of {max} records for a batch")]
    TooManyRecords { max: u64 },
}

impl BlockError {
    /// Whether the output is well-formed and only too much of it.
    pub const fn is_over_limit(&self) -> bool {
        matches!(self, Self::BlockTooLarge { .. } | Self::TooManyBytes { .. } | Self::TooManyRecords { .. })
    }
}

/// A batch for one of the deployment's output topics: uncompressed, base offset 0, no producer, checksum set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputBatch {
    /// Index of the output topic.
    pub output: u32,
    pub batch: Batch,
}

/// Takes the blocks of one call.
#[derive(Debug, Default)]
pub struct Collector {
    batches: Vec<OutputBatch>,
    bytes: usize,
    records: u64,
}

impl Collector {
    /// Checks `blocks` in place and copies each into a batch. After an error what was taken is of no use.
    pub fn take(&mut self, blocks: &[u8], limits: &OutputLimits) -> Result<(), BlockError> {
        let mut rest = blocks;
        while !rest.is_empty() {
            let (header, after) = rest
                .split_first_chunk::<BLOCK_HEADER_LEN>()
                .ok_or(BlockError::CutOff { needed: BLOCK_HEADER_LEN, available: rest.len() })?;
            let header = BlockHeader::read(header);
            self.admit(&header, limits)?;
            let (records, after) = after
                .split_at_checked(header.len)
                .ok_or(BlockError::CutOff { needed: header.len, available: after.len() })?;
            let latest = walk::check(records, header.count)?;
            self.batches.push(OutputBatch { output: header.output, batch: header.batch(latest, records)? });
            rest = after;
        }
        Ok(())
    }

    fn admit(&mut self, header: &BlockHeader, limits: &OutputLimits) -> Result<(), BlockError> {
        if header.output >= limits.outputs {
            return Err(BlockError::NoSuchOutput { index: header.output, outputs: limits.outputs });
        }
        if header.count == 0 {
            return Err(BlockError::Empty);
        }
        if header.len > limits.block_bytes {
            return Err(BlockError::BlockTooLarge { len: header.len, max: limits.block_bytes });
        }
        self.bytes = self.bytes.saturating_add(HEADER_LEN + header.len);
        if self.bytes > limits.bytes {
            return Err(BlockError::TooManyBytes { max: limits.bytes });
        }
        self.records += u64::from(header.count);
        if self.records > limits.records {
            return Err(BlockError::TooManyRecords { max: limits.records });
        }
        Ok(())
    }

    /// Bytes of the batches so far.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records of the batches so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The batches in the order in which their blocks came.
    pub fn into_batches(self) -> Vec<OutputBatch> {
        self.batches
    }
}

#[derive(Clone, Copy, Debug)]
struct BlockHeader {
    output: u32,
    count: u32,
    len: usize,
    base_timestamp: i64,
}

impl BlockHeader {
    fn read(bytes: &[u8; BLOCK_HEADER_LEN]) -> Self {
        use bytes::Buf;
        let mut bytes = &bytes[..];
        Self {
            output: bytes.get_u32_le(),
            count: bytes.get_u32_le(),
            len: bytes.get_u32_le() as usize,
            base_timestamp: bytes.get_i64_le(),
        }
    }

    /// The batch of `records`, whose largest timestamp delta is `latest`.
    fn batch(&self, latest: i64, records: &[u8]) -> Result<Batch, BlockError> {
        let total = HEADER_LEN + records.len();
        let too_large = || BlockError::BlockTooLarge { len: total, max: i32::MAX as usize };
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length: i32::try_from(total - LENGTH_END).map_err(|_| too_large())?,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: i32::try_from(self.count - 1).map_err(|_| too_large())?,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.base_timestamp.checked_add(latest).ok_or(BlockError::Timestamp)?,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: i32::try_from(self.count).map_err(|_| too_large())?,
        };
        let mut bytes = Vec::with_capacity(total);
        bytes.resize(HEADER_LEN, 0);
        header.write(&mut bytes);
        bytes.extend_from_slice(records);
        header.crc = crc32c(&bytes[CRC_FROM..]);
        header.write(&mut bytes);
        Ok(Batch { header, bytes: Bytes::from(bytes) })
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
