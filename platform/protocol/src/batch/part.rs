//! A run of a batch's records as a batch of its own.

use std::ops::Range;

use super::{Batch, BatchError, HEADER_LEN};
use crate::compression::Codec;
use crate::varint;

/// What the batch length field does not count.
const LENGTH_END: usize = 12;

impl Batch {
    /// The records whose indexes are in `range`, with the offsets and timestamps that they have; the first one's
    /// offset becomes the base. The checksum is not brought up to date: for readers that do not ask for it.
    /// The batch must not be compressed.
    pub fn part(&self, range: Range<usize>) -> Result<Self, BatchError> {
        if self.header.attributes.codec()? != Codec::None {
            return Err(BatchError::Invalid("a part is taken of an uncompressed batch only"));
        }
        let mut records = &self.bytes[HEADER_LEN..];
        let mut bytes = Vec::with_capacity(HEADER_LEN + records.len());
        bytes.resize(HEADER_LEN, 0);
        let (mut first, mut last) = (None, 0);
        for index in 0..range.end {
            let malformed = |reason| BatchError::MalformedRecord { index: index as i32, reason };
            let record = RawRecord::take(&mut records).ok_or_else(|| malformed("it is cut off"))?;
            if index >= range.start {
                let first = *first.get_or_insert(record.offset_delta);
                last = record.offset_delta - first;
                record.put(&mut bytes, last);
            }
        }
        let mut header = self.header;
        header.base_offset += i64::from(first.unwrap_or(0));
        header.last_offset_delta = last;
        header.batch_length = i32::try_from(bytes.len() - LENGTH_END)
            .map_err(|_| BatchError::Invalid("its part is over 2 GiB"))?;
        header.record_count =
            i32::try_from(range.len()).map_err(|_| BatchError::Invalid("it has too many records"))?;
        header.write(&mut bytes);
        Ok(Self { header, bytes: bytes.into() })
    }
}

/// A record in pieces.
struct RawRecord<'a> {
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i32,
    /// Key, value and headers, as they are.
    rest: &'a [u8],
}

impl<'a> RawRecord<'a> {
    fn take(records: &mut &'a [u8]) -> Option<Self> {
        let len = usize::try_from(varint::take_i32(records)?).ok()?;
        let (mut body, after) = records.split_at_checked(len)?;
        *records = after;
        let (&attributes, after) = body.split_first()?;
        body = after;
        let timestamp_delta = varint::take_i64(&mut body)?;
        let offset_delta = varint::take_i32(&mut body)?;
        Some(Self { attributes, timestamp_delta, offset_delta, rest: body })
    }

    fn put(&self, bytes: &mut Vec<u8>, offset_delta: i32) {
        let mut head = [0; 1 + 2 * varint::MAX_LEN];
        head[0] = self.attributes;
        let at = varint::put(&mut head, 1, self.timestamp_delta);
        let at = varint::put(&mut head, at, i64::from(offset_delta));
        let mut len = [0; varint::MAX_LEN];
        let len_at = varint::put(&mut len, 0, (at + self.rest.len()) as i64);
        bytes.extend_from_slice(&len[..len_at]);
        bytes.extend_from_slice(&head[..at]);
        bytes.extend_from_slice(self.rest);
    }
}

#[cfg(test)]
mod tests {
    use crate::batch::{BatchBuilder, ProducerState};

    use super::*;

    #[test]
    fn parts_hold_their_records_as_they_were() {
        let mut builder = BatchBuilder::default();
        for index in 0..10u8 {
            builder.append(1000 + i64::from(index), Some(&[index]), Some(b"value"), &[]);
        }
        let mut batch = Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap();
        batch.header.base_offset = 70;
        let seen = |batch: &Batch| {
            let records = batch.records(1 << 20).unwrap();
            let records = records.iter().map(|record| {
                let record = record.unwrap();
                (record.offset, record.timestamp_ms, record.key.unwrap()[0])
            });
            records.collect::<Vec<_>>()
        };
        let all = seen(&batch);
        for (from, to) in [(0, 10), (0, 1), (9, 10), (3, 7)] {
            assert_eq!(seen(&batch.part(from..to).unwrap()), all[from..to]);
        }
        assert!(batch.part(5..11).is_err());
    }
}
