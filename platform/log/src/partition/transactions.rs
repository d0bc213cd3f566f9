//! What transactions mean for readers: how far they may read, and what of it was aborted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::{LeaderEpoch, Offset, ProducerId};
use millrace_protocol::batch::TransactionMarker;

use super::read::read_error;
use super::state::{EndedIn, State};
use super::{AppendOrigin, Appended, PartitionLog};
use crate::error::{AppendError, ReadError};
use crate::history::{History, cut_at};
use crate::producer::Producers;
use crate::transactions::{ALL_STABLE, Aborted, Ended, Unstable};

/// How far a look at what memory has of closed segments has come.
enum Lookup {
    Done,
    /// The active segment is still to be looked at.
    Active,
    /// The segment at this base is to be loaded.
    Load(Offset),
}

impl State {
    /// Adds what is aborted in closed segments, as far as it is met.
    fn look_up_aborted(&self, from: Offset, up_to: Offset, found: &mut Vec<Aborted>) -> Lookup {
        for number in self.segment_index(from)..self.segments.len() - 1 {
            let segment = &self.segments[number];
            let Some(ended) = &segment.ended else { return Lookup::Load(segment.base) };
            found.extend(ended.aborted.iter().filter(|aborted| aborted.meets(from, up_to)));
            // What is open at the end of the segment, and begins behind what is read, matters no more.
            if self.segment_end(number) >= up_to && ended.first_open.is_none_or(|first| first >= up_to) {
                return Lookup::Done;
            }
        }
        Lookup::Active
    }
}

impl PartitionLog {
    /// Ends the producer's transaction here, if one is open. An earlier coordinator's, and an earlier epoch's, are
    /// refused. As with any append the marker is durable when the durable end passes it.
    pub fn append_marker(
        &self,
        marker: TransactionMarker,
        leader_epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        let now_ms = self.engine.clock.now_ms();
        let batch = marker.batch(now_ms).map_err(|error| AppendError::Failed(error.to_string()))?;
        self.append(&[batch], leader_epoch, AppendOrigin::Coordinator(marker))
    }

    /// Where the producer's last marker is, -1 if it has had none: what [`AppendOrigin::Verified`] tells of.
    pub fn last_marker(&self, producer: ProducerId) -> Offset {
        self.appender.lock().history.producers.last_marker(producer.0)
    }

    /// The epoch of the transaction that the producer has open here.
    pub fn open_epoch(&self, producer: ProducerId) -> Option<i16> {
        self.appender.lock().history.producers.open_epoch(producer.0)
    }

    /// Below it no transaction is open, or ended by a marker that may be taken back: the high watermark, or the first
    /// record of the oldest such transaction.
    pub fn last_stable_offset(&self) -> Offset {
        // In this order, since a transaction that is stable now may have its end above an earlier high watermark.
        let high_watermark = self.high_watermark();
        let stable = self.first_unstable.load(Ordering::Acquire).min(high_watermark);
        // Records of an open transaction may be deleted.
        stable.max(self.log_start_offset().min(high_watermark))
    }

    /// The aborted transactions that a reader meets at offsets from `from` to below `up_to`, which is no more than the
    /// last stable offset, ordered by their markers. `None`: a segment's are on disk only, ask
    /// [`Self::aborted_transactions`].
    pub fn aborted_in_memory(&self, from: Offset, up_to: Offset) -> Option<Vec<Aborted>> {
        let mut found = Vec::new();
        match self.look_up_aborted(from, up_to, &mut found) {
            Lookup::Done => Some(found),
            _ => None,
        }
    }

    /// As [`Self::aborted_in_memory`]. May block.
    pub fn aborted_transactions(&self, from: Offset, up_to: Offset) -> Result<Vec<Aborted>, ReadError> {
        loop {
            let mut found = Vec::new();
            match self.look_up_aborted(from, up_to, &mut found) {
                Lookup::Load(base) => self.load_ended(base)?,
                _ => return Ok(found),
            }
        }
    }

    fn look_up_aborted(&self, from: Offset, up_to: Offset, found: &mut Vec<Aborted>) -> Lookup {
        match self.state.lock().look_up_aborted(from, up_to, found) {
            Lookup::Active => {}
            looked_up => return looked_up,
        }
        // Once more with the appender held, so that the active segment stays the one that it is.
        found.clear();
        let appender = self.appender.lock();
        let looked_up = self.state.lock().look_up_aborted(from, up_to, found);
        if matches!(looked_up, Lookup::Active) {
            // Without a batch in it they are those of the segment before, which are found already.
            let is_begun = appender.end.position > 0;
            let active = appender.history.aborted.iter().filter(|_| is_begun);
            found.extend(active.filter(|aborted| aborted.meets(from, up_to)));
            return Lookup::Done;
        }
        looked_up
    }

    /// Loads what ended in the closed segment at `base`.
    fn load_ended(&self, base: Offset) -> Result<(), ReadError> {
        let (cuts, snapshot, segments, end) = {
            let state = self.state.lock();
            let number = state.segment_index(base);
            let Some(next) = state.segments.get(number + 1) else { return Ok(()) };
            let snapshot = match &next.snapshot {
                Some(bytes) => Ok(bytes.clone()),
                None => Err(Arc::clone(&next.file)),
            };
            let before = state.segments.range(..=number);
            let segments: Vec<_> = before.map(|segment| (Arc::clone(&segment.file), segment.len)).collect();
            ((state.end.cuts, state.swaps), snapshot, segments, next.base)
        };
        let bytes = snapshot.map_or_else(|file| file.snapshot_bytes(), Some);
        let history = match bytes.and_then(|bytes| History::decode(&bytes, end)) {
            Some(history) => history,
            None => {
                let (file, _) = segments.last().expect("the segment itself");
                let cut = cut_at(&segments, end, self.engine.clock.now_ms());
                cut.map_err(|error| read_error(file, error))?.history
            }
        };
        let mut state = self.state.lock();
        let is_as_it_was = (state.end.cuts, state.swaps) == cuts;
        let number = state.segment_index(base);
        let segment = &mut state.segments[number];
        if is_as_it_was && segment.base == base && segment.ended.is_none() {
            segment.ended = Some(EndedIn::of(&history));
        }
        Ok(())
    }

    /// All aborted transactions that are known. May block.
    pub(crate) fn all_aborted(&self) -> Result<Vec<Aborted>, ReadError> {
        self.aborted_transactions(0, Offset::MAX)
    }

    /// After a batch of a transaction was appended; the appender's lock is held.
    pub(super) fn note_transaction(&self, producers: &Producers, ended: Option<Ended>) {
        let mut unstable = self.unstable.lock();
        unstable.appended(producers.first_open_transaction(), ended);
        self.first_unstable.store(unstable.first(), Ordering::Release);
    }

    /// After the high watermark has moved.
    pub(super) fn stabilize(&self) {
        if self.first_unstable.load(Ordering::Acquire) == ALL_STABLE {
            return;
        }
        let mut unstable = self.unstable.lock();
        unstable.committed(self.high_watermark());
        self.first_unstable.store(unstable.first(), Ordering::Release);
    }

    /// After records were taken back; the appender's lock is held.
    pub(super) fn reset_unstable(&self, producers: &Producers) {
        let mut unstable = self.unstable.lock();
        *unstable = Unstable::of(producers.first_open_transaction());
        self.first_unstable.store(unstable.first(), Ordering::Release);
    }
}
