//! Reading a batch's records in place.

use bytes::Bytes;

use super::{BatchError, BatchHeader};

/// The records of one batch, decompressed.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
}

impl Records {
    /// The records in order; what they borrow lives in `self`.
    pub fn iter(&self) -> RecordIter<'_> {
        unimplemented!()
    }

    /// Turns a key or value that was borrowed from these records into `Bytes` that share their memory.
    pub fn share(&self, borrowed: &[u8]) -> Bytes {
        self.bytes.slice_ref(borrowed)
    }

    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// A record's headers: checked when the record was read, walked when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub const fn len(&self) -> usize {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let _ = self.bytes;
        std::iter::empty()
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

/// Walks [`Records`]; after an error it ends.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    _rest: &'a [u8],
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
