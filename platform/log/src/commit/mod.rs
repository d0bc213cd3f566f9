//! Committing: what has been appended becomes durable.
//!
//! Three steps, each a function that the engine's threads call in a loop and the simulator calls one by one:
//! [`WalCommitter::step`] writes one group of the write-ahead log, [`Engine::step_direct`] commits one
//! partition straight to its segment, [`Engine::run_checkpoint`] brings segments up to date so that files of
//! the write-ahead log can be used again. A partition has at most one commit under way, so nothing of it can
//! stand in the write-ahead log after a segment write that a crash may undo.

mod checkpointing;
mod compacting;
mod direct;
mod queues;
mod scheduler;
mod taking_back;
mod threads;
mod wal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use millrace_base::limits::MIB;
use millrace_base::{Clock, TopicPartition};
use millrace_disk::{Disk, way_out};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::checkpoint::Checkpoint;
use crate::compaction::cleaner::Cleaner;
use crate::error::AppendError;
use crate::metrics::{Counters, Health, LogMetrics, count};
use crate::options::LogOptions;
use crate::partition::PartitionLog;
use crate::segment::{DiskFault, OpenFiles};
use crate::tail::{CHUNK_BYTES_MAX, ChunkPool};
use crate::wal::writer::{WalStart, WalWriter};
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

/// The directory of a deleted partition.
pub(crate) struct Trash {
    /// Where it still stands, if it could not be renamed yet.
    pub from: Option<PathBuf>,
    /// Its name until it is removed.
    pub dir: PathBuf,
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
    /// `None` until the first checkpoint after recovery is durable.
    pub wal: Mutex<Option<WalWriter>>,
    /// Where it begins then.
    pub wal_start: OnceLock<WalStart>,
    /// What one group takes of one partition.
    pub wal_bytes_max: usize,
    /// The last checkpoint that is durable; without a salt (0) there is none yet. The lock is held while another is taken.
    pub checkpoint: Mutex<Checkpoint>,
    pub pending_bytes: AtomicU64,
    /// Bytes committed straight to segments since the last checkpoint.
    pub direct_bytes: AtomicU64,
    pub admitted: Notify,
    /// Partitions that have memory to give back.
    evictable: Mutex<VecDeque<Weak<PartitionLog>>>,
    tail_budget: Mutex<TailBudget>,
    failed: OnceLock<String>,
    /// What is being waited for to pass, in words.
    stall: Mutex<Option<String>>,
    /// Nothing can go into the write-ahead log until that has passed.
    refuses_appends: AtomicBool,
    closing: AtomicBool,
    /// Directories of deleted partitions, to be removed. The lock is held while a partition is deleted.
    pub trash: Mutex<Vec<Trash>>,
    /// Partitions of which the write-ahead log may hold records from before they were deleted.
    pub deleted: Mutex<BTreeSet<TopicPartition>>,
    pub cleaner: Cleaner,
}

impl Engine {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, options: LogOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        let engine = Arc::new(Self {
            disk,
            dir,
            clock,
            counters: Counters::default(),
            pool: ChunkPool::new(options.tail_bytes),
            open_files: OpenFiles::new(options.open_segments),
            partitions: RwLock::default(),
            queues: Queues::default(),
            wal: Mutex::new(None),
            wal_start: OnceLock::new(),
            wal_bytes_max: WalWriter::entry_bytes_max(options.wal_bytes),
            checkpoint: Mutex::default(),
            pending_bytes: AtomicU64::new(0),
            direct_bytes: AtomicU64::new(0),
            admitted: Notify::new(),
            evictable: Mutex::default(),
            tail_budget: Mutex::new(TailBudget { bytes: TAIL_BYTES_START, grown_ms: 0 }),
            failed: OnceLock::new(),
            stall: Mutex::default(),
            refuses_appends: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            trash: Mutex::default(),
            deleted: Mutex::default(),
            cleaner: Cleaner::new(&options.compaction),
            options,
        });
        let weak = Arc::downgrade(&engine);
        engine.options.reserve.watch(move || {
            if let Some(engine) = weak.upgrade() {
                engine.begin_stall(engine.reserve_is_used());
                // Its end makes the reserve whole again.
                engine.queues.request_checkpoint();
            }
        });
        engine
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
        if self.refuses_appends.load(Ordering::Relaxed) || !self.options.reserve.is_whole() {
            return Err(self.stalled());
        }
        Ok(())
    }

    pub fn health(&self) -> Health {
        if let Some(reason) = self.failed.get() {
            Health::Failed(reason.clone())
        } else if let Some(reason) = &*self.stall.lock() {
            Health::Stalled(reason.clone())
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

    /// Notes a failure of the disk: some pass, after the rest nothing more is acknowledged.
    pub fn report(&self, fault: &DiskFault) {
        count(&self.counters.disk_errors, 1);
        if fault.is_passing() {
            self.begin_stall(format!("{fault}; {}", way_out(&fault.source)));
            // Its success will tell that it has passed.
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

    /// Notes what is waited for to pass.
    fn begin_stall(&self, reason: String) {
        let before = self.stall.lock().replace(reason.clone());
        if before.is_none() {
            tracing::error!(reason, "commits are repeated until this has passed");
        }
    }

    /// What had met an error that passes has succeeded: makes the reserve whole and takes appends again. False:
    /// there is not enough room for that yet.
    pub fn end_stall(&self) -> bool {
        let reason = match self.options.reserve.restore() {
            Ok(true) if self.wal.lock().is_none() => return false,
            Ok(true) => None,
            Ok(false) => Some(self.reserve_is_used()),
            Err(error) => Some(format!("make the reserve whole: {error}; {}", way_out(&error))),
        };
        if let Some(reason) = reason {
            self.begin_stall(reason);
            return false;
        }
        self.refuses_appends.store(false, Ordering::Relaxed);
        if self.stall.lock().take().is_some() {
            tracing::info!("it has passed: records are taken again");
        }
        true
    }

    fn reserve_is_used(&self) -> String {
        format!(
            "the disk is full: there are {}; free some space, delete topics or records, lower retention or \
             log.reserve_bytes",
            self.options.reserve
        )
    }

    /// Why an append is refused for now.
    pub fn stalled(&self) -> AppendError {
        let reason = self.stall.lock().clone();
        AppendError::Stalled(reason.unwrap_or_else(|| "the disk is about to be tried again".to_owned()))
    }

    pub fn refuse_appends(&self) {
        self.refuses_appends.store(true, Ordering::Relaxed);
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
        let cleaner = self.cleaner.state.lock();
        LogMetrics {
            uncleanable_partitions: cleaner.uncleanable.len() as u64,
            dirty_percent_max: (cleaner.dirty_ratio_max * 100.0) as u64,
            last_compaction_ms: u64::try_from(cleaner.last_run_ms).unwrap_or(0),
            tail_bytes: self.pool.used_bytes(),
            pending_bytes: self.pending_bytes.load(Ordering::Relaxed),
            partitions: self.partitions.read().len() as u64,
            ..self.counters.snapshot()
        }
    }
}
