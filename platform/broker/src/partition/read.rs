//! Reading a partition's records, out of memory if they are there.

use millrace_base::Offset;
use millrace_log::{Aborted, Read, ReadError};

use super::Partition;

/// Where records may be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The tail memory; never blocks.
    Memory,
    /// That, and the disk; may block.
    Disk,
}

/// What an answer has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: usize,
    /// Whether the first batch may be of any size: one that is larger than the limits must not stop its
    /// reader for ever.
    pub(crate) at_least_one_batch: bool,
}

impl Partition {
    /// Whole batches from the one that holds `from` on, all of which end at or below `up_to`. `None`: they are
    /// not in memory, and the disk was not asked.
    pub(crate) fn read_records(
        &self,
        from: Offset,
        up_to: Offset,
        room: Room,
        source: Source,
    ) -> Result<Option<Read>, ReadError> {
        let tail = self.log.read_tail(from, up_to, room.bytes, room.at_least_one_batch)?;
        match (tail, source) {
            (Some(read), _) => Ok(Some(read)),
            (None, Source::Memory) => Ok(None),
            (None, Source::Disk) => self.log.read(from, up_to, room.bytes, room.at_least_one_batch).map(Some),
        }
    }

    /// The aborted transactions that a reader meets at offsets from `from` to below `up_to`. `None`: they are not in
    /// memory, and the disk was not asked.
    pub(crate) fn aborted_transactions(
        &self,
        from: Offset,
        up_to: Offset,
        source: Source,
    ) -> Result<Option<Vec<Aborted>>, ReadError> {
        match (self.log.aborted_in_memory(from, up_to), source) {
            (None, Source::Disk) => self.log.aborted_transactions(from, up_to).map(Some),
            (found, _) => Ok(found),
        }
    }
}
