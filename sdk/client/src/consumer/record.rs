//! Records as they are read: slices of the memory that a fetch was received into, never copied.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_protocol::batch::{Batch, BatchError, Headers, Records};

/// What a compressed batch may expand to at most.
const EXPANDED_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;

/// One record; keeps the memory it was received in alive.
#[derive(Clone, Debug)]
pub struct ConsumerRecord {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl ConsumerRecord {
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub const fn partition(&self) -> i32 {
        self.partition
    }

    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since the Unix epoch.
    pub const fn timestamp(&self) -> i64 {
        self.timestamp
    }

    pub const fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// None is a tombstone.
    pub const fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// Keys are text; what is not UTF-8 in them is replaced, as Kafka's Java client does.
    pub fn headers(&self) -> &[(String, Option<Bytes>)] {
        &self.headers
    }
}

/// One record of a [`RecordBatch`], borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

/// Consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    topic: Arc<str>,
    partition: i32,
    records: Records,
    /// Records before this offset are not wanted: the position was inside of the batch.
    first: i64,
    wire_bytes: usize,
}

impl RecordBatch {
    /// Decompresses the batch and walks it once, so that reading it cannot fail any more.
    pub(crate) fn open(
        topic: Arc<str>,
        partition: i32,
        batch: &Batch,
        first: i64,
    ) -> Result<Self, BatchError> {
        let records = batch.records(EXPANDED_BYTES_MAX)?;
        for record in &records {
            record?;
        }
        let first = first.max(batch.header.base_offset);
        Ok(Self { topic, partition, records, first, wire_bytes: batch.bytes.len() })
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Offset of the first record, or that which was asked for inside of the batch.
    pub const fn base_offset(&self) -> i64 {
        self.first
    }

    /// Offset of the last record. In a compacted topic the record itself may be gone.
    pub const fn last_offset(&self) -> i64 {
        self.records.header().last_offset()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        let header = self.records.header();
        if self.first == header.base_offset {
            usize::try_from(header.record_count).unwrap_or_default()
        } else {
            self.iter().count()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes as received.
    pub const fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// The records in order, without copying.
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> + '_ {
        // Errors were met in `open`.
        let records = self.records.iter().map_while(Result::ok);
        records.filter(|record| record.offset >= self.first).map(|record| RecordView {
            offset: record.offset,
            timestamp: record.timestamp_ms,
            key: record.key,
            value: record.value,
            headers: record.headers,
        })
    }

    /// The records in order, each owning its slice of the memory.
    pub fn records(&self) -> impl Iterator<Item = ConsumerRecord> + '_ {
        self.iter().map(|record| ConsumerRecord {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(|key| self.records.share(key)),
            value: record.value.map(|value| self.records.share(value)),
            headers: self.headers(record.headers),
        })
    }

    fn headers(&self, headers: Headers<'_>) -> Vec<(String, Option<Bytes>)> {
        let owned = |header: millrace_protocol::batch::Header<'_>| {
            (header.key_text().into_owned(), header.value.map(|value| self.records.share(value)))
        };
        headers.iter().map(owned).collect()
    }
}

impl<'a> RecordView<'a> {
    /// Each header's key and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.headers.iter().map(|header| (header.key, header.value))
    }
}
