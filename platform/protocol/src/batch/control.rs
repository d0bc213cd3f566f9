//! Control batches: the markers that end a transaction in a partition (KIP-98). Brokers alone write them.
//!
//! A marker is one record in a batch of its own, whose attributes say transactional and control. Big-endian, as in
//! Kafka's `ControlRecordType` and `EndTxnMarker`:
//!
//! | field | what |
//! |---|---|
//! | key | version i16: 0, type i16: 0 aborts, 1 commits |
//! | value | version i16: 0, coordinator epoch i32 |
//!
//! Later versions of both may be longer; what is known of them stands where it does now.

use bytes::{Buf, BufMut};

use super::{Attributes, Batch, BatchBuilder, BatchHeader, BuildError, HEADER_LEN, ProducerState};
use crate::compression::Codec;
use crate::varint;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
const VERSION: i16 = 0;
/// A marker has no sequence number.
const NO_SEQUENCE: i32 = -1;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionResult {
    Abort,
    Commit,
}

/// What ends a producer's transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of the coordinator that has decided.
    pub coordinator_epoch: i32,
    pub result: TransactionResult,
}

impl TransactionMarker {
    /// The marker as a batch with base offset 0.
    pub fn batch(&self, now_ms: i64) -> Result<Batch, BuildError> {
        let kind = match self.result {
            TransactionResult::Abort => ABORT,
            TransactionResult::Commit => COMMIT,
        };
        let (mut key, mut value) = (Vec::with_capacity(4), Vec::with_capacity(6));
        key.put_i16(VERSION);
        key.put_i16(kind);
        value.put_i16(VERSION);
        value.put_i32(self.coordinator_epoch);
        let mut builder = BatchBuilder::default();
        builder.append(now_ms, Some(&key), Some(&value), &[]);
        let producer = ProducerState {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: NO_SEQUENCE,
            transactional: true,
        };
        builder.finish_control(producer)
    }

    /// The marker that a batch is, of which `records` are the bytes behind its header. `None`: it is no marker, one of
    /// a kind that is not known, or one whose record compaction has removed.
    pub fn parse(header: &BatchHeader, records: &[u8]) -> Option<Self> {
        if !is_marker(header.attributes) || header.record_count != 1 {
            return None;
        }
        let mut rest = records;
        // The record's length, its attributes and the two deltas.
        varint::take_i64(&mut rest)?;
        rest.try_get_u8().ok()?;
        varint::take_i64(&mut rest)?;
        varint::take_i64(&mut rest)?;
        let mut key = take(&mut rest)?;
        let mut value = take(&mut rest)?;
        key.try_get_i16().ok()?;
        let result = match key.try_get_i16().ok()? {
            ABORT => TransactionResult::Abort,
            COMMIT => TransactionResult::Commit,
            _ => return None,
        };
        value.try_get_i16().ok()?;
        Some(Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: value.try_get_i32().ok()?,
            result,
        })
    }
}

fn is_marker(attributes: Attributes) -> bool {
    attributes.is_control() && attributes.is_transactional() && attributes.codec() == Ok(Codec::None)
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(varint::take_i64(rest)?).ok()?;
    let (taken, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(taken)
}

impl Batch {
    /// The marker that the batch is, if it is one of a known kind.
    pub fn transaction_marker(&self) -> Option<TransactionMarker> {
        TransactionMarker::parse(&self.header, self.bytes.get(HEADER_LEN..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_kafkas_and_read_back() {
        for (result, kind) in [(TransactionResult::Abort, 0), (TransactionResult::Commit, 1)] {
            let marker =
                TransactionMarker { producer_id: 7, producer_epoch: 3, coordinator_epoch: 5, result };
            let batch = marker.batch(1_000).unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.header.attributes.0, Attributes::TRANSACTIONAL | Attributes::CONTROL);
            assert_eq!((batch.header.producer_id, batch.header.producer_epoch), (7, 3));
            assert_eq!((batch.header.base_sequence, batch.header.record_count), (-1, 1));
            // Length 16; no attributes, no deltas; a key of 4 bytes and a value of 6; no headers.
            let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 5, 0];
            assert_eq!(batch.bytes[HEADER_LEN..], record);
            assert_eq!(batch.transaction_marker(), Some(marker));
            assert_eq!(batch.emptied().transaction_marker(), None);
            for len in 0..record.len() - 1 {
                assert_eq!(TransactionMarker::parse(&batch.header, &record[..len]), None);
            }
        }
    }
}
