//! Cutting what a produce request, a fetch response or a file holds into batches.

use bytes::Bytes;

use super::{BatchError, BatchHeader, Records};

/// One batch: its header as parsed, and all its bytes, header included.
#[derive(Clone, Debug)]
pub struct Batch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

impl Batch {
    /// Checks the checksum and what Kafka checks of a producer's batch before it is appended.
    pub fn verify(&self) -> Result<(), BatchError> {
        unimplemented!()
    }

    /// Checks the checksum alone: for batches that a leader has accepted before (replication, recovery).
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        unimplemented!()
    }

    /// Walks every record and checks that the count and the offset deltas are those announced.
    pub fn validate_records(&self, max_decompressed: usize) -> Result<(), BatchError> {
        let _ = max_decompressed;
        unimplemented!()
    }

    /// The records, decompressed to at most `max_decompressed` bytes; slices of the batch if uncompressed.
    pub fn records(&self, max_decompressed: usize) -> Result<Records, BatchError> {
        let _ = max_decompressed;
        unimplemented!()
    }
}

/// Cuts `bytes` into batches, which must end exactly where it does; slices, not copies. A batch larger than
/// `max_batch_bytes` (header included) is refused.
pub fn split_batches(bytes: Bytes, max_batch_bytes: usize) -> Result<Vec<Batch>, BatchError> {
    let _ = (bytes, max_batch_bytes);
    unimplemented!()
}
