//! The input: one record batch, walked in place.
//!
//! Its layout is in `sdk/wit/PACKING.md`. Nothing is decoded ahead and nothing is copied: a [`Record`] is a
//! few slices of the batch.

use crate::error::Malformed;
use crate::record::Record;
use crate::varint;

/// Bytes before the first record.
pub(crate) const HEADER_LEN: usize = 61;
const MAGIC_AT: usize = 16;
const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const COUNT_AT: usize = 57;
const LOG_APPEND_TIME: u8 = 1 << 3;
const COMPRESSION: u8 = 0b111;

/// A batch of records in which everything has been checked, so that its records can be had without ado.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks `bytes`, which must be exactly one batch.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut walk = Walk::new(bytes)?;
        let header = walk.header;
        while walk.next()?.is_some() {}
        Ok(Self { header, bytes })
    }

    /// The records, in order.
    pub fn records(&self) -> Records<'a> {
        Records { walk: Walk::over(self.header, self.bytes) }
    }

    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.header.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// The batch as it came.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.records()
    }
}

/// A checked batch's records.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // The batch has been walked before, so there is no error to lose.
        self.walk.next().ok().flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.walk.left as usize))
    }
}

/// What a batch says of all its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchHeader {
    pub base_offset: i64,
    pub base_timestamp: i64,
    /// The broker's timestamp, where it counts instead of the records' own.
    pub append_time: Option<i64>,
    pub count: u32,
}

impl BatchHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes
            .get(..HEADER_LEN)
            .ok_or(Malformed { at: bytes.len(), what: "it ends within the header" })?;
        if i64::from(i32::from_be_bytes(array(header, 8))) != bytes.len() as i64 - 12 {
            return Err(Malformed { at: 8, what: "its length is not that of the bytes" });
        }
        if header[MAGIC_AT] != 2 {
            return Err(Malformed { at: MAGIC_AT, what: "its format is not version 2" });
        }
        let attributes = header[ATTRIBUTES_AT + 1];
        if attributes & COMPRESSION != 0 {
            return Err(Malformed { at: ATTRIBUTES_AT, what: "it is compressed" });
        }
        let max_timestamp = i64::from_be_bytes(array(header, MAX_TIMESTAMP_AT));
        Ok(Self {
            base_offset: i64::from_be_bytes(array(header, 0)),
            base_timestamp: i64::from_be_bytes(array(header, BASE_TIMESTAMP_AT)),
            append_time: (attributes & LOG_APPEND_TIME != 0).then_some(max_timestamp),
            count: u32::try_from(i32::from_be_bytes(array(header, COUNT_AT)))
                .map_err(|_| Malformed { at: COUNT_AT, what: "its record count is negative" })?,
        })
    }

    /// What timestamps of output records count from: then those of unchanged records stay as they are.
    pub(crate) fn output_base(&self) -> i64 {
        self.append_time.unwrap_or(self.base_timestamp)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Goes through a batch record by record and checks each.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    pub header: BatchHeader,
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self::over(BatchHeader::parse(bytes)?, bytes))
    }

    fn over(header: BatchHeader, bytes: &'a [u8]) -> Self {
        Self { header, bytes, at: HEADER_LEN, left: header.count }
    }

    /// The next record, or `None` when all announced records have been there and nothing follows.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        if self.left == 0 {
            return if self.at == self.bytes.len() {
                Ok(None)
            } else {
                Err(Malformed { at: self.at, what: "bytes follow its last record" })
            };
        }
        let record = self.record().ok_or(Malformed { at: self.at, what: "a record is not well formed" })?;
        self.left -= 1;
        self.at = record.end;
        Ok(Some(record))
    }

    #[inline(always)]
    fn record(&self) -> Option<Record<'a>> {
        let mut at = self.at;
        let len = varint::take(self.bytes, &mut at)? as u64;
        let body = at;
        // A negative length is too large as well.
        if len > (self.bytes.len() - body) as u64 {
            return None;
        }
        let end = body + len as usize;
        // From here on the record's end bounds what is read.
        let bytes = &self.bytes[..end];
        at += 1;
        let timestamp_delta = varint::take(bytes, &mut at)?;
        let delta_at = at;
        let offset_delta = varint::take(bytes, &mut at)?;
        let rest = at;
        let key = varint::take_bytes(bytes, &mut at)?;
        let value = varint::take_bytes(bytes, &mut at)?;
        let header_count = varint::take(bytes, &mut at)?;
        let headers = &bytes[at..];
        if header_count == 0 {
            if !headers.is_empty() {
                return None;
            }
        } else {
            check_headers(headers, header_count)?;
        }
        Some(Record {
            batch: self.bytes,
            start: self.at,
            body,
            delta_at,
            rest,
            end,
            offset_delta,
            own_timestamp: self.header.append_time.is_none(),
            offset: self.header.base_offset.wrapping_add(offset_delta),
            timestamp_ms: match self.header.append_time {
                Some(time) => time,
                None => self.header.base_timestamp.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers,
            header_count: header_count as u32,
        })
    }
}

/// Whether exactly `count` headers with keys fill `bytes`.
fn check_headers(bytes: &[u8], count: i64) -> Option<()> {
    let mut at = 0;
    // Each takes two bytes at least, so a count that lies ends the loop early.
    for _ in 0..u32::try_from(count).ok()? {
        varint::take_bytes(bytes, &mut at)??;
        varint::take_bytes(bytes, &mut at)?;
    }
    (at == bytes.len()).then_some(())
}
