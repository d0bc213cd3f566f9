//! What a partition remembers of its idempotent producers (KIP-98, KIP-360). Pure.
//!
//! A producer numbers its records a partition; a batch is taken if it follows the producer's last one,
//! answered with its first offsets if it is one of the last five, refused otherwise. Its first number is 0:
//! then nothing that follows a refused request of the same producer is ever stored in its place. Kafka takes
//! any number of a producer that it does not know; here only of one that may have been forgotten, or where a
//! former topic of the name had the lower ones. Ids are given out in ascending order, so that those that were
//! forgotten are known by the highest.
//!
//! The state follows from the log: recovery rebuilds it from a checkpoint and the batches after it.
//!
//! As stored in a checkpoint, little-endian: highest forgotten id i64, producer count u32, then each
//! `id i64 | epoch i16 | last timestamp i64 | transaction start i64 | last marker i64 | coordinator epoch i32 |
//! batch count u8 | batches`, the start being -1 where no transaction is open, the marker and its coordinator's epoch -1
//! where there was none, and a batch
//! `base offset i64 | last offset delta i32 | last sequence i32 | timestamp i64`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf, BufMut};
use millrace_base::{Offset, ProducerId};
use millrace_protocol::batch::{Batch, BatchHeader, TransactionMarker, TransactionResult};

use crate::error::AppendError;
use crate::transactions::{Aborted, Ended};

/// Batches remembered a producer: as many as Kafka's producers may have in flight.
const BATCHES_MAX: usize = 5;

/// Below every producer's id.
const NO_ID: i64 = -1;

/// The start of a transaction that is not open.
const NO_TRANSACTION: Offset = -1;

/// The last marker of a producer that has had none, and its coordinator's epoch.
pub(crate) const NO_MARKER: Offset = -1;
const NO_COORDINATOR: i32 = -1;

/// That of a producer without epochs, and the lowest there is.
const NO_EPOCH: i16 = -1;

/// A batch that a producer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentBatch {
    pub base_offset: Offset,
    pub last_offset_delta: i32,
    pub last_sequence: i32,
    pub timestamp_ms: i64,
}

impl SentBatch {
    fn first_sequence(&self) -> i32 {
        self.last_sequence.wrapping_sub(self.last_offset_delta) & i32::MAX
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset + Offset::from(self.last_offset_delta)
    }
}

/// One producer's epoch and latest batches, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub epoch: i16,
    pub batches: VecDeque<SentBatch>,
    /// Where the first record of its open transaction is; `None`: no transaction is open.
    pub transaction_start: Option<Offset>,
    /// Where its last transaction's marker is, or [`NO_MARKER`].
    pub last_marker: Offset,
    /// Of the coordinator that has written the marker, or -1.
    pub coordinator_epoch: i32,
    /// When the partition last heard of it, by the broker's clock.
    pub last_timestamp_ms: i64,
}

/// What is to be done with batches whose producers were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    Duplicate(SentBatch),
}

/// All producers of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
    /// First offset and producer of each open transaction.
    open: BTreeSet<(Offset, i64)>,
    /// Producers with an id above it were never forgotten.
    forgotten: i64,
}

impl Default for Producers {
    fn default() -> Self {
        Self { known: BTreeMap::new(), open: BTreeSet::new(), forgotten: NO_ID }
    }
}

impl Producers {
    /// Whether `batches` may be appended, in this order, as one.
    pub fn check(&self, batches: &[Batch]) -> Result<Verdict, AppendError> {
        if let [batch] = batches {
            return self.check_one(self.known.get(&batch.header.producer_id), &batch.header);
        }
        // Later batches are judged by what the earlier ones would leave behind.
        let mut after = Self::default();
        let mut first_duplicate = None;
        for (index, batch) in batches.iter().enumerate() {
            let header = &batch.header;
            if !header.has_producer_id() {
                continue;
            }
            let known = after.known.get(&header.producer_id).or_else(|| self.known.get(&header.producer_id));
            match self.check_one(known, header)? {
                Verdict::Duplicate(sent) if index == 0 => first_duplicate = Some(sent),
                Verdict::Duplicate(_) if first_duplicate.is_some() => {}
                Verdict::Duplicate(_) => return Err(out_of_order(header, known)),
                Verdict::Append if first_duplicate.is_some() => return Err(out_of_order(header, known)),
                Verdict::Append => {
                    if let Some(known) = known.cloned() {
                        after.known.insert(header.producer_id, known);
                    }
                    after.record(header, None, -1);
                }
            }
        }
        Ok(first_duplicate.map_or(Verdict::Append, Verdict::Duplicate))
    }

    fn check_one(&self, known: Option<&Producer>, header: &BatchHeader) -> Result<Verdict, AppendError> {
        if !header.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let current = known.map_or(NO_EPOCH, |producer| producer.epoch);
        if header.producer_epoch < current {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: ProducerId(header.producer_id),
                epoch: header.producer_epoch,
                current,
            });
        }
        let Some(producer) = known else {
            let begins = header.base_sequence == 0 || header.producer_id <= self.forgotten;
            return if begins { Ok(Verdict::Append) } else { Err(out_of_order(header, known)) };
        };
        if producer.transaction_start.is_some() && !header.attributes.is_transactional() {
            return Err(AppendError::TransactionOpen(ProducerId(header.producer_id)));
        }
        let Some(last) = producer.batches.back().filter(|_| header.producer_epoch == producer.epoch) else {
            // The marker of an earlier transaction may have begun the epoch (KIP-890).
            let is_epoch_known = header.producer_epoch == producer.epoch;
            let may_be_forgotten = is_epoch_known && header.producer_id <= self.forgotten;
            return if header.base_sequence == 0 || may_be_forgotten {
                Ok(Verdict::Append)
            } else {
                Err(out_of_order(header, known))
            };
        };
        let (first, end) = (header.base_sequence, header.last_sequence());
        let duplicate = |sent: &&SentBatch| sent.first_sequence() == first && sent.last_sequence == end;
        if let Some(sent) = producer.batches.iter().find(duplicate) {
            return Ok(Verdict::Duplicate(*sent));
        }
        // Clients count a duplicate as stored. Lower numbers than those remembered may be stored, or a gap
        // after the numbers have wrapped: nobody knows any more.
        if first == next_sequence(last.last_sequence) {
            Ok(Verdict::Append)
        } else {
            Err(out_of_order(header, known))
        }
    }

    /// Whether a coordinator may end its producer's transaction (KIP-98, KIP-360).
    pub fn check_marker(&self, marker: &TransactionMarker) -> Result<(), AppendError> {
        let Some(producer) = self.known.get(&marker.producer_id) else { return Ok(()) };
        if marker.producer_epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: ProducerId(marker.producer_id),
                epoch: marker.producer_epoch,
                current: producer.epoch,
            });
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced {
                epoch: marker.coordinator_epoch,
                current: producer.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Whether the batch goes on with a transaction, or begins one after nothing but the marker at `last_marker`.
    pub fn is_verified(&self, header: &BatchHeader, last_marker: Offset) -> bool {
        let known = self.known.get(&header.producer_id);
        !header.attributes.is_transactional()
            || known.is_some_and(|producer| producer.transaction_start.is_some())
            || known.map_or(NO_MARKER, |producer| producer.last_marker) == last_marker
    }

    /// The epoch of the transaction that the producer has open.
    pub fn open_epoch(&self, producer_id: i64) -> Option<i16> {
        let known = self.known.get(&producer_id)?;
        known.transaction_start.map(|_| known.epoch)
    }

    /// Where the producer's last marker is, or [`NO_MARKER`].
    pub fn last_marker(&self, producer_id: i64) -> Offset {
        self.known.get(&producer_id).map_or(NO_MARKER, |producer| producer.last_marker)
    }

    /// Remembers an appended batch; `header` carries its final offsets, and `marker` is what it says if it is a known
    /// one. Tells what transaction it ends.
    pub fn record(
        &mut self,
        header: &BatchHeader,
        marker: Option<&TransactionMarker>,
        now_ms: i64,
    ) -> Option<Ended> {
        if !header.has_producer_id() {
            return None;
        }
        let producer = self.known.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            transaction_start: None,
            last_marker: NO_MARKER,
            coordinator_epoch: NO_COORDINATOR,
            last_timestamp_ms: now_ms,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.last_timestamp_ms = producer.last_timestamp_ms.max(now_ms);
        // A marker ends what its producer has open, also under the new epoch of one that was fenced (KIP-360).
        let mut ended = None;
        if header.attributes.is_control() {
            producer.last_marker = header.base_offset;
            if let Some(marker) = marker {
                producer.coordinator_epoch = producer.coordinator_epoch.max(marker.coordinator_epoch);
            }
            if let Some(first_offset) = producer.transaction_start.take() {
                self.open.remove(&(first_offset, header.producer_id));
                let producer_id = header.producer_id;
                let transaction = Aborted { producer_id, first_offset, last_offset: header.base_offset };
                let is_aborted = marker.is_some_and(|marker| marker.result == TransactionResult::Abort);
                ended = Some(Ended { transaction, is_aborted });
            }
        } else if header.attributes.is_transactional()
            // What compaction has emptied was decided, and its marker may be gone.
            && header.record_count > 0
            && producer.transaction_start.is_none()
        {
            producer.transaction_start = Some(header.base_offset);
            self.open.insert((header.base_offset, header.producer_id));
        }
        // A transaction marker has an epoch but no sequence.
        if header.base_sequence < 0 {
            return ended;
        }
        if producer.batches.len() == BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(SentBatch {
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            last_sequence: header.last_sequence(),
            timestamp_ms: header.max_timestamp,
        });
        ended
    }

    /// Forgets producers not heard of for `expiration_ms`.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        let forgotten = &mut self.forgotten;
        self.known.retain(|id, producer| {
            // An open transaction holds readers up until its marker comes: it is not forgotten before.
            let keeps = producer.transaction_start.is_some()
                || now_ms.saturating_sub(producer.last_timestamp_ms) < expiration_ms;
            if !keeps {
                *forgotten = (*forgotten).max(*id);
            }
            keeps
        });
    }

    /// Producers that `before` may have forgotten may be forgotten here, too.
    pub fn forget_as(&mut self, before: &Self) {
        self.forgotten = self.forgotten.max(before.forgotten);
    }

    /// Any producer may be forgotten: records were deleted that nobody has looked into, or were in a former topic.
    pub fn forget_any(&mut self) {
        self.forgotten = i64::MAX;
    }

    /// Where the first record of the oldest open transaction is.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.open.first().map(|(start, _)| *start)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.known.iter().map(|(id, producer)| (ProducerId(*id), producer))
    }

    /// Whether they are such as [`Self::record`] makes of a log that ends at `log_end`.
    pub fn are_sound(&self, log_end: Offset) -> bool {
        let sent_here = |sent: &SentBatch| {
            sent.base_offset >= 0
                && sent.base_offset < log_end
                && sent.last_offset_delta >= 0
                && sent.last_offset() < log_end
                && sent.last_sequence >= 0
        };
        let begun_here = |start: Offset| (0..log_end).contains(&start);
        self.known.values().all(|producer| {
            producer.batches.len() <= BATCHES_MAX
                && producer.batches.iter().all(sent_here)
                && producer.transaction_start.is_none_or(begun_here)
                && producer.last_marker < log_end
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64_le(self.forgotten);
        out.put_u32_le(u32::try_from(self.known.len()).expect("fewer producers than record offsets"));
        for (id, producer) in &self.known {
            out.put_i64_le(*id);
            out.put_i16_le(producer.epoch);
            out.put_i64_le(producer.last_timestamp_ms);
            out.put_i64_le(producer.transaction_start.unwrap_or(NO_TRANSACTION));
            out.put_i64_le(producer.last_marker);
            out.put_i32_le(producer.coordinator_epoch);
            out.put_u8(u8::try_from(producer.batches.len()).expect("five batches at most"));
            for batch in &producer.batches {
                out.put_i64_le(batch.base_offset);
                out.put_i32_le(batch.last_offset_delta);
                out.put_i32_le(batch.last_sequence);
                out.put_i64_le(batch.timestamp_ms);
            }
        }
    }

    pub fn decode(from: &mut &[u8]) -> Result<Self, bytes::TryGetError> {
        let mut producers = Self { forgotten: from.try_get_i64_le()?, ..Self::default() };
        for _ in 0..from.try_get_u32_le()? {
            let id = from.try_get_i64_le()?;
            let epoch = from.try_get_i16_le()?;
            let last_timestamp_ms = from.try_get_i64_le()?;
            let transaction_start = Some(from.try_get_i64_le()?).filter(|start| *start != NO_TRANSACTION);
            let last_marker = from.try_get_i64_le()?;
            let coordinator_epoch = from.try_get_i32_le()?;
            if let Some(start) = transaction_start {
                producers.open.insert((start, id));
            }
            let mut batches = VecDeque::new();
            for _ in 0..from.try_get_u8()? {
                batches.push_back(SentBatch {
                    base_offset: from.try_get_i64_le()?,
                    last_offset_delta: from.try_get_i32_le()?,
                    last_sequence: from.try_get_i32_le()?,
                    timestamp_ms: from.try_get_i64_le()?,
                });
            }
            let producer = Producer {
                epoch,
                batches,
                transaction_start,
                last_marker,
                coordinator_epoch,
                last_timestamp_ms,
            };
            producers.known.insert(id, producer);
        }
        Ok(producers)
    }
}

fn out_of_order(header: &BatchHeader, known: Option<&Producer>) -> AppendError {
    let last = known.filter(|producer| producer.epoch == header.producer_epoch);
    AppendError::OutOfOrderSequence {
        producer_id: ProducerId(header.producer_id),
        sequence: header.base_sequence,
        expected: last.and_then(|p| p.batches.back()).map_or(0, |sent| next_sequence(sent.last_sequence)),
    }
}

/// Sequence numbers wrap around after `i32::MAX` to 0.
fn next_sequence(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}

#[cfg(test)]
mod tests;
