//! What compaction leaves of a batch: some of its records, or its header alone. Its offsets, its producer's numbers
//! and its codec stay, so that whoever knew the batch recognises it.
//!
//! As Kafka's cleaner has it: the base timestamp is that of the first record that is left, or the batch's delete
//! horizon (KIP-534), and the maximum is the latest that is left.

use std::io;

use super::header::CRC_FROM;
use super::{Attributes, Batch, BatchError, HEADER_LEN, Record, Records, TimestampType};
use crate::compression::{Codec, CompressError, encode};
use crate::{crc, varint};

/// What the batch length field does not count.
const LENGTH_END: usize = 12;
const CODEC_BITS: i16 = 7;
/// The timestamps of a batch without records, or of one without a time.
const NO_TIMESTAMP: i64 = -1;

impl Batch {
    /// From when on the batch's tombstones, or its transaction marker, may go; `None`: not decided yet.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.header.attributes.has_delete_horizon().then_some(self.header.base_timestamp)
    }

    /// The batch with those of its `records` that `kept` says of in their order, one at least. It gets the horizon, or
    /// keeps the one that it has. An error if it becomes larger than `max` bytes.
    pub fn retain(
        &self,
        records: &Records,
        kept: &[bool],
        horizon_ms: Option<i64>,
        max: usize,
    ) -> Result<Self, BatchError> {
        let mut header = self.header;
        let horizon_ms = horizon_ms.or(self.delete_horizon_ms());
        let mut base_timestamp = horizon_ms;
        let mut plain = Vec::new();
        (header.record_count, header.max_timestamp) = (0, NO_TIMESTAMP);
        for (record, is_kept) in records.iter().zip(kept) {
            let record = record?;
            if *is_kept {
                let base = *base_timestamp.get_or_insert(record.timestamp_ms);
                put(&mut plain, &record, base, self.header.base_offset);
                header.record_count += 1;
                header.max_timestamp = header.max_timestamp.max(record.timestamp_ms);
            }
        }
        if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            header.max_timestamp = self.header.max_timestamp;
        }
        let Some(base_timestamp) = base_timestamp.filter(|_| header.record_count > 0) else {
            return Err(BatchError::Invalid("a batch of which a record is to be left has none of them"));
        };
        header.base_timestamp = base_timestamp;
        if horizon_ms.is_some() {
            header.attributes = Attributes(header.attributes.0 | Attributes::DELETE_HORIZON);
        }
        let codec = header.attributes.codec()?;
        let mut bytes = Vec::with_capacity(HEADER_LEN + if codec == Codec::None { plain.len() } else { 0 });
        bytes.resize(HEADER_LEN, 0);
        encode(codec, None, plain.len(), &mut bytes, |encoder| encoder.write_all(&plain))
            .map_err(|error: io::Error| CompressError { codec, reason: error.to_string() })?;
        if bytes.len() > max {
            return Err(BatchError::TooLarge { len: bytes.len(), max });
        }
        Ok(Self { header, bytes: bytes.into() }.sealed())
    }

    /// The batch without its records: what keeps its producer's sequence and its offsets.
    pub fn emptied(&self) -> Self {
        let mut header = self.header;
        header.attributes = Attributes(header.attributes.0 & !(CODEC_BITS | Attributes::DELETE_HORIZON));
        header.base_timestamp = NO_TIMESTAMP;
        header.record_count = 0;
        Self { header, bytes: vec![0; HEADER_LEN].into() }.sealed()
    }

    /// With its header written before its records, length and checksum brought up to date.
    fn sealed(mut self) -> Self {
        let mut bytes = Vec::from(self.bytes);
        self.header.batch_length = (bytes.len() - LENGTH_END) as i32;
        self.header.write(&mut bytes);
        self.header.crc = crc::crc32c(&bytes[CRC_FROM..]);
        self.header.write(&mut bytes);
        Self { header: self.header, bytes: bytes.into() }
    }
}

/// Appends `record` with its time and offset as differences from these.
fn put(bytes: &mut Vec<u8>, record: &Record<'_>, base_timestamp: i64, base_offset: i64) {
    let mut head = [0; 1 + 2 * varint::MAX_LEN];
    let at = varint::put(&mut head, 1, record.timestamp_ms.wrapping_sub(base_timestamp));
    let at = varint::put(&mut head, at, record.offset - base_offset);
    let lengths = [record.key, record.value].map(|part| part.map_or(-1, |part| part.len() as i64));
    let payload: usize = [record.key, record.value].into_iter().flatten().map(<[u8]>::len).sum();
    let (count, headers) = record.headers.as_stored();
    let body = at
        + lengths.iter().map(|len| varint::len(*len)).sum::<usize>()
        + payload
        + varint::len(count as i64)
        + headers.len();
    put_varint(bytes, body as i64);
    bytes.extend_from_slice(&head[..at]);
    for (len, part) in lengths.into_iter().zip([record.key, record.value]) {
        put_varint(bytes, len);
        bytes.extend_from_slice(part.unwrap_or_default());
    }
    put_varint(bytes, count as i64);
    bytes.extend_from_slice(headers);
}

fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut buffer = [0; varint::MAX_LEN];
    let len = varint::put(&mut buffer, 0, value);
    bytes.extend_from_slice(&buffer[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Header, ProducerState};

    const PRODUCER: ProducerState =
        ProducerState { producer_id: 7, producer_epoch: 2, base_sequence: 5, transactional: true };

    fn built(codec: Codec) -> Batch {
        let mut builder = BatchBuilder::default();
        for index in 0..10u8 {
            let value = [index; 40];
            let value = (index != 4).then_some(&value[..]);
            let headers = [Header::new("name", Some(b"of it")), Header::new("none", None)];
            builder.append(
                1000 + i64::from(index),
                Some(&[index]),
                value,
                &headers[..usize::from(index % 3)],
            );
        }
        let mut bytes = builder.finish(codec, PRODUCER).unwrap().to_vec();
        crate::batch::stamp(&mut bytes, 70, 3);
        Batch::parse(bytes.into()).unwrap()
    }

    /// The records of a batch as it was built that are to be left, by their offsets.
    fn of(is_kept: impl Fn(i64) -> bool) -> Vec<bool> {
        (70..80).map(is_kept).collect()
    }

    fn records(batch: &Batch) -> Records {
        batch.verify_crc().unwrap();
        assert_eq!(Batch::parse(batch.bytes.clone()).unwrap(), *batch, "the header says what the bytes say");
        batch.records(1 << 20).unwrap()
    }

    #[test]
    fn records_that_are_left_are_what_they_were() {
        for codec in Codec::ALL {
            let batch = built(codec);
            let before = records(&batch);
            let left = batch.retain(&before, &of(|offset| offset % 3 == 2), None, 1 << 20).unwrap();
            let after = records(&left);
            let expected: Vec<_> =
                before.iter().map(Result::unwrap).filter(|record| record.offset % 3 == 2).collect();
            assert_eq!(expected.iter().map(|record| record.offset).collect::<Vec<_>>(), [71, 74, 77]);
            assert_eq!(after.iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
            let header = left.header;
            let of_before = crate::batch::BatchHeader {
                batch_length: header.batch_length,
                crc: header.crc,
                base_timestamp: 1001,
                max_timestamp: 1007,
                record_count: 3,
                ..batch.header
            };
            assert_eq!(header, of_before);
            assert_eq!((header.base_offset, header.last_offset(), header.last_sequence()), (70, 79, 14));
        }
    }

    #[test]
    fn a_horizon_is_set_once_and_changes_no_time() {
        let batch = built(Codec::Zstd);
        let before = records(&batch);
        assert_eq!(batch.delete_horizon_ms(), None);
        let first = batch.retain(&before, &of(|offset| offset >= 74), Some(5000), 1 << 20).unwrap();
        assert_eq!((first.delete_horizon_ms(), first.header.base_timestamp), (Some(5000), 5000));
        let kept = [false, true, true, true, true, true];
        let second = first.retain(&records(&first), &kept, None, 1 << 20).unwrap();
        assert_eq!(second.delete_horizon_ms(), Some(5000));
        let times: Vec<_> = records(&second).iter().map(|record| record.unwrap().timestamp_ms).collect();
        assert_eq!(times, [1005, 1006, 1007, 1008, 1009]);
        assert_eq!(second.header.max_timestamp, 1009);
    }

    #[test]
    fn the_brokers_time_stays_the_batches() {
        let mut bytes = built(Codec::None).bytes.to_vec();
        let len = bytes.len();
        crate::batch::stamp_log_append_time(&mut bytes, len, 9000);
        let batch = Batch::parse(bytes.into()).unwrap();
        let left = batch.retain(&records(&batch), &of(|offset| offset == 70), None, 1 << 20).unwrap();
        assert_eq!((left.header.base_timestamp, left.header.max_timestamp), (9000, 9000));
        assert_eq!(records(&left).iter().next().unwrap().unwrap().timestamp_ms, 9000);
    }

    #[test]
    fn an_emptied_batch_is_a_header_with_offsets_and_sequence() {
        let batch = built(Codec::Gzip);
        let empty = batch.emptied();
        assert_eq!(records(&empty).iter().count(), 0);
        let of_before = crate::batch::BatchHeader {
            batch_length: 49,
            crc: empty.header.crc,
            attributes: Attributes(Attributes::TRANSACTIONAL),
            base_timestamp: -1,
            record_count: 0,
            ..batch.header
        };
        assert_eq!(empty.header, of_before);
        assert_eq!(empty.emptied(), empty);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let batch = built(Codec::None);
        let before = records(&batch);
        assert!(batch.retain(&before, &of(|_| false), None, 1 << 20).is_err());
        let large = batch.retain(&before, &of(|_| true), None, 100);
        assert!(matches!(large, Err(BatchError::TooLarge { max: 100, .. })), "{large:?}");
    }
}
