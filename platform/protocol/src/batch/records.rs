//! Reading a batch's records in place.
//!
//! A record is its length (of what follows), attributes (one byte, unused), timestamp delta, offset delta,
//! key and value (length, -1 for null, and bytes), and headers: their count, then key and value of each.
//! Lengths, deltas and counts are zigzag-encoded variable-length integers.

use std::borrow::Cow;

use bytes::Bytes;

use super::{BatchError, BatchHeader, TimestampType};
use crate::varint;

/// The records of one batch, decompressed.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
}

impl Records {
    pub(super) const fn new(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes }
    }

    /// The records in order; what they borrow lives in `self`. As many as the header announces, or fewer
    /// and an error.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, rest: &self.bytes, index: 0 }
    }

    /// Turns a key or value that was borrowed from these records into `Bytes` that share their memory.
    pub fn share(&self, borrowed: &[u8]) -> Bytes {
        self.bytes.slice_ref(borrowed)
    }

    /// The header of the batch.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// A record's headers: checked when the record was read, walked when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    /// Their number, and their bytes as the record has them.
    pub(super) const fn as_stored(&self) -> (usize, &'a [u8]) {
        (self.count, self.bytes)
    }

    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || take_header(&mut rest))
    }
}

/// One header of a record. Its key is text by convention only: librdkafka sends whatever bytes it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    pub const fn new(key: &'a str, value: Option<&'a [u8]>) -> Self {
        Self { key: key.as_bytes(), value }
    }

    /// The key as text, with what is not UTF-8 replaced, as the Java client reads it.
    pub fn key_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// Walks [`Records`]; after an error it ends.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    index: i32,
}

impl<'a> RecordIter<'a> {
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let len = varint::take_i32(&mut self.rest).ok_or("its length is cut off")?;
        let len = usize::try_from(len).map_err(|_| "its length is negative")?;
        let (mut body, rest) = self.rest.split_at_checked(len).ok_or("it is longer than what is left")?;
        self.rest = rest;
        let record = self.read_body(&mut body)?;
        if self.index + 1 == self.header.record_count && !self.rest.is_empty() {
            return Err("bytes follow the last one");
        }
        Ok(record)
    }

    fn read_body(&self, body: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
        const CUT_OFF: &str = "it ends early";
        let (_attributes, rest) = body.split_first().ok_or(CUT_OFF)?;
        *body = rest;
        let timestamp_delta = varint::take_i64(body).ok_or(CUT_OFF)?;
        let offset_delta = varint::take_i32(body).ok_or(CUT_OFF)?;
        let key = take_nullable(body).ok_or(CUT_OFF)?;
        let value = take_nullable(body).ok_or(CUT_OFF)?;
        let headers = take_headers(body)?;
        let timestamp_ms = match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset = self.header.base_offset.wrapping_add(i64::from(offset_delta));
        Ok(Record { offset, timestamp_ms, key, value, headers })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.index = self.header.record_count;
                Some(Err(BatchError::MalformedRecord { index, reason }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The count is the sender's word; the bytes are not. A record takes seven of them at least.
        let announced = usize::try_from(self.header.record_count - self.index).unwrap_or(0);
        (0, Some(announced.min(self.rest.len() / 7 + 1)))
    }
}

/// The headers that are the rest of `body`, all of them checked.
fn take_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, &'static str> {
    let count = varint::take_i32(body).ok_or("its header count is cut off")?;
    let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
    let bytes = *body;
    for _ in 0..count {
        take_header(body).ok_or("a header is malformed")?;
    }
    if body.is_empty() { Ok(Headers { count, bytes }) } else { Err("bytes follow its headers") }
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    // A header's key cannot be null.
    let key = take_nullable(rest)??;
    let value = take_nullable(rest)?;
    Some(Header { key, value })
}

/// A length and as many bytes; a length of -1 is null. `None` if that is cut off or negative otherwise.
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint::take_i32(bytes)?;
    if len == -1 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}
