//! What [`super::Collector`] accepts becomes the batch that a producer would have written; all else is refused.

use millrace_protocol::batch::{BatchBuilder, Header, ProducerState};
use millrace_protocol::compression::Codec;
use proptest::prelude::*;

use super::*;

const LIMITS: OutputLimits = OutputLimits { outputs: 2, bytes: 1 << 20, records: 1000, block_bytes: 1 << 19 };

type Sample = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn sample() -> impl Strategy<Value = Vec<Sample>> {
    let headers = proptest::collection::vec((".{0,8}", any::<Option<Vec<u8>>>()), 0..3);
    let record = (
        -1_000_000_000_000i64..1_000_000_000_000,
        any::<Option<Vec<u8>>>(),
        any::<Option<Vec<u8>>>(),
        headers,
    );
    proptest::collection::vec(record, 1..20)
}

fn batch_of(records: &[Sample]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> = headers.iter().map(|(key, value)| Header::new(key, value.as_deref())).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap()
}

fn block_of(batch: &Batch, output: u32) -> Vec<u8> {
    let records = &batch.bytes[HEADER_LEN..];
    let mut block = Vec::new();
    block.extend_from_slice(&output.to_le_bytes());
    block.extend_from_slice(&(batch.header.record_count as u32).to_le_bytes());
    block.extend_from_slice(&(records.len() as u32).to_le_bytes());
    block.extend_from_slice(&batch.header.base_timestamp.to_le_bytes());
    block.extend_from_slice(records);
    block
}

fn take(blocks: &[u8], limits: OutputLimits) -> Result<Vec<OutputBatch>, BlockError> {
    let mut collector = Collector::default();
    collector.take(blocks, &limits)?;
    Ok(collector.into_batches())
}

fn sample_block() -> Vec<u8> {
    block_of(&batch_of(&[(7, Some(b"k".to_vec()), Some(b"v".to_vec()), vec![("h".into(), None)])]), 1)
}

proptest! {
    #[test]
    fn blocks_become_the_batches_that_a_producer_writes(first in sample(), second in sample()) {
        let (first, second) = (batch_of(&first), batch_of(&second));
        let blocks = [block_of(&first, 1), block_of(&second, 0)].concat();
        let batches = take(&blocks, LIMITS).unwrap();
        prop_assert_eq!(&batches[0], &OutputBatch { output: 1, batch: first });
        prop_assert_eq!(&batches[1], &OutputBatch { output: 0, batch: second });
        for output in &batches {
            output.batch.verify().unwrap();
            output.batch.validate_records(usize::MAX).unwrap();
        }
    }

    #[test]
    fn what_is_accepted_of_damaged_blocks_is_a_valid_batch(
        records in sample(),
        flips: Vec<(usize, u8)>,
        cut: usize,
    ) {
        let mut block = block_of(&batch_of(&records), 0);
        for (at, bits) in flips {
            let len = block.len();
            block[at % len] ^= bits;
        }
        block.truncate(cut % (block.len() + 1));
        for output in take(&block, LIMITS).unwrap_or_default() {
            output.batch.verify().unwrap();
            output.batch.validate_records(usize::MAX).unwrap();
        }
    }
}

#[test]
fn every_limit_is_kept() {
    let block = sample_block();
    let four = block.repeat(4);
    let refused = |limits| take(&four, limits).unwrap_err();
    assert!(matches!(
        refused(OutputLimits { outputs: 1, ..LIMITS }),
        BlockError::NoSuchOutput { index: 1, outputs: 1 }
    ));
    assert!(matches!(refused(OutputLimits { records: 3, ..LIMITS }), BlockError::TooManyRecords { max: 3 }));
    assert!(matches!(refused(OutputLimits { bytes: 200, ..LIMITS }), BlockError::TooManyBytes { .. }));
    assert!(matches!(refused(OutputLimits { block_bytes: 5, ..LIMITS }), BlockError::BlockTooLarge { .. }));
    assert_eq!(take(&four, LIMITS).unwrap().len(), 4);
}

#[test]
fn every_lie_is_found() {
    let whole = sample_block();
    let lie = |at: usize, byte: u8| {
        let mut block = whole.clone();
        block[at] = byte;
        take(&block, LIMITS).unwrap_err()
    };
    assert!(matches!(lie(4, 0), BlockError::Empty));
    assert!(matches!(lie(4, 2), BlockError::Record(RecordFault { index: 1, .. })));
    assert!(matches!(lie(8, 200), BlockError::CutOff { .. }));
    assert!(matches!(lie(20, 2), BlockError::Record(_)), "a record's length");
    assert!(matches!(lie(21, 1), BlockError::Record(_)), "a record's attributes");
    assert!(matches!(lie(23, 2), BlockError::Record(_)), "a record's offset");
    assert!(matches!(lie(24, 3), BlockError::Record(_)), "a key of length -2");
    for cut in 1..whole.len() {
        assert!(take(&whole[..cut], LIMITS).is_err(), "cut at {cut}");
    }
}
