//! What a producer's batch is examined for before it is appended: every record is read once.

use std::ops::{ControlFlow, RangeInclusive};

use super::{Batch, BatchError};

/// A record without a time of its own.
const NO_TIMESTAMP: i64 = -1;

/// Records that are at fault and named; a batch may have millions.
const NAMED_MAX: usize = 1000;

/// What a topic asks of each record.
#[derive(Clone, Debug)]
pub struct Demands {
    /// What the records of a batch may expand to, in bytes.
    pub max_expanded: usize,
    /// A compacted topic keeps the newest record of each key, so that one without has no place in it.
    pub keys: bool,
    /// Times that a record may have (KIP-937), or none at all. `None`: the topic puts its own in their place.
    pub timestamps: Option<RangeInclusive<i64>>,
}

/// What is wrong with a record that is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    KeyMissing,
    /// The record's time.
    Timestamp(i64),
}

/// A batch whose records are well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// The latest time that a record has; -1 if none has any.
    pub max_timestamp: i64,
    /// What the records take, expanded.
    pub expanded_bytes: usize,
    /// Records that are not what the topic asks for, by their index in the batch; the first thousand of them.
    pub faults: Vec<(i32, RecordFault)>,
    /// All of them.
    pub fault_count: usize,
}

impl Batch {
    /// Goes through every record: whether they are as many as announced, well-formed, and numbered one after
    /// the other, and which are not what the topic asks for.
    pub fn examine(&self, demands: &Demands) -> Result<Examined, BatchError> {
        let mut found = Examined { max_timestamp: NO_TIMESTAMP, ..Examined::default() };
        let (mut index, mut consecutive) = (0, true);
        let header = &self.header;
        found.expanded_bytes = self.walk(demands.max_expanded, |record| {
            consecutive = record.offset_delta == index;
            if !consecutive {
                return ControlFlow::Break(());
            }
            let timestamp = record.timestamp_ms(header);
            found.max_timestamp = found.max_timestamp.max(timestamp);
            if demands.keys && !record.has_key {
                found.blame(index, RecordFault::KeyMissing);
            } else if let Some(allowed) = &demands.timestamps
                && !allowed.contains(&timestamp)
                && timestamp != NO_TIMESTAMP
            {
                found.blame(index, RecordFault::Timestamp(timestamp));
            }
            index += 1;
            ControlFlow::Continue(())
        })?;
        if consecutive {
            Ok(found)
        } else {
            Err(BatchError::Invalid("the offsets of a batch's records are consecutive"))
        }
    }

    /// Checks that the records are as many as announced, well-formed, and numbered one after the other.
    pub fn validate_records(&self, max_expanded: usize) -> Result<(), BatchError> {
        self.examine(&Demands { max_expanded, keys: false, timestamps: None }).map(|_| ())
    }
}

impl Examined {
    #[cold]
    fn blame(&mut self, index: i32, fault: RecordFault) {
        self.fault_count += 1;
        if self.faults.len() < NAMED_MAX {
            self.faults.push((index, fault));
        }
    }
}
