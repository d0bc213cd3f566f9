//! One partition's log.

use std::sync::Arc;

use millrace_base::{LeaderEpoch, Offset, Payload, ProducerId};
use millrace_config::topic::TopicConfig;
use millrace_protocol::batch::Batch;

use crate::error::{AppendError, LogError, ReadError};

/// Who sends batches to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: offsets are assigned, idempotence and timestamps checked.
    Producer,
    /// The partition's leader: offsets and epochs stand in the batches already.
    Replica,
}

/// Where batches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// -1 where the topic keeps the producer's timestamps.
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
    /// The producer sent this batch before; the offsets are those of then.
    pub duplicate: bool,
}

/// Batches that were read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whole batches, the first of which holds the offset that was asked for. Empty at the end of the log.
    pub payload: Payload,
    /// Base offset of the first batch: at or below the offset that was asked for.
    pub first_offset: Offset,
    /// The offset after the last batch: where to read on.
    pub next_offset: Offset,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp_ms: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// One producer as the partition remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSummary {
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    pub coordinator_epoch: i32,
    /// -1: no transaction is open.
    pub current_transaction_start_offset: Offset,
}

/// Called with the new durable end, from the thread that committed: must be quick and must not call back.
pub type DurableListener = Arc<dyn Fn(Offset) + Send + Sync>;

/// One partition. Offsets are ordered: log start ≤ high watermark ≤ durable end ≤ log end.
pub struct PartitionLog {}

#[expect(clippy::unimplemented)]
impl PartitionLog {
    pub fn set_config(&self, config: Arc<TopicConfig>) {
        let _ = config;
        unimplemented!()
    }

    /// Appends verified batches; never blocks on the disk. They are durable when the durable end passes
    /// [`Appended::last_offset`].
    pub fn append(
        &self,
        batches: &[Batch],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
    ) -> Result<Appended, AppendError> {
        let _ = (batches, leader_epoch, origin);
        unimplemented!()
    }

    /// Sets who is told when the durable end moves; one listener a partition, the last one set.
    pub fn on_durable(&self, listener: DurableListener) {
        let _ = listener;
        unimplemented!()
    }

    pub fn log_start_offset(&self) -> Offset {
        unimplemented!()
    }

    /// The offset after the last that a crash would keep.
    pub fn durable_end_offset(&self) -> Offset {
        unimplemented!()
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        unimplemented!()
    }

    /// The newest epoch appended or set by [`Self::set_leader_epoch`].
    pub fn leader_epoch(&self) -> LeaderEpoch {
        unimplemented!()
    }

    /// From now on appends of an older epoch are fenced.
    pub fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        let _ = epoch;
        unimplemented!()
    }

    pub fn high_watermark(&self) -> Offset {
        unimplemented!()
    }

    /// Moves the high watermark; it bounds what retention and `delete_records` remove. Never moves back.
    pub fn set_high_watermark(&self, offset: Offset) {
        let _ = offset;
        unimplemented!()
    }

    /// Reads whole batches from memory; never blocks. `None`: not there, ask [`Self::read`]. Only batches
    /// that end below `up_to` are returned, `max_bytes` of them at most, but one if `at_least_one_batch`.
    pub fn read_tail(
        &self,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<Option<Read>, ReadError> {
        let _ = (from, up_to, max_bytes, at_least_one_batch);
        unimplemented!()
    }

    /// As [`Self::read_tail`], from disk where memory has it no longer. May block.
    pub fn read(
        &self,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<Read, ReadError> {
        let _ = (from, up_to, max_bytes, at_least_one_batch);
        unimplemented!()
    }

    /// The first record below `up_to` whose timestamp is `timestamp_ms` or later. May block.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let _ = (timestamp_ms, up_to);
        unimplemented!()
    }

    /// The record below `up_to` with the largest timestamp. May block.
    pub fn max_timestamp_offset(&self, up_to: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let _ = up_to;
        unimplemented!()
    }

    /// KIP-101: the largest epoch at or below `epoch`, and where it ends. `None`: no epoch that old.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let _ = epoch;
        unimplemented!()
    }

    /// Makes `before` the log start, durably; -1 means the high watermark. Returns the log start. Blocking.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        let _ = before;
        unimplemented!()
    }

    /// Bytes of all batches from the first segment on.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }

    pub fn active_producers(&self) -> Vec<ProducerSummary> {
        unimplemented!()
    }
}
