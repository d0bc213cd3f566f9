//! What a partition takes of its producers, and what it remembers.

use bytes::Bytes;
use millrace_protocol::batch::Attributes;
use proptest::prelude::*;

use super::*;

fn batch(producer_id: i64, epoch: i16, sequence: i32, records: i32, base_offset: i64) -> Batch {
    let header = BatchHeader {
        base_offset,
        batch_length: 49,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: records - 1,
        base_timestamp: 7,
        max_timestamp: 7,
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: records,
    };
    Batch { header, bytes: Bytes::new() }
}

/// Producers that sent the given (epoch, sequence, records), offsets counting from 0.
fn having(sent: &[(i16, i32, i32)]) -> Producers {
    let mut producers = Producers::default();
    let mut offset = 0;
    for (epoch, sequence, records) in sent {
        producers.record(&batch(1, *epoch, *sequence, *records, offset).header, None, 100);
        offset += i64::from(*records);
    }
    producers
}

#[test]
fn the_sequence_that_follows_is_taken_and_a_gap_is_not() {
    let producers = having(&[(0, 0, 10)]);
    assert_eq!(producers.check(&[batch(1, 0, 10, 1, 0)]), Ok(Verdict::Append));
    let gap = producers.check(&[batch(1, 0, 11, 1, 0)]);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 10, .. })), "{gap:?}");
}

#[test]
fn each_of_the_last_five_batches_is_a_duplicate_with_its_first_offsets() {
    let producers = having(&[(0, 0, 1), (0, 1, 2), (0, 3, 3), (0, 6, 1), (0, 7, 1), (0, 8, 2)]);
    for (sequence, records, offset) in [(1, 2, 1), (3, 3, 3), (6, 1, 6), (7, 1, 7), (8, 2, 8)] {
        let verdict = producers.check(&[batch(1, 0, sequence, records, 0)]).unwrap();
        let Verdict::Duplicate(sent) = verdict else { panic!("{sequence} is a duplicate") };
        assert_eq!((sent.base_offset, sent.last_offset()), (offset, offset + i64::from(records) - 1));
    }
    // Clients count a duplicate as stored, and of what is not remembered nobody knows whether it is.
    let forgotten = producers.check(&[batch(1, 0, 0, 1, 0)]);
    assert!(matches!(forgotten, Err(AppendError::OutOfOrderSequence { .. })), "{forgotten:?}");
    let part = producers.check(&[batch(1, 0, 3, 2, 0)]);
    assert!(matches!(part, Err(AppendError::OutOfOrderSequence { .. })), "{part:?}");
}

#[test]
fn epochs_fence_and_a_new_one_starts_at_sequence_zero() {
    let producers = having(&[(3, 0, 4)]);
    let old = producers.check(&[batch(1, 2, 4, 1, 0)]);
    assert!(matches!(old, Err(AppendError::InvalidProducerEpoch { current: 3, .. })));
    assert_eq!(producers.check(&[batch(1, 4, 0, 1, 0)]), Ok(Verdict::Append));
    assert!(matches!(producers.check(&[batch(1, 4, 4, 1, 0)]), Err(AppendError::OutOfOrderSequence { .. })));
}

#[test]
fn a_producer_without_epochs_has_the_lowest() {
    let producers = having(&[(NO_EPOCH, 0, 1)]);
    assert_eq!(producers.check(&[batch(2, NO_EPOCH, 0, 1, 0)]), Ok(Verdict::Append));
    assert_eq!(producers.check(&[batch(1, NO_EPOCH, 1, 1, 0)]), Ok(Verdict::Append));
    assert_eq!(producers.check(&[batch(1, 0, 0, 1, 0)]), Ok(Verdict::Append));
    for id in [1, 2] {
        let lower = producers.check(&[batch(id, -2, 0, 1, 0)]);
        let fenced = matches!(lower, Err(AppendError::InvalidProducerEpoch { current: NO_EPOCH, .. }));
        assert!(fenced, "{lower:?}");
    }
}

/// Were it taken anywhere, a request that follows a refused first one would be stored in its place.
#[test]
fn a_new_producer_begins_at_zero_and_one_that_was_forgotten_goes_on_anywhere() {
    let mut producers = having(&[(0, 0, 1)]);
    let begun = producers.check(&[batch(2, 5, 1, 1, 0)]);
    assert!(matches!(begun, Err(AppendError::OutOfOrderSequence { expected: 0, .. })), "{begun:?}");
    let second = [batch(1, 0, 1, 1, 0), batch(2, 5, 1, 1, 0)];
    assert!(producers.check(&second).is_err(), "as one of several batches");
    assert_eq!(producers.check(&[batch(2, 5, 0, 1, 0)]), Ok(Verdict::Append));
    assert_eq!(producers.check(&[batch(-1, -1, -1, 1, 0)]), Ok(Verdict::Append));
    producers.expire(100 + 1000, 1000);
    assert_eq!(producers.check(&[batch(1, 0, 500, 1, 0)]), Ok(Verdict::Append));
    let later = producers.check(&[batch(2, 0, 500, 1, 0)]);
    assert!(matches!(later, Err(AppendError::OutOfOrderSequence { expected: 0, .. })), "{later:?}");
}

#[test]
fn sequences_wrap_around_to_zero() {
    let producers = having(&[(0, i32::MAX - 1, 3)]);
    assert_eq!(producers.check(&[batch(1, 0, 1, 1, 0)]), Ok(Verdict::Append));
    let again = producers.check(&[batch(1, 0, i32::MAX - 1, 3, 0)]).unwrap();
    assert!(matches!(again, Verdict::Duplicate(_)));
    // Lower numbers than those remembered are a gap here, not something written before.
    let gap = producers.check(&[batch(1, 0, 2, 1, 0)]);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 1, .. })), "{gap:?}");
}

#[test]
fn batches_of_one_request_follow_each_other_and_are_all_or_none_duplicates() {
    let producers = having(&[(0, 0, 1), (0, 1, 1)]);
    assert_eq!(producers.check(&[batch(1, 0, 2, 1, 0), batch(1, 0, 3, 1, 0)]), Ok(Verdict::Append));
    assert!(producers.check(&[batch(1, 0, 2, 1, 0), batch(1, 0, 4, 1, 0)]).is_err());
    let both = producers.check(&[batch(1, 0, 0, 1, 0), batch(1, 0, 1, 1, 0)]).unwrap();
    assert!(matches!(both, Verdict::Duplicate(SentBatch { base_offset: 0, .. })));
    assert!(producers.check(&[batch(1, 0, 1, 1, 0), batch(1, 0, 2, 1, 0)]).is_err());
}

/// A batch of a transaction, or the marker that ends it.
fn transactional(producer_id: i64, base_offset: i64, is_marker: bool) -> BatchHeader {
    let sequence = if is_marker { -1 } else { base_offset as i32 };
    let mut header = batch(producer_id, 0, sequence, 1, base_offset).header;
    let marker = if is_marker { Attributes::CONTROL } else { 0 };
    header.attributes = Attributes(Attributes::TRANSACTIONAL | marker);
    header
}

#[test]
fn a_transaction_is_open_from_its_first_record_to_its_marker_and_is_not_forgotten_before() {
    let mut producers = Producers::default();
    let mut open_after = |producer_id, base_offset, is_marker| {
        producers.record(&transactional(producer_id, base_offset, is_marker), None, 0);
        producers.first_open_transaction()
    };
    assert_eq!(open_after(7, 3, false), Some(3));
    assert_eq!(open_after(8, 4, false), Some(3));
    assert_eq!(open_after(7, 5, false), Some(3), "the same transaction goes on");
    assert_eq!(open_after(7, 6, true), Some(4));
    assert_eq!(open_after(7, 7, false), Some(4));
    producers.expire(1000, 10);
    assert_eq!(producers.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [7, 8]);
    assert!(producers.are_sound(8) && !producers.are_sound(7));
    let mut bytes = Vec::new();
    producers.encode(&mut bytes);
    assert_eq!(Producers::decode(&mut bytes.as_slice()).unwrap(), producers);
}

#[test]
fn what_compaction_has_emptied_opens_no_transaction() {
    let mut producers = Producers::default();
    let header = transactional(7, 3, false);
    producers.record(&BatchHeader { record_count: 0, ..header }, None, 0);
    assert_eq!(producers.first_open_transaction(), None);
}

/// Were another number taken, what has overtaken the first request of a transaction would be stored in its place.
#[test]
fn an_epoch_that_a_marker_has_begun_is_at_its_first_number() {
    let mut producers = having(&[(0, 0, 1)]);
    let marker = BatchHeader { producer_id: 1, producer_epoch: 1, ..transactional(1, 1, true) };
    producers.record(&marker, None, 0);
    assert_eq!(producers.check(&[batch(1, 1, 0, 1, 2)]), Ok(Verdict::Append));
    let gap = producers.check(&[batch(1, 1, 5, 1, 2)]);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 0, .. })), "{gap:?}");
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(sent in prop::collection::vec((0..3i64, 0..2i16, 0..99i32), 0..20)) {
        let mut producers = Producers::default();
        for (id, epoch, sequence) in sent {
            producers.record(&batch(id, epoch, sequence, 2, 5).header, None, 9);
        }
        let mut bytes = Vec::new();
        producers.encode(&mut bytes);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(Producers::decode(&mut rest).unwrap(), producers);
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn garbage_is_refused_or_decoded_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Producers::decode(&mut bytes.as_slice());
    }
}
