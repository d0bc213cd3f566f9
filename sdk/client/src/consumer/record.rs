//! Records as they are read: slices of the memory that a fetch was received into, never copied.

use std::sync::Arc;

use bytes::Bytes;

/// One record; keeps the memory it was received in alive.
#[derive(Clone, Debug)]
pub struct ConsumerRecord {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
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
    /// Number of headers; read them through [`RecordBatch::record`] where it is not 0.
    pub header_count: usize,
}

/// Consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

impl RecordBatch {
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> i64 {
        unimplemented!()
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        unimplemented!()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes as received.
    pub fn wire_bytes(&self) -> usize {
        unimplemented!()
    }

    /// The records in order, without copying.
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> + '_ {
        let _ = self;
        std::iter::empty()
    }

    /// The records in order, each owning its slice of the memory.
    pub fn records(&self) -> impl Iterator<Item = ConsumerRecord> + '_ {
        let _ = self;
        std::iter::empty()
    }
}
