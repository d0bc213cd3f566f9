//! A run of a batch's records as a batch of its own.

use std::ops::Range;

use bytes::BytesMut;

use super::{Batch, BatchError, HEADER_LEN};
use crate::compression::Codec;
use crate::varint;

/// What the batch length field does not count.
const LENGTH_END: usize = 12;

impl Batch {
    /// The records whose indexes are in `range`, with the offsets and timestamps that they have. The records
    /// are copied as they are, the checksum is not brought up to date: for readers that do not ask for it.
    /// The batch must not be compressed.
    pub fn part(&self, range: Range<usize>) -> Result<Self, BatchError> {
        if self.header.attributes.codec()? != Codec::None {
            return Err(BatchError::Invalid("a part is taken of an uncompressed batch only"));
        }
        let records = &self.bytes[HEADER_LEN..];
        let from = records.len() - skip(records, range.start)?.len();
        let to = records.len() - skip(&records[from..], range.len())?.len();
        let count = i32::try_from(range.len()).map_err(|_| BatchError::Invalid("too many records"))?;
        let total = HEADER_LEN + (to - from);
        let mut header = self.header;
        header.batch_length =
            i32::try_from(total - LENGTH_END).map_err(|_| BatchError::Invalid("it is too long"))?;
        header.record_count = count;
        let mut bytes = BytesMut::with_capacity(total);
        bytes.resize(HEADER_LEN, 0);
        header.write(&mut bytes);
        bytes.extend_from_slice(&records[from..to]);
        Ok(Self { header, bytes: bytes.freeze() })
    }
}

/// What is left of `records` behind the first `count`.
fn skip(mut records: &[u8], count: usize) -> Result<&[u8], BatchError> {
    for index in 0..count {
        let malformed = |reason| BatchError::MalformedRecord { index: index as i32, reason };
        let len = varint::take_i32(&mut records).ok_or_else(|| malformed("its length is cut off"))?;
        let len = usize::try_from(len).map_err(|_| malformed("its length is negative"))?;
        records = records.get(len..).ok_or_else(|| malformed("it is longer than what is left"))?;
    }
    Ok(records)
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
