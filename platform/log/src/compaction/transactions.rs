//! Which batches belong to aborted transactions, and which transactions have none left: then their marker may go.
//! Pure; told of every batch of the log in order, from its first one on (Kafka's `CleanedTransactionMetadata`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_base::Offset;
use millrace_protocol::batch::BatchHeader;

use crate::transactions::Aborted;

/// What the record of a transaction marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Abort,
    Commit,
    /// Of a kind that a later version knows.
    Unknown,
    /// The record is gone already, and the batch was kept for its numbers.
    Gone,
}

/// The transactions that are open where the log is gone through.
#[derive(Debug)]
pub(super) struct Transactions {
    /// Those that begin further on, by their first offset.
    to_come: VecDeque<Aborted>,
    /// Aborted ones, by producer, and whether there is a batch of theirs.
    aborted: BTreeMap<i64, (Aborted, bool)>,
    /// Producers of which there is a batch of a transaction that is not aborted.
    committed: BTreeSet<i64>,
}

impl Transactions {
    /// `aborted`: all of which a record or the marker is at `from`, where is begun, or above.
    pub fn new(aborted: &[Aborted], from: Offset) -> Self {
        let mut aborted: Vec<_> =
            aborted.iter().copied().filter(|aborted| aborted.last_offset >= from).collect();
        aborted.sort_by_key(|aborted| aborted.first_offset);
        Self { to_come: aborted.into(), aborted: BTreeMap::new(), committed: BTreeSet::new() }
    }

    /// Whether the batch, which is no marker, belongs to a transaction that was aborted.
    pub fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.attributes.is_transactional() {
            return false;
        }
        // Its marker may be gone, and another transaction of the producer have begun.
        if let Some((aborted, has_batches)) = self.aborted.get_mut(&header.producer_id)
            && header.last_offset() <= aborted.last_offset
        {
            *has_batches = true;
            return true;
        }
        self.committed.insert(header.producer_id);
        false
    }

    /// Whether nothing is left of the transaction that the marker ends.
    pub fn is_ended_empty(&mut self, header: &BatchHeader, marker: Marker) -> bool {
        self.begin_up_to(header.last_offset());
        let aborted = self.aborted.remove(&header.producer_id).filter(|(_, has_batches)| *has_batches);
        let is_committed = self.committed.remove(&header.producer_id);
        match marker {
            Marker::Abort => aborted.is_none(),
            Marker::Commit => !is_committed,
            Marker::Unknown => false,
            Marker::Gone => true,
        }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(aborted) = self.to_come.front().filter(|aborted| aborted.first_offset <= offset) {
            self.aborted.insert(aborted.producer_id, (*aborted, false));
            self.to_come.pop_front();
        }
    }
}
