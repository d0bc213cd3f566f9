//! What is left of one batch: the rules of compaction. Pure; a rule of Kafka's cleaner each.
//!
//! - A record goes if its key has a newer one, or no key at all.
//! - A tombstone that is its key's newest record goes when its horizon has passed. The horizon stands in the batch from
//!   the first cleaning that keeps a tombstone of it (KIP-534), so that it is the same for all readers after a restart.
//! - Records of an aborted transaction go. A marker stays until nothing is left of its transaction and, from then on,
//!   for as long as a tombstone does.
//! - The last batch of each producer that is remembered stays, emptied if need be: the log tells the sequence that is
//!   next. So does a batch that holds the place of others (see [`Place`]).

use std::collections::BTreeMap;

use millrace_base::Offset;
use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_protocol::batch::{Batch, BatchError, Records};

use super::offset_map::OffsetMap;
use super::transactions::{Marker, Transactions};
use crate::producer::Producers;
use crate::transactions::Aborted;

/// Whether a batch is needed for where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// A segment ends with it, or the offsets that would be missing without it are too many: it stays, with or without
    /// records, so that a log is known to be whole by its batches.
    Held,
}

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    Whole,
    Part(Batch),
    Nothing,
}

/// Where a producer's last batch is.
#[derive(Clone, Copy, Debug)]
enum LastBatch {
    Data {
        last_offset: Offset,
    },
    /// There are only markers of this epoch.
    Marker {
        epoch: i16,
    },
}

/// The last batches of the producers that a partition remembers.
#[derive(Debug, Default)]
pub(crate) struct LastBatches(BTreeMap<i64, LastBatch>);

impl LastBatches {
    pub fn of(producers: &Producers) -> Self {
        let last = producers.iter().map(|(id, producer)| {
            let sent = producer.batches.back();
            let last = sent.map_or(LastBatch::Marker { epoch: producer.epoch }, |sent| LastBatch::Data {
                last_offset: sent.last_offset(),
            });
            (id.0, last)
        });
        Self(last.collect())
    }

    fn holds(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        match self.0.get(&header.producer_id) {
            Some(LastBatch::Data { last_offset }) => header.last_offset() == *last_offset,
            Some(LastBatch::Marker { epoch }) => {
                header.attributes.is_control() && header.producer_epoch == *epoch
            }
            None => false,
        }
    }
}

/// What the rules go by.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    map: &'a OffsetMap,
    transactions: Transactions,
    last_batches: &'a LastBatches,
    now_ms: i64,
    delete_retention_ms: i64,
}

impl<'a> Filter<'a> {
    pub fn new(
        map: &'a OffsetMap,
        aborted: &[Aborted],
        last_batches: &'a LastBatches,
        now_ms: i64,
        delete_retention_ms: i64,
    ) -> Self {
        let transactions = Transactions::new(aborted, Offset::MIN);
        Self { map, transactions, last_batches, now_ms, delete_retention_ms }
    }

    /// What is left of `batch`, which follows the one that was asked for last.
    pub fn left_of(&mut self, batch: &Batch, place: Place) -> Result<Left, BatchError> {
        let header = &batch.header;
        let horizon_ms = batch.delete_horizon_ms();
        let has_passed = horizon_ms.is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        let stays = place == Place::Held || self.last_batches.holds(batch);
        if header.attributes.is_control() {
            let records = batch.records(BATCH_BYTES_MAX)?;
            let is_over = self.transactions.is_ended_empty(header, marker(&records)?);
            return match (is_over && has_passed, is_over && horizon_ms.is_none()) {
                (true, _) => Ok(without_records(batch, stays)),
                (_, true) if header.record_count > 0 => self.with_horizon(batch, &records, &[true]),
                _ if header.record_count == 0 => Ok(without_records(batch, stays)),
                _ => Ok(Left::Whole),
            };
        }
        if self.transactions.is_aborted(header) || header.record_count == 0 {
            return Ok(without_records(batch, stays));
        }
        if header.base_offset >= self.map.end() {
            return Ok(Left::Whole);
        }
        let records = batch.records(BATCH_BYTES_MAX)?;
        let (mut kept, mut tombstones) = (0, false);
        let mut keeps = Vec::with_capacity(records.iter().size_hint().1.unwrap_or(0));
        for record in &records {
            let record = record?;
            let is_kept = record.offset >= self.map.end()
                || record.key.is_some_and(|key| !self.map.has_newer(key, record.offset))
                    && (record.value.is_some() || !has_passed);
            kept += i32::from(is_kept);
            tombstones |= is_kept && record.value.is_none();
            keeps.push(is_kept);
        }
        if kept == 0 {
            return Ok(without_records(batch, stays));
        }
        if tombstones && horizon_ms.is_none() {
            return self.with_horizon(batch, &records, &keeps);
        }
        if kept == header.record_count {
            return Ok(Left::Whole);
        }
        rebuilt(batch.retain(&records, &keeps, None, BATCH_BYTES_MAX))
    }

    fn with_horizon(&self, batch: &Batch, records: &Records, keeps: &[bool]) -> Result<Left, BatchError> {
        let horizon_ms = self.now_ms.saturating_add(self.delete_retention_ms);
        rebuilt(batch.retain(records, keeps, Some(horizon_ms), BATCH_BYTES_MAX))
    }
}

/// A batch that does not fit any more, since its codec has become worse at it, stays as it is.
fn rebuilt(batch: Result<Batch, BatchError>) -> Result<Left, BatchError> {
    match batch {
        Ok(batch) => Ok(Left::Part(batch)),
        Err(BatchError::TooLarge { .. }) => Ok(Left::Whole),
        Err(error) => Err(error),
    }
}

fn without_records(batch: &Batch, stays: bool) -> Left {
    match (stays, batch.header.record_count) {
        (false, _) => Left::Nothing,
        (true, 0) => Left::Whole,
        (true, _) => Left::Part(batch.emptied()),
    }
}

/// What a control batch says: the key of its first record is a version and a type, 16 bits each.
fn marker(records: &Records) -> Result<Marker, BatchError> {
    const TYPE: std::ops::Range<usize> = 2..4;
    let Some(record) = records.iter().next() else { return Ok(Marker::Gone) };
    Ok(match record?.key.and_then(|key| key.get(TYPE)) {
        Some([0, 0]) => Marker::Abort,
        Some([0, 1]) => Marker::Commit,
        _ => Marker::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_protocol::batch::{Attributes, BatchBuilder, BatchHeader, HEADER_LEN, ProducerState};
    use millrace_protocol::compression::Codec;

    use super::*;

    const NOW_MS: i64 = 10_000;
    const RETENTION_MS: i64 = 500;

    fn producer(producer_id: i64, base_sequence: i32, transactional: bool) -> ProducerState {
        ProducerState { producer_id, producer_epoch: 0, base_sequence, transactional }
    }

    /// Records of the form `key=value`, or `key` for a tombstone, from an offset on.
    fn sent(base_offset: Offset, records: &[&str], producer: ProducerState) -> Batch {
        let mut builder = BatchBuilder::default();
        for record in records {
            let (key, value) = match record.split_once('=') {
                Some((key, value)) => (key, Some(value.as_bytes())),
                None => (*record, None),
            };
            let key = (!key.is_empty()).then_some(key.as_bytes());
            builder.append(1000, key, value, &[]);
        }
        placed(builder.finish(Codec::Lz4, producer).unwrap(), base_offset, 0)
    }

    fn placed(bytes: Bytes, base_offset: Offset, attributes: i16) -> Batch {
        let mut batch = Batch::parse(bytes).unwrap();
        batch.header.base_offset = base_offset;
        batch.header.attributes = Attributes(batch.header.attributes.0 | attributes);
        let mut bytes = batch.bytes.to_vec();
        batch.header.write(&mut bytes[..HEADER_LEN]);
        Batch { bytes: bytes.into(), ..batch }
    }

    /// A transaction marker: 1 commits, 0 aborts.
    fn ends(base_offset: Offset, producer_id: i64, kind: u8) -> Batch {
        let mut builder = BatchBuilder::default();
        builder.append(1000, Some(&[0, 0, 0, kind]), Some(&[0; 6]), &[]);
        let bytes = builder.finish(Codec::None, producer(producer_id, -1, true)).unwrap();
        placed(bytes, base_offset, Attributes::CONTROL)
    }

    fn map(newest: &[(&str, Offset)], end: Offset) -> OffsetMap {
        let mut map = OffsetMap::new(1 << 20, 100, 0);
        for (key, offset) in newest {
            assert!(map.put(key.as_bytes(), *offset));
        }
        map.reached(end);
        map
    }

    /// What the filter leaves of a batch: offsets of records with its delete horizon, or nothing at all.
    fn shown(batch: &Batch, left: Left) -> Option<(Vec<Offset>, Option<i64>)> {
        let batch = match left {
            Left::Nothing => return None,
            Left::Whole => batch.clone(),
            Left::Part(part) => part,
        };
        let records = batch.records(1 << 20).unwrap();
        let offsets = records.iter().map(|record| record.unwrap().offset).collect();
        Some((offsets, batch.delete_horizon_ms()))
    }

    /// Goes through `log`, as it is at `now_ms`; what is left, for the next time.
    fn compacted(
        log: &[Batch],
        map: &OffsetMap,
        aborted: &[Aborted],
        last: &LastBatches,
        now_ms: i64,
    ) -> Vec<Batch> {
        let mut filter = Filter::new(map, aborted, last, now_ms, RETENTION_MS);
        let left = log.iter().filter_map(|batch| match filter.left_of(batch, Place::Free).unwrap() {
            Left::Whole => Some(batch.clone()),
            Left::Part(part) => Some(part),
            Left::Nothing => None,
        });
        left.collect()
    }

    fn offsets(log: &[Batch]) -> Vec<Vec<Offset>> {
        log.iter().map(|batch| shown(batch, Left::Whole).unwrap().0).collect()
    }

    #[test]
    fn the_newest_of_each_key_stays_and_what_has_no_key_goes() {
        let map = map(&[("a", 12), ("b", 11), ("c", 3)], 15);
        let last = LastBatches::default();
        let mut filter = Filter::new(&map, &[], &last, NOW_MS, RETENTION_MS);
        let mut left = |batch: &Batch| shown(batch, filter.left_of(batch, Place::Free).unwrap());
        let of = |base, records: &[&str]| sent(base, records, ProducerState::NONE);
        assert_eq!(left(&of(0, &["a=1", "b=1"])), None);
        assert_eq!(left(&of(2, &["a=2", "c=1", "=no key"])), Some((vec![3], None)));
        assert_eq!(left(&of(10, &["=no key", "b=2", "a=3"])), Some((vec![11, 12], None)));
        // Behind the map's end nothing is known.
        assert_eq!(left(&of(14, &["=no key", "=no key", "a=5"])), Some((vec![15, 16], None)));
        assert_eq!(left(&of(17, &["a=6", "a=7"])), Some((vec![17, 18], None)));
    }

    #[test]
    fn a_tombstone_goes_when_the_horizon_of_its_first_compaction_has_passed() {
        let log = [sent(0, &["a=1", "b"], ProducerState::NONE), sent(2, &["a", "c=1"], ProducerState::NONE)];
        let (map, last) = (map(&[("b", 1), ("a", 2), ("c", 3)], 4), LastBatches::default());
        let first = compacted(&log, &map, &[], &last, NOW_MS);
        assert_eq!(offsets(&first), [vec![1], vec![2, 3]]);
        assert!(first.iter().all(|batch| batch.delete_horizon_ms() == Some(NOW_MS + RETENTION_MS)));
        assert_eq!(compacted(&first, &map, &[], &last, NOW_MS + RETENTION_MS - 1), first);
        let second = compacted(&first, &map, &[], &last, NOW_MS + RETENTION_MS);
        assert_eq!(offsets(&second), [vec![3]]);
        assert_eq!(second[0].records(1 << 20).unwrap().iter().next().unwrap().unwrap().timestamp_ms, 1000);
    }

    #[test]
    fn the_last_batch_of_a_producer_and_one_that_holds_a_place_stay_without_records() {
        let mut producers = Producers::default();
        let log = [sent(0, &["a=1"], producer(7, 0, false)), sent(1, &["a=2"], producer(7, 1, false))];
        log.iter().for_each(|batch| _ = producers.record(&batch.header, None, 0));
        let last = LastBatches::of(&producers);
        let map = map(&[("a", 9)], 10);
        let left = compacted(&log, &map, &[], &last, NOW_MS);
        let expected = BatchHeader { crc: left[0].header.crc, ..log[1].emptied().header };
        assert_eq!(left.iter().map(|batch| batch.header).collect::<Vec<_>>(), [expected]);
        assert_eq!((expected.record_count, expected.last_sequence(), expected.last_offset()), (0, 1, 1));
        assert_eq!(compacted(&left, &map, &[], &last, NOW_MS), left, "it stays so");
        assert_eq!(compacted(&left, &map, &[], &LastBatches::default(), NOW_MS), [], "until it is another");
        let mut filter = Filter::new(&map, &[], &last, NOW_MS, RETENTION_MS);
        assert_eq!(filter.left_of(&log[0], Place::Held), Ok(Left::Part(log[0].emptied())));
    }

    #[test]
    fn aborted_records_go_at_once_and_each_marker_when_its_transaction_is_gone_for_long() {
        let log = [
            sent(0, &["a=1"], producer(1, 0, true)),
            sent(1, &["b=1"], producer(2, 0, true)),
            ends(2, 1, 0),
            ends(3, 2, 1),
            sent(4, &["b=2"], producer(1, 1, true)),
            ends(5, 1, 1),
        ];
        let aborted = [Aborted { producer_id: 1, first_offset: 0, last_offset: 2 }];
        let (map, last) = (map(&[("b", 4)], 6), LastBatches::default());
        let first = compacted(&log, &map, &aborted, &last, NOW_MS);
        assert_eq!(offsets(&first), [[2], [3], [4], [5]]);
        assert!(first.iter().all(|batch| batch.delete_horizon_ms().is_none()), "there were batches of each");
        let second = compacted(&first, &map, &aborted, &last, NOW_MS);
        let horizons: Vec<_> = second.iter().map(Batch::delete_horizon_ms).collect();
        let horizon = Some(NOW_MS + RETENTION_MS);
        assert_eq!(horizons, [horizon, horizon, None, None], "the last transaction has a record left");
        let third = compacted(&second, &map, &aborted, &last, NOW_MS + RETENTION_MS);
        assert_eq!(offsets(&third), [[4], [5]], "also where the aborted one is still listed");
        assert_eq!(compacted(&third, &map, &aborted, &last, NOW_MS + RETENTION_MS), third);
    }

    #[test]
    fn the_last_marker_of_a_producer_without_records_stays_empty() {
        let mut producers = Producers::default();
        let marker = ends(3, 5, 1);
        producers.record(&marker.header, None, 0);
        let (map, last) = (map(&[], 4), LastBatches::of(&producers));
        let first = compacted(&[marker], &map, &[], &last, NOW_MS);
        let second = compacted(&first, &map, &[], &last, NOW_MS + RETENTION_MS);
        assert_eq!(offsets(&second), [[0; 0]]);
        assert_eq!(compacted(&second, &map, &[], &last, NOW_MS + RETENTION_MS), second);
    }
}
