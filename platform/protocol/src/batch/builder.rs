//! Building a batch, for producers.

use bytes::Bytes;

use super::header::CRC_FROM;
use super::{Attributes, Batch, BatchHeader, HEADER_LEN, Header, MAGIC};
use crate::compression::{Codec, CompressError, compress};
use crate::{crc, varint};

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

/// A batch that cannot be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("a batch of {len} bytes does not fit its length field; the limit is 2 GiB")]
    TooLarge { len: usize },
    #[error(transparent)]
    Compress(#[from] CompressError),
}

/// Attributes, two lengths, two deltas and a header count at their longest, and the record's own length.
const RECORD_OVERHEAD_MAX: usize = 1 + 4 * 5 + varint::MAX_LEN + 5;
/// Length, attributes, timestamp delta, offset delta and key length at their longest.
const PREFIX_LEN_MAX: usize = 5 + 1 + varint::MAX_LEN + 5 + varint::MAX_LEN;

/// Collects records into one buffer, without an allocation of its own for any of them.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records as they go on the wire.
    buffer: Vec<u8>,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::with_capacity(HEADER_LEN)
    }
}

impl BatchBuilder {
    /// An empty batch with room for `bytes` bytes, header included.
    pub fn with_capacity(bytes: usize) -> Self {
        Self::with_buffer(Vec::with_capacity(bytes.max(HEADER_LEN)))
    }

    /// An empty batch in a buffer that was used before; what it holds is discarded.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        Self { buffer, record_count: 0, base_timestamp: 0, max_timestamp: i64::MIN }
    }

    /// Appends a record and returns its offset within the batch. The first one's timestamp becomes the
    /// batch's base.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> i32 {
        if self.record_count == 0 {
            self.base_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = self.record_count;
        let (key_len, value_len) = (wire_len(key), wire_len(value));
        let body_len = 1
            + varint::len(timestamp_delta)
            + varint::len(i64::from(offset_delta))
            + nullable_len(key)
            + nullable_len(value)
            + headers_len(headers);
        self.buffer.reserve(body_len + varint::MAX_LEN);

        let mut prefix = [0; PREFIX_LEN_MAX];
        let mut at = varint::put(&mut prefix, 0, body_len as i64);
        at += 1; // The attributes: none exist.
        at = varint::put(&mut prefix, at, timestamp_delta);
        at = varint::put(&mut prefix, at, i64::from(offset_delta));
        at = varint::put(&mut prefix, at, key_len);
        self.buffer.extend_from_slice(&prefix[..at]);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.put_varint(value_len);
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.put_varint(headers.len() as i64);
        for header in headers {
            self.put_varint(header.key.len() as i64);
            self.buffer.extend_from_slice(header.key);
            self.put_varint(wire_len(header.value));
            self.buffer.extend_from_slice(header.value.unwrap_or_default());
        }
        self.record_count += 1;
        offset_delta
    }

    fn put_varint(&mut self, value: i64) {
        let mut bytes = [0; varint::MAX_LEN];
        let len = varint::put(&mut bytes, 0, value);
        self.buffer.extend_from_slice(&bytes[..len]);
    }

    /// Bytes of the batch so far, header included, before compression.
    pub const fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Upper bound of what a record adds to [`Self::len_bytes`].
    pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
        let payload = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        RECORD_OVERHEAD_MAX + payload + headers_len(headers)
    }

    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The batch with base offset 0, compressed and with its checksum.
    pub fn finish(self, codec: Codec, producer: ProducerState) -> Result<Bytes, BuildError> {
        self.finish_as(codec, producer, 0).map(|(_, bytes)| bytes)
    }

    /// The same as a control batch, which only brokers write.
    pub(super) fn finish_control(self, producer: ProducerState) -> Result<Batch, BuildError> {
        let (header, bytes) = self.finish_as(Codec::None, producer, Attributes::CONTROL)?;
        Ok(Batch { header, bytes })
    }

    fn finish_as(
        self,
        codec: Codec,
        producer: ProducerState,
        more: i16,
    ) -> Result<(BatchHeader, Bytes), BuildError> {
        let mut batch = match codec {
            Codec::None => self.buffer,
            _ => {
                let mut compressed = Vec::with_capacity(HEADER_LEN + self.buffer.len() / 2);
                compressed.resize(HEADER_LEN, 0);
                compress(codec, &self.buffer[HEADER_LEN..], &mut compressed)?;
                compressed
            }
        };
        let batch_length =
            i32::try_from(batch.len()).map_err(|_| BuildError::TooLarge { len: batch.len() })? - 12;
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(
                codec as i16 | more | if producer.transactional { Attributes::TRANSACTIONAL } else { 0 },
            ),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: if self.record_count == 0 { -1 } else { self.max_timestamp },
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            base_sequence: producer.base_sequence,
            record_count: self.record_count,
        };
        header.write(&mut batch);
        header.crc = crc::crc32c(&batch[CRC_FROM..]);
        header.write(&mut batch);
        Ok((header, batch.into()))
    }
}

/// The length as the wire has it: -1 for null.
fn wire_len(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

/// What a key or value takes with its length.
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    varint::len(wire_len(bytes)) + bytes.map_or(0, <[u8]>::len)
}

fn headers_len(headers: &[Header<'_>]) -> usize {
    let each = headers.iter().map(|header| nullable_len(Some(header.key)) + nullable_len(header.value));
    varint::len(headers.len() as i64) + each.sum::<usize>()
}
