//! Cutting what a produce request, a fetch response or a file holds into batches, and checking them.

use bytes::Bytes;

use super::header::CRC_FROM;
use super::{BatchError, BatchHeader, HEADER_LEN, Records};
use crate::compression::{Codec, decompress};
use crate::crc;

/// One batch: its header as parsed, and all its bytes, header included. Where a header was corrected, it counts, not
/// its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

impl Batch {
    /// The batch that `bytes` is, exactly. The checksum is not checked.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        match header.total_len() {
            len if len == bytes.len() => Ok(Self { header, bytes }),
            len if len > bytes.len() => Err(BatchError::Truncated { needed: len, available: bytes.len() }),
            _ => Err(BatchError::Invalid("bytes follow the batch")),
        }
    }

    /// Checks the checksum and what Kafka checks of a producer's batch before it is appended. The records
    /// themselves are not walked: [`Self::validate_records`].
    pub fn verify(&self) -> Result<(), BatchError> {
        self.verify_crc()?;
        self.verify_header()
    }

    /// Checks the checksum alone: for batches that a leader has accepted before (replication, recovery).
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc::crc32c(&self.bytes[CRC_FROM..]);
        let stored = self.header.crc;
        if computed == stored { Ok(()) } else { Err(BatchError::BadCrc { stored, computed }) }
    }

    fn verify_header(&self) -> Result<(), BatchError> {
        let header = &self.header;
        header.attributes.codec()?;
        if header.record_count <= 0 {
            return Err(BatchError::Invalid("a batch holds at least one record"));
        }
        if header.last_offset_delta != header.record_count - 1 {
            return Err(BatchError::Invalid("the last offset delta of a batch is its record count less one"));
        }
        if header.attributes.is_control() {
            return Err(BatchError::Invalid("clients must not write control batches"));
        }
        if header.has_producer_id() && header.base_sequence < 0 {
            return Err(BatchError::Invalid("a batch with a producer id needs a sequence number"));
        }
        if header.attributes.is_transactional() && !header.has_producer_id() {
            return Err(BatchError::Invalid("a transactional batch needs a producer id"));
        }
        Ok(())
    }

    /// The records, decompressed to at most `max_decompressed` bytes; slices of the batch if uncompressed.
    pub fn records(&self, max_decompressed: usize) -> Result<Records, BatchError> {
        let stored = self.bytes.slice(HEADER_LEN..);
        let expanded = match self.header.attributes.codec()? {
            Codec::None => stored,
            codec => decompress(codec, &stored, max_decompressed)?,
        };
        Ok(Records::new(self.header, expanded))
    }
}

/// Cuts `bytes` into batches, the last of which must end where `bytes` does; slices, not copies. A batch
/// larger than `max_batch_bytes` (header included) is refused. The checksums are not checked.
pub fn split_batches(mut bytes: Bytes, max_batch_bytes: usize) -> Result<Vec<Batch>, BatchError> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(&bytes)?;
        let len = header.total_len();
        if len > max_batch_bytes {
            return Err(BatchError::TooLarge { len, max: max_batch_bytes });
        }
        if len > bytes.len() {
            return Err(BatchError::Truncated { needed: len, available: bytes.len() });
        }
        batches.push(Batch { header, bytes: bytes.split_to(len) });
    }
    Ok(batches)
}
