//! The broker's real log, as the cores look at it, and records as invariants compare them.

use std::path::Path;

use millrace_base::{LeaderEpoch, Offset};
use millrace_log::{PartitionLog, ReadError};
use millrace_protocol::batch::{Batch, split_batches};
use millrace_replication::History;

use crate::message::{COORDINATOR, Label, Seen};

/// As much as one answer holds: little, so that there are many.
const READ_BYTES: usize = 4096;

pub struct View<'a>(pub &'a PartitionLog);

impl History for View<'_> {
    fn log_start(&self) -> Offset {
        self.0.log_start_offset()
    }

    fn durable_end(&self) -> Offset {
        self.0.durable_end_offset()
    }

    fn log_end(&self) -> Offset {
        self.0.log_end_offset()
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.0.epoch_at(offset)
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.end_offset_for_epoch(epoch)
    }
}

/// Whole batches from `from` on that end at or below `up_to`, as they would go over the wire.
pub fn read(log: &PartitionLog, from: Offset, up_to: Offset) -> Result<bytes::Bytes, ReadError> {
    let read = log.read(from, up_to, READ_BYTES, true)?;
    read.payload
        .read_to_bytes()
        .map_err(|source| ReadError::Io { path: Path::new("a payload").to_owned(), source })
}

/// The records in `[from, up_to)`.
pub fn records(log: &PartitionLog, mut from: Offset, up_to: Offset) -> Result<Vec<Seen>, ReadError> {
    let mut found = Vec::new();
    while from < up_to {
        let bytes = read(log, from, up_to)?;
        let batches = split_batches(bytes, usize::MAX).expect("the log holds whole batches");
        let Some(last) = batches.last() else { break };
        let next = last.header.base_offset + i64::from(last.header.last_offset_delta) + 1;
        found.extend(batches.iter().flat_map(seen).filter(|seen| (from..up_to).contains(&seen.offset)));
        from = next;
    }
    Ok(found)
}

/// A batch's records by their labels.
pub fn seen(batch: &Batch) -> Vec<Seen> {
    let records = batch.records(usize::MAX).expect("the simulator does not compress");
    let epoch = LeaderEpoch(batch.header.partition_leader_epoch);
    let seen = records.iter().map(|record| {
        let record = record.expect("the log holds whole records");
        let value = record.value.unwrap_or_default();
        let number = |at: usize| u64::from_be_bytes(value[at..at + 8].try_into().expect("eight bytes"));
        let label = if record.key.is_none() && value.len() >= 16 {
            Label { producer: number(0), number: number(8) }
        } else {
            Label { producer: COORDINATOR, number: told_apart(record.key.unwrap_or_default(), value) }
        };
        Seen { offset: record.offset, epoch, label }
    });
    seen.collect()
}

/// Another number for every other key and value, as good as always.
fn told_apart(key: &[u8], value: &[u8]) -> u64 {
    let bytes = key.iter().chain(value);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
