//! The record batch: what is built is read back, what is damaged is refused, and no bytes make it panic.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use bytes::Bytes;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{
    Batch, BatchBuilder, BatchError, HEADER_LEN, Header, ProducerState, TimestampType, split_batches, stamp,
    stamp_log_append_time,
};
use millrace_protocol::compression::Codec;
use millrace_protocol::crc::crc32c;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn bytes(len: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len)
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let headers = vec((bytes(0..12), option::of(bytes(0..12))), 0..4);
    let record = (any::<i64>(), option::of(bytes(0..40)), option::of(bytes(0..300)), headers);
    vec(
        record.prop_map(|(timestamp_ms, key, value, headers)| Owned { timestamp_ms, key, value, headers }),
        1..80,
    )
}

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

fn build(records: &[Owned], codec: Codec, producer: ProducerState) -> Bytes {
    let mut batch = BatchBuilder::default();
    for (index, record) in records.iter().enumerate() {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let before = batch.len_bytes();
        assert_eq!(batch.append(record.timestamp_ms, key, value, &headers), index as i32);
        assert!(batch.len_bytes() - before <= BatchBuilder::record_bytes_max(key, value, &headers));
    }
    batch.finish(codec, producer).unwrap()
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        first in records(),
        second in records(),
        codec in codec(),
        base_offset in 0..i64::MAX / 2,
    ) {
        let producer = ProducerState { producer_id: 7, producer_epoch: 2, base_sequence: 5, transactional: true };
        let mut wire = build(&first, codec, producer).to_vec();
        let boundary = wire.len();
        wire.extend(build(&second, Codec::None, ProducerState::NONE));
        stamp(&mut wire, base_offset, 3);
        stamp(&mut wire[boundary..], base_offset + first.len() as i64, 3);

        let batches = split_batches(wire.into(), MAX).unwrap();
        prop_assert_eq!(batches.len(), 2);
        prop_assert_eq!(batches[0].header.producer_id, 7);
        prop_assert_eq!(batches[0].header.last_sequence(), 5 + first.len() as i32 - 1);
        prop_assert_eq!(batches[1].header.last_sequence(), -1);
        let mut offset = base_offset;
        for (batch, expected) in batches.iter().zip([&first, &second]) {
            batch.verify().unwrap();
            batch.validate_records(MAX).unwrap();
            prop_assert_eq!(batch.header.partition_leader_epoch, 3);
            prop_assert_eq!(batch.header.max_timestamp, expected.iter().map(|r| r.timestamp_ms).max().unwrap());
            let records = batch.records(MAX).unwrap();
            prop_assert_eq!(records.iter().count(), expected.len());
            for (record, expected) in records.iter().zip(expected) {
                let record = record.unwrap();
                prop_assert_eq!(record.offset, offset);
                prop_assert_eq!(record.timestamp_ms, expected.timestamp_ms);
                prop_assert_eq!(record.key, expected.key.as_deref());
                prop_assert_eq!(record.value, expected.value.as_deref());
                prop_assert_eq!(record.headers.len(), expected.headers.len());
                for (header, (key, value)) in record.headers.iter().zip(&expected.headers) {
                    prop_assert_eq!(header, Header { key, value: value.as_deref() });
                }
                offset += 1;
            }
            prop_assert_eq!(offset, batch.header.next_offset());
        }
    }

    /// The checksum after stamping is the one that computing it anew gives.
    #[test]
    fn log_append_time_keeps_the_checksum_right(records in records(), codec in codec(), now in 0..i64::MAX) {
        let mut wire = build(&records, codec, ProducerState::NONE).to_vec();
        let len = wire.len();
        stamp_log_append_time(&mut wire[..HEADER_LEN], len, now);
        let batch = split_batches(wire.into(), MAX).unwrap().remove(0);
        batch.verify().unwrap();
        prop_assert_eq!(batch.header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        for record in &batch.records(MAX).unwrap() {
            prop_assert_eq!(record.unwrap().timestamp_ms, now);
        }
    }

    /// Every change of what the checksum covers is noticed, and so is every wrong length.
    #[test]
    fn damage_is_noticed(records in records(), at: proptest::sample::Index, bit in 0..8u8) {
        let mut wire = build(&records, Codec::None, ProducerState::NONE).to_vec();
        let at = 16 + at.index(wire.len() - 16);
        wire[at] ^= 1 << bit;
        let noticed = split_batches(wire.into(), MAX).and_then(|batches| batches[0].verify());
        prop_assert!(noticed.is_err());
    }

    /// Whatever follows a valid header, reading ends, in an error or in as many records as announced.
    #[test]
    fn garbage_never_panics(records in records(), codec in codec(), garbage in bytes(0..300), plain in bytes(0..200)) {
        let _ = split_batches(plain.into(), MAX);
        let mut wire = build(&records, codec, ProducerState::NONE).to_vec();
        let from = wire.len().saturating_sub(garbage.len()).max(HEADER_LEN - 4);
        for (byte, garbage) in wire[from..].iter_mut().zip(garbage) {
            *byte = garbage;
        }
        for batch in split_batches(wire.into(), MAX).unwrap() {
            let _ = batch.verify();
            let _ = batch.validate_records(1 << 16);
        }
    }
}

fn one_record() -> Vec<u8> {
    let record = Owned { timestamp_ms: 1, key: None, value: Some(b"v".to_vec()), headers: Vec::new() };
    build(&[record], Codec::None, ProducerState::NONE).to_vec()
}

#[test]
fn refusals_carry_kafka_s_codes() {
    type Damage = fn(&mut Vec<u8>);
    const CHECKSUM: &str = "checksum";
    let cases: &[(&str, Damage, ErrorCode)] = &[
        ("old magic", |wire| wire[16] = 1, ErrorCode::InvalidRecord),
        ("unknown magic", |wire| wire[16] = 9, ErrorCode::CorruptMessage),
        ("a length of no batch", |wire| wire[8..12].fill(0), ErrorCode::CorruptMessage),
        ("a negative length", |wire| wire[8] = 0xff, ErrorCode::CorruptMessage),
        // As Kafka 4.1 answers: in a frame that is whole nothing was lost on the way.
        ("cut off", |wire| wire.truncate(wire.len() - 1), ErrorCode::InvalidRecord),
        ("bytes after the batch", |wire| wire.push(0), ErrorCode::InvalidRecord),
        (CHECKSUM, |wire| *wire.last_mut().unwrap() ^= 1, ErrorCode::CorruptMessage),
        ("codec 7", |wire| wire[22] = 7, ErrorCode::UnsupportedCompressionType),
        ("control batch", |wire| wire[22] = 1 << 5, ErrorCode::InvalidRecord),
        ("transactional without a producer", |wire| wire[22] = 1 << 4, ErrorCode::InvalidRecord),
        ("no record", |wire| wire[57..61].fill(0), ErrorCode::InvalidRecord),
        ("two records announced", |wire| wire[60] = 2, ErrorCode::InvalidRecord),
        ("a producer without a sequence", |wire| wire[43..51].fill(0), ErrorCode::InvalidRecord),
        ("over the limit", |wire| wire.resize(2000, 0), ErrorCode::MessageTooLarge),
    ];
    for (what, damage, code) in cases {
        let mut wire = one_record();
        damage(&mut wire);
        if *code == ErrorCode::MessageTooLarge {
            let length = wire.len() as i32 - 12;
            wire[8..12].copy_from_slice(&length.to_be_bytes());
        }
        // A wrong checksum comes before what else is wrong with a batch.
        if *what != CHECKSUM {
            let checksum = crc32c(&wire[21..]);
            wire[17..21].copy_from_slice(&checksum.to_be_bytes());
        }
        let refused =
            split_batches(wire.into(), 1000).and_then(|batches| batches.iter().try_for_each(Batch::verify));
        assert_eq!(refused.map_err(|error| error.code()), Err(*code), "{what}");
    }
}

#[test]
fn records_that_do_not_add_up_are_refused() {
    let lie = |at: usize, value: u8| {
        let mut wire = one_record();
        wire[at] = value;
        split_batches(wire.into(), MAX).unwrap()[0].validate_records(MAX)
    };
    let malformed = |result| matches!(result, Err(BatchError::MalformedRecord { index: 0, .. }));
    // The record: length 14 (7, zigzag), attributes, timestamp delta, offset delta, key length, value length…
    assert!(lie(HEADER_LEN, 14).is_ok());
    assert!(malformed(lie(HEADER_LEN, 12)), "shorter than what it holds");
    assert!(malformed(lie(HEADER_LEN, 16)), "longer than the batch");
    assert!(malformed(lie(HEADER_LEN, 1)), "negative length");
    assert_eq!(
        lie(HEADER_LEN + 3, 2),
        Err(BatchError::Invalid("the offsets of a batch's records are consecutive"))
    );
    assert!(malformed(lie(HEADER_LEN + 4, 3)), "key length -2");
    assert!(malformed(lie(HEADER_LEN + 7, 1)), "negative header count");
    assert!(malformed(lie(HEADER_LEN + 7, 2)), "a header that is not there");
}

/// A key that borrows from the records can be kept without being copied.
#[test]
fn borrowed_values_can_be_shared() {
    let batch = split_batches(one_record().into(), MAX).unwrap().remove(0);
    let records = batch.records(MAX).unwrap();
    let value = records.iter().next().unwrap().unwrap().value.unwrap();
    assert_eq!(records.share(value).as_ptr(), value.as_ptr());
}
