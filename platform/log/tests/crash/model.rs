//! What one partition must hold, as far as what was sent and what was told say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millrace_protocol::batch::{Batch, ProducerState, TransactionMarker, TransactionResult};
use millrace_protocol::compression::Codec;

use crate::support::*;

const COORDINATOR_EPOCH: i32 = 5;
/// The value of a marker's record.
pub const MARKER_VALUE: [u8; 6] = [0, 0, 0, 0, 0, COORDINATOR_EPOCH as u8];

/// Keys that there are.
const KEYS: u8 = 7;

/// A batch as it was sent.
#[derive(Clone)]
pub struct Sent {
    pub base_offset: i64,
    pub values: Vec<Vec<u8>>,
    pub sequence: i32,
    /// It belongs to a transaction.
    pub is_transactional: bool,
    /// It ends one.
    pub marker: Option<TransactionResult>,
}

impl Sent {
    pub fn end(&self) -> i64 {
        self.base_offset + self.values.len() as i64
    }

    /// Offset, key and value of each record. The key follows from the value; an empty one is a tombstone.
    pub fn keyed(&self) -> impl Iterator<Item = (i64, [u8; 1], &Vec<u8>)> {
        (self.base_offset..).zip(&self.values).map(|(offset, value)| {
            let key = value.first().copied().unwrap_or(offset as u8) % KEYS;
            (offset, [key], value)
        })
    }

    /// The batch with keys, for a log that is compacted.
    pub fn keyed_batch(&self, producer_id: i64) -> Batch {
        let records: Vec<_> = self.keyed().map(|(_, key, value)| (key, value)).collect();
        let records: Vec<(&[u8], Option<&[u8]>)> = records
            .iter()
            .map(|(key, value)| (&key[..], (!value.is_empty()).then_some(value.as_slice())))
            .collect();
        let codec = Codec::ALL[self.sequence as usize % Codec::ALL.len()];
        keyed(&records, NOW_MS, codec, producer(producer_id, 0, self.sequence))
    }

    pub fn batch(&self, producer_id: i64) -> Batch {
        if let Some(marker) = self.marker(producer_id) {
            return marker.batch(NOW_MS).unwrap();
        }
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        let transactional = self.is_transactional;
        let producer = ProducerState { transactional, ..producer(producer_id, 0, self.sequence) };
        batch_of(&values, NOW_MS, producer)
    }

    pub fn marker(&self, producer_id: i64) -> Option<TransactionMarker> {
        let result = self.marker?;
        Some(TransactionMarker {
            producer_id,
            producer_epoch: 0,
            coordinator_epoch: COORDINATOR_EPOCH,
            result,
        })
    }
}

/// Records that are to be taken back.
#[derive(Clone, Copy)]
pub enum Back {
    To(i64),
    ResetAt(i64),
}

/// What one partition was told and has told.
#[derive(Default)]
pub struct Model {
    /// Where its log began.
    pub base: i64,
    pub sent: Vec<Sent>,
    /// What was to be taken back and was not, as far as is known: a crash may leave it so.
    pub unsure: Vec<Back>,
    /// Records were taken back, and with them perhaps what was known of producers whose records are deleted.
    pub was_cut: bool,
    /// The durable end that the listener heard of.
    pub acknowledged: Arc<AtomicI64>,
    /// The log start is somewhere between: the one is durable, the other was asked for.
    pub start_durable: i64,
    pub start_wanted: i64,
    /// Records that compaction may have removed, and below which offset.
    pub superseded: BTreeSet<i64>,
    pub compacted_below: i64,
    /// Deleted, and perhaps come back in a crash.
    pub deleted: bool,
}

impl Model {
    pub fn end(&self) -> i64 {
        self.sent.last().map_or(self.base, Sent::end)
    }

    /// The log below `end` is about to be compacted: only the newest record of each key stays, if it is no tombstone.
    pub fn compact(&mut self, end: i64) {
        self.compacted_below = self.compacted_below.max(end);
        let mut newest = BTreeMap::new();
        let records = self.sent.iter().flat_map(Sent::keyed);
        for (offset, key, value) in records.filter(|(offset, ..)| *offset < end) {
            if let Some(before) = newest.insert(key, offset) {
                self.superseded.insert(before);
            }
            if value.is_empty() {
                self.superseded.insert(offset);
            }
        }
    }

    /// The start and the end that are left.
    pub fn left_of(&self, back: Back, start: i64) -> (i64, i64) {
        match back {
            Back::ResetAt(offset) => (offset, offset),
            Back::To(offset) => {
                let below = self.sent.iter().map(Sent::end).filter(|end| *end <= offset).max();
                (start, below.unwrap_or(self.base).max(start))
            }
        }
    }

    /// What a crash has left of what was to be taken back: all of it, or nothing.
    pub fn find_taken_back(&mut self, start: i64, end: i64) {
        let unsure = std::mem::take(&mut self.unsure);
        let bounds = self.start_durable..=self.start_wanted;
        let is_whole = end >= self.acknowledged.load(Ordering::SeqCst) && bounds.contains(&start);
        if is_whole && self.end() >= end {
            return;
        }
        let mut left = unsure.into_iter().map(|back| self.left_of(back, start));
        if left.any(|left| left == (start, end)) {
            self.take_back((start, end));
        }
    }

    /// The records are gone; the log is at (start, end).
    pub fn take_back(&mut self, (start, end): (i64, i64)) {
        self.sent.retain(|sent| sent.end() <= end);
        if self.end() != end {
            // All are gone, and what there was before is not known.
            (self.base, self.sent) = (end, Vec::new());
        }
        self.superseded.split_off(&end);
        (self.start_durable, self.start_wanted) = (start, start);
        self.acknowledged.store(end, Ordering::SeqCst);
        self.was_cut = true;
    }

    /// First and last offset of each transaction that was aborted, and where the open one begins.
    pub fn transactions(&self) -> (Vec<(i64, i64)>, Option<i64>) {
        let (mut aborted, mut open) = (Vec::new(), None);
        for sent in &self.sent {
            match (sent.marker, open) {
                (Some(result), first) => {
                    let ended = first.filter(|_| result == TransactionResult::Abort);
                    aborted.extend(ended.map(|first| (first, sent.base_offset)));
                    open = None;
                }
                (None, None) if sent.is_transactional => open = Some(sent.base_offset),
                _ => {}
            }
        }
        (aborted, open)
    }

    pub fn next_sequence(&self) -> i32 {
        self.sent.last().map_or(0, |last| last.sequence + last.values.len() as i32)
    }
}
