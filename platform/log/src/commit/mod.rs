//! Committing: what has been appended becomes durable.
//!
//! Three steps, each a function that the engine's threads call in a loop and the simulator calls one by one:
//! [`WalCommitter::step`] writes one group of the write-ahead log, [`Engine::step_direct`] commits one
//! partition straight to its segment, [`Engine::run_checkpoint`] brings segments up to date so that files of
//! the write-ahead log can be used again. A partition has at most one commit under way, so nothing of it can
//! stand in the write-ahead log after a segment write that a crash may undo.

mod checkpointing;
mod direct;
mod queues;
mod scheduler;
mod threads;
mod wal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use millrace_base::limits::MIB;
use millrace_base::{Clock, TopicPartition};
use millrace_disk::Disk;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::checkpoint::Checkpoint;
use crate::error::AppendError;
use crate::metrics::{Counters, Health, LogMetrics, count};
use crate::options::LogOptions;
use crate::partition::PartitionLog;
use crate::segment::{DiskFault, OpenFiles};
use crate::tail::{CHUNK_BYTES_MAX, ChunkPool};
use crate::wal::writer::WalWriter;
pub(crate) use queues::Queues;
pub(crate) use scheduler::{Heat, Route};
pub(crate) use threads::spawn;
pub(crate) use wal::WalCommitter;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    Idle,
    /// A checkpoint has to free a file of the write-ahead log first.
    NeedsCheckpoint,
}

/// Memory that the tails may take at once after the start.
const TAIL_BYTES_START: u64 = 256 * MIB as u64;
/// How often they may take another chunk: 2 MiB in 16 ms are 128 MB/s, a fraction of what memory gives new.
const TAIL_GROWTH_MS: i64 = 16;

#[derive(Clone, Copy)]
struct TailBudget {
    bytes: u64,
    grown_ms: i64,
}

/// Everything that the partitions of a data directory share.
pub(crate) struct Engine {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub options: LogOptions,
    pub clock: Arc<dyn Clock>,
    pub counters: Counters,
    pub pool: Arc<ChunkPool>,
    pub open_files: Arc<OpenFiles>,
    pub partitions: RwLock<BTreeMap<TopicPartition, Arc<PartitionLog>>>,
    pub queues: Queues,
    /// `None` until recovery is over.
    pub wal: Mutex<Option<WalWriter>>,
    /// What one group takes of one partition.
    pub wal_bytes_max: usize,
    /// The last checkpoint that is durable. The lock is held while another is taken.
    pub checkpoint: Mutex<Checkpoint>,
    pub pending_bytes: AtomicU64,
    /// Bytes committed straight to segments since the last checkpoint.
    pub direct_bytes: AtomicU64,
    pub admitted: Notify,
    /// Partitions that have memory to give back.
    evictable: Mutex<VecDeque<Weak<PartitionLog>>>,
    tail_budget: Mutex<TailBudget>,
    failed: OnceLock<String>,
    disk_full: AtomicBool,
    /// No file of the write-ahead log is free, and a full disk is why.
    wal_stuck: AtomicBool,
    closing: AtomicBool,
    /// Directories of deleted partitions, to be removed. The lock is held while a partition is deleted.
    pub trash: Mutex<Vec<PathBuf>>,
    /// Partitions of which the write-ahead log may hold records from before they were deleted.
    pub deleted: Mutex<BTreeSet<TopicPartition>>,
}

impl Engine {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, options: LogOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            disk,
            dir,
            clock,
            counters: Counters::default(),
            pool: ChunkPool::new(options.tail_bytes),
            open_files: OpenFiles::new(options.open_segments),
            partitions: RwLock::default(),
            queues: Queues::default(),
            wal: Mutex::new(None),
            wal_bytes_max: WalWriter::entry_bytes_max(options.wal_bytes),
            checkpoint: Mutex::default(),
            pending_bytes: AtomicU64::new(0),
            direct_bytes: AtomicU64::new(0),
            admitted: Notify::new(),
            evictable: Mutex::default(),
            tail_budget: Mutex::new(TailBudget { bytes: TAIL_BYTES_START, grown_ms: 0 }),
            failed: OnceLock::new(),
            disk_full: AtomicBool::new(false),
            wal_stuck: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            trash: Mutex::default(),
            deleted: Mutex::default(),
            options,
        })
    }

    pub fn topics_dir(&self) -> PathBuf {
        self.dir.join("topics")
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    pub fn partition_dir(&self, tp: TopicPartition) -> PathBuf {
        self.topics_dir().join(tp.to_string())
    }

    /// Whether appends are taken at all.
    pub fn check_open(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.failed.get() {
            return Err(AppendError::Failed(reason.clone()));
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        if self.wal_stuck.load(Ordering::Relaxed) {
            return Err(AppendError::DiskFull);
        }
        Ok(())
    }

    pub fn health(&self) -> Health {
        if let Some(reason) = self.failed.get() {
            Health::Failed(reason.clone())
        } else if self.disk_full.load(Ordering::Relaxed) {
            Health::DiskFull
        } else {
            Health::Ok
        }
    }

    pub fn failure(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// After a failure nothing is written any more: a later sync could succeed without what was lost.
    pub fn check_sound(&self) -> Result<(), DiskFault> {
        match self.failed.get() {
            None => Ok(()),
            Some(reason) => Err(DiskFault {
                action: "write to",
                path: self.dir.clone(),
                source: std::io::Error::other(reason.clone()),
                in_sync: true,
            }),
        }
    }

    /// Notes a failure of the disk: a full one passes, as others do, after the rest nothing more is acknowledged.
    pub fn report(&self, fault: &DiskFault) {
        count(&self.counters.disk_errors, 1);
        if fault.is_passing() {
            if !self.disk_full.swap(true, Ordering::Relaxed) {
                tracing::error!(%fault, "there is no room; commits are repeated until there is");
            }
            // Its success will tell that there is room again.
            self.queues.request_checkpoint();
            return;
        }
        self.fail(format!("{fault}. Nothing more is acknowledged; restart once the disk is sound"));
    }

    /// Ends the log: nothing more is acknowledged, and nobody waits for what will not come.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the log has failed");
        // The first reason stays: others follow from it.
        let _ = self.failed.set(reason);
        self.queues.stop();
        // Callers that wait to be admitted shall see the failure.
        self.admitted.notify_waiters();
    }

    pub fn disk_has_room(&self) {
        self.wal_stuck.store(false, Ordering::Relaxed);
        if self.disk_full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again");
        }
    }

    pub fn set_wal_stuck(&self) {
        self.wal_stuck.store(true, Ordering::Relaxed);
    }

    pub fn close_appends(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Accounts for `bytes` that were pending and are so no more.
    pub fn committed(&self, bytes: u64) {
        self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Always: who waits for more room than there was may be waiting below the limit.
        self.admitted.notify_waiters();
    }

    /// Waits while too much that was appended is not yet durable.
    pub async fn admit(&self, bytes: usize) {
        loop {
            let notified = self.admitted.notified();
            let pending = self.pending_bytes.load(Ordering::Relaxed);
            let fits = pending == 0 || pending + bytes as u64 <= self.options.pending_bytes;
            if fits || self.check_open().is_err() {
                return;
            }
            notified.await;
        }
    }

    /// Notes that `partition` has memory to give back.
    pub fn offer(&self, partition: &Arc<PartitionLog>) {
        self.evictable.lock().push_back(Arc::downgrade(partition));
    }

    /// What the tails may take for now. The whole of it is reached step by step: memory that was never
    /// touched takes several times as long to fill as a chunk that is used again.
    fn tail_budget(&self) -> u64 {
        let mut budget = self.tail_budget.lock();
        if budget.bytes < self.options.tail_bytes && self.pool.used_bytes() > budget.bytes {
            let now_ms = self.clock.now_ms();
            if now_ms.saturating_sub(budget.grown_ms) >= TAIL_GROWTH_MS {
                *budget = TailBudget { bytes: budget.bytes + CHUNK_BYTES_MAX as u64, grown_ms: now_ms };
            }
        }
        budget.bytes.min(self.options.tail_bytes)
    }

    /// Gives memory back, a chunk of each partition in turn, until the tails are within their budget.
    pub fn evict(&self) {
        let budget_bytes = self.tail_budget();
        while self.pool.used_bytes() > budget_bytes {
            let Some(next) = self.evictable.lock().pop_front() else { return };
            // Either memory is given up or the partition leaves the queue, so this ends.
            if let Some(partition) = next.upgrade()
                && partition.evict()
            {
                self.evictable.lock().push_back(next);
            }
        }
    }

    pub fn metrics(&self) -> LogMetrics {
        LogMetrics {
            tail_bytes: self.pool.used_bytes(),
            pending_bytes: self.pending_bytes.load(Ordering::Relaxed),
            partitions: self.partitions.read().len() as u64,
            ..self.counters.snapshot()
        }
    }
}
