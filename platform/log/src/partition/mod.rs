//! One partition's log.
//!
//! An append goes through positions that grow: it moves the *end*, a commit moves *committed* up to it, a segment
//! write moves *flushed*, retention moves the *log start*. Only [`take_back`] moves them back. Who may do what:
//! - [`append`]: under the appender's lock, which holds what only appends change;
//! - [`commit`], [`flush`]: one commit at a time; writes to segments under the lock `segment_io`;
//! - [`read`], [`lookup`]: under the state's lock, briefly, for the places; bytes are read without it.
//!
//! Locks are taken in the order: the engine's checkpoint, `segment_io`, `appender`, the engine's write-ahead log,
//! `listener`, `state`, `unstable`; the engine's queues come last.

mod append;
mod cache;
mod commit;
mod compacting;
mod flush;
mod lookup;
mod open;
mod read;
mod retention;
mod segment_io;
mod state;
mod take_back;
mod transactions;
mod validate;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use millrace_base::{LeaderEpoch, Offset, Payload, ProducerId, TopicPartition};
use millrace_config::TopicConfig;
use millrace_protocol::batch::TransactionMarker;
use parking_lot::{Mutex, RwLock};

use crate::commit::Engine;
use crate::error::LogError;
use crate::producer::Producer;
use crate::transactions::Unstable;
pub(crate) use append::Appender;
pub(crate) use commit::Fill;
pub(crate) use compacting::SwapPlace;
pub(crate) use flush::{Captured, Flushed};
pub(crate) use open::{Recovered, RecoveredSegment};
pub(crate) use segment_io::{DirState, SegmentIo};
pub(crate) use state::LogPosition;
use state::State;
pub(crate) use take_back::{Back, Failure, Outcome};

/// Who sends batches to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: offsets are assigned, idempotence and timestamps checked.
    Producer,
    /// A producer whose transactions its coordinator knows, as it said when the producer's last marker was at this
    /// offset (see [`PartitionLog::last_marker`]): one that has ended since is not begun again.
    Verified(Offset),
    /// The coordinator that ends a transaction: the one batch is this marker.
    Coordinator(TransactionMarker),
    /// The partition's leader: offsets and epochs stand in the batches already, and the leader has checked them.
    /// Offsets may be missing between batches, where the leader's log was compacted.
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
    /// The producer sent this batch before; the offsets are those of then. It may not be durable yet.
    pub duplicate: bool,
}

/// Batches that were read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Whole batches, the first of which holds the offset that was asked for, or the next one that there is. Empty
    /// at the end of the log.
    pub payload: Payload,
    /// Base offset of the first batch: above the offset that was asked for only if there is none of that offset.
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

/// One partition. Its offsets are in the order that the crate's page names.
pub struct PartitionLog {
    tp: TopicPartition,
    dir: PathBuf,
    me: Weak<Self>,
    engine: Arc<Engine>,
    segment_io: Mutex<SegmentIo>,
    appender: Mutex<Appender>,
    state: Mutex<State>,
    /// `None` until the partition is created in this process: what recovery found has no settings.
    config: RwLock<Option<Arc<TopicConfig>>>,
    listener: RwLock<Option<DurableListener>>,
    log_start: AtomicI64,
    durable_end: AtomicI64,
    log_end: AtomicI64,
    high_watermark: AtomicI64,
    unstable: Mutex<Unstable>,
    /// What `unstable` begins with, so that readers take no lock.
    first_unstable: AtomicI64,
    leader_epoch: AtomicI32,
    /// [`State::version`] of the last checkpoint.
    checkpointed_version: AtomicU64,
    /// The high watermark of the last checkpoint.
    checkpointed_high_watermark: AtomicI64,
    /// The segment from which on a restart would read; those from here on may not be removed. -1: all.
    checkpointed_segment: AtomicI64,
}

impl PartitionLog {
    pub fn topic_partition(&self) -> TopicPartition {
        self.tp
    }

    pub fn set_config(&self, config: Arc<TopicConfig>) {
        self.appender.lock().set_config(Arc::clone(&config));
        *self.config.write() = Some(config);
    }

    /// Has producers that are not known go on wherever they are, as if they had been forgotten: their numbers began
    /// in a former topic of this name. Until the next start only; a producer is known by what it has sent till then.
    pub fn expect_continued_producers(&self) {
        self.appender.lock().history.producers.forget_any();
    }

    /// Sets who is told when the durable end moves; one listener a partition, the last one set.
    pub fn on_durable(&self, listener: DurableListener) {
        *self.listener.write() = Some(listener);
    }

    pub fn log_start_offset(&self) -> Offset {
        self.log_start.load(Ordering::Acquire)
    }

    /// The offset after the last that a crash would keep.
    pub fn durable_end_offset(&self) -> Offset {
        self.durable_end.load(Ordering::Acquire)
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.log_end.load(Ordering::Acquire)
    }

    /// The newest epoch appended, begun or set by [`Self::set_leader_epoch`].
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// From now on appends of an older epoch are fenced.
    pub fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        self.leader_epoch.fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// This broker leads the partition in `epoch`: it begins at the end of the log. Nothing changes if it has
    /// begun before.
    pub fn begin_leader_epoch(&self, epoch: LeaderEpoch) {
        self.set_leader_epoch(epoch);
        let mut appender = self.appender.lock();
        let end = appender.end.offset;
        if appender.history.epochs.record(epoch, end) {
            self.state.lock().version += 1;
        }
    }

    /// As it was set last, or as the last checkpoint before the opening had it: then it may be behind what it was,
    /// never before it.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Moves the high watermark; it bounds what retention and `delete_records` remove. Never moves back, nor
    /// past the log's end.
    pub fn set_high_watermark(&self, offset: Offset) {
        self.high_watermark.fetch_max(offset.min(self.log_end_offset()), Ordering::AcqRel);
        self.stabilize();
    }

    /// KIP-101: the largest epoch at or below `epoch`, and where it ends. `None`: `epoch` is newer than all,
    /// or none is known.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.appender.lock().end_offset_for_epoch(epoch)
    }

    /// The leader epoch of the record at `offset`, as far as it is known.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.appender.lock().epoch_at(offset)
    }

    /// Bytes of all batches from the first segment on.
    pub fn size_bytes(&self) -> u64 {
        self.state.lock().segments.iter().map(|segment| u64::from(segment.len)).sum()
    }

    /// Producers that are remembered, ordered by id.
    pub fn active_producers(&self) -> Vec<ProducerSummary> {
        let appender = self.appender.lock();
        appender.producers().map(|(producer_id, producer)| summary(producer_id, producer)).collect()
    }

    /// Takes the records from `to` on back, as a follower does whose leader's log has others there. All of a batch
    /// goes whose last offset is `to` or above. Returns the new end of the log: `to`, or where the last batch below
    /// ends. Blocking.
    ///
    /// On return the records are gone for good, and if there were any, everything below the new end is durable; so the
    /// durable end may have moved either way, which the listener is not told. The high watermark is at the new end at most. A crash
    /// before leaves the log as it was or as it is to be. After an error the log is as it was; if it is not known
    /// what a crash would leave, appends are refused ([`AppendError::Stalled`](crate::AppendError::Stalled)), and
    /// nothing more becomes durable, until a call has succeeded.
    ///
    /// Appends wait meanwhile and go on at the new end. A commit under way counts for nothing: its records are
    /// durable by this call, or gone. What readers hold in memory stays what it is. A range of a file they hold stays
    /// so, too, or ends in an error; their next read finds what there is then, or
    /// [`ReadError::OutOfRange`](crate::ReadError::OutOfRange).
    ///
    /// Not to be called from the listener, nor with a lock held that the listener takes.
    pub fn truncate(&self, to: Offset) -> Result<Offset, LogError> {
        self.engine.take_back(self, Back::To(to))
    }

    /// Takes all records back and begins at `start`, which may be anywhere: what a follower does whose leader's log
    /// starts behind its own end. All else is as [`Self::truncate`] has it. Blocking.
    pub fn reset(&self, start: Offset) -> Result<(), LogError> {
        self.engine.take_back(self, Back::ResetAt(start)).map(|_| ())
    }

    /// Makes `before` the log start, durably; -1 means the high watermark. Returns the log start. Blocking.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        let start = self.log_start_offset();
        let end = self.high_watermark();
        let before = if before == -1 { end } else { before };
        if before < 0 || before > end {
            return Err(LogError::OutOfRange { offset: before, start, end });
        }
        if before > start {
            self.raise_log_start(before);
        }
        // Asked for again after a failure it is not durable yet.
        if let Err(error) = self.engine.persist_log_start(self) {
            // Without any room: what the last checkpoint does not need goes all the same, and may make some.
            if self.engine.failure().is_some() || self.remove_below_log_start().segments == 0 {
                return Err(error);
            }
            self.engine.persist_log_start(self)?;
        }
        if before > start {
            if let Err(fault) = self.close_ended_segments() {
                self.engine.report(&fault);
            }
            if self.removal_waits_for_checkpoint()
                && let Err(fault) = self.engine.run_checkpoint(false)
            {
                self.engine.report(&fault);
            }
            self.remove_below_log_start();
        }
        Ok(before.max(start))
    }
}

fn summary(producer_id: ProducerId, producer: &Producer) -> ProducerSummary {
    ProducerSummary {
        producer_id,
        producer_epoch: producer.epoch,
        last_sequence: producer.batches.back().map_or(-1, |sent| sent.last_sequence),
        last_timestamp_ms: producer.last_timestamp_ms,
        coordinator_epoch: producer.coordinator_epoch,
        current_transaction_start_offset: producer.transaction_start.unwrap_or(-1),
    }
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionLog")
            .field("tp", &self.tp)
            .field("log_start", &self.log_start_offset())
            .field("durable_end", &self.durable_end_offset())
            .field("log_end", &self.log_end_offset())
            .finish_non_exhaustive()
    }
}
