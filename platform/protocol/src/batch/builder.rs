//! Building a batch, for producers.

use bytes::Bytes;

use super::Header;
use crate::compression::{Codec, CompressError};

/// Who writes the batch: an idempotent producer's id, epoch and the sequence number of the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
}

impl ProducerState {
    /// A producer that is not idempotent.
    pub const NONE: Self =
        Self { producer_id: -1, producer_epoch: -1, base_sequence: -1, transactional: false };
}

/// Collects records into one buffer; no allocation of its own for any of them.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch with room for `bytes` bytes, header included.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes) }
    }

    /// Appends a record and returns its offset within the batch.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> i32 {
        let _ = (timestamp_ms, key, value, headers);
        unimplemented!()
    }

    /// Bytes of the batch so far, header included, before compression.
    pub fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Upper bound of what a record adds to [`Self::len_bytes`].
    pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
        let _ = (key, value, headers);
        unimplemented!()
    }

    pub fn record_count(&self) -> i32 {
        unimplemented!()
    }

    pub fn is_empty(&self) -> bool {
        self.record_count() == 0
    }

    /// The batch with base offset 0, compressed and with its checksum.
    pub fn finish(self, codec: Codec, producer: ProducerState) -> Result<Bytes, CompressError> {
        let _ = (codec, producer);
        unimplemented!()
    }
}
