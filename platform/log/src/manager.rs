//! One data directory: its partitions, its write-ahead log and the threads that commit.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_base::{Clock, TopicPartition};
use millrace_config::TopicConfig;
use millrace_disk::{Disk, Need, is_passing};
use parking_lot::Mutex;

use crate::commit::{Engine, Step, Trash, WalCommitter, spawn};
use crate::error::{LogError, OpenError};
use crate::metrics::{Health, LogMetrics};
use crate::options::{LogOptions, Threading};
use crate::partition::{PartitionLog, Recovered};
use crate::recovery::{DELETED_SUFFIX, RecoveryReport, recover};
use crate::segment::DiskFault;

/// How long a producer is remembered that sends nothing (`producer.id.expiration.ms`, Kafka's default).
const PRODUCER_EXPIRATION_MS: i64 = 24 * 60 * 60 * 1000;

/// What one round of retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    pub segments: u64,
    pub bytes: u64,
}

/// A piece of the engine's work, for callers that run it themselves ([`Threading::Stepped`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineStep {
    /// Commit one group of the write-ahead log.
    Wal,
    /// Commit one partition straight to its segment.
    Direct,
    /// Take a checkpoint.
    Checkpoint,
    /// Compact the partition that needs it most.
    Compact,
}

/// Handle of one open data directory; cheap to clone. When the last one is dropped without
/// [`LogManager::close`], the directory is left as a crash would leave it: nothing acknowledged is lost.
#[derive(Clone)]
pub struct LogManager {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stepped: Mutex<Option<WalCommitter>>,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    deletions: AtomicU64,
    /// See [`LogManager::was_closed_in_order`].
    found_clean: bool,
}

impl LogManager {
    /// Takes the directory's lock and recovers what it holds.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        millrace_disk::make_dir(&*disk, dir).map_err(OpenError::io("make directory", dir))?;
        let path = dir.join("lock");
        let lock = disk.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                OpenError::Locked { dir: dir.to_owned(), holder: error.to_string() }
            }
            _ => OpenError::io("lock", &path)(error),
        })?;
        match options.reserve.restore() {
            Err(error) if !is_passing(&error) => {
                return Err(OpenError::io("make the reserve for", dir)(error));
            }
            // Recovery goes on with what there is of it.
            _ => {}
        }
        let engine = Engine::new(disk, dir.to_owned(), options, clock);
        let mut inner = Inner {
            engine: Arc::clone(&engine),
            threads: Mutex::default(),
            stepped: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            deletions: AtomicU64::new(0),
            found_clean: false,
        };
        let report = recover(&engine)?;
        inner.found_clean = report.clean;
        match engine.options.threading {
            Threading::Threads => {
                *inner.threads.lock() = spawn(&engine);
                let missing = engine.wal.lock().as_ref().is_none_or(|writer| writer.missing().is_some());
                if missing || engine.health() != Health::Ok {
                    engine.queues.request_checkpoint();
                }
            }
            Threading::Stepped => *inner.stepped.lock() = Some(WalCommitter::new(&engine)),
        }
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// The partition, made if it does not exist; one that does is given the new config.
    pub fn create(
        &self,
        tp: TopicPartition,
        config: Arc<TopicConfig>,
    ) -> Result<Arc<PartitionLog>, LogError> {
        let engine = self.engine();
        self.check_usable()?;
        if engine.deleted.lock().contains(&tp) {
            engine.forget_deleted().map_err(|fault| self.failed(fault))?;
        }
        let partition = {
            let mut partitions = engine.partitions.write();
            let made =
                partitions.entry(tp).or_insert_with(|| PartitionLog::open(engine, tp, Recovered::default()));
            Arc::clone(made)
        };
        partition.set_config(config);
        Ok(partition)
    }

    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.engine().partitions.read().get(tp).cloned()
    }

    /// All partitions, ordered.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.engine().partitions.read().keys().copied().collect()
    }

    /// Removes a partition. Its files go in the background. A crash right after may bring it back.
    pub fn delete(&self, tp: &TopicPartition) -> Result<(), LogError> {
        self.check_usable()?;
        let engine = self.engine();
        let mut trash = engine.trash.lock();
        let removed = engine.partitions.write().remove(tp);
        let partition = removed.ok_or(LogError::UnknownPartition(*tp))?;
        engine.deleted.lock().insert(*tp);
        let had_dir = partition.has_dir();
        partition.end();
        if had_dir {
            let number = self.inner.deletions.fetch_add(1, Ordering::Relaxed);
            let from = engine.partition_dir(*tp);
            let to = engine.topics_dir().join(format!("{tp}.{number}{DELETED_SUFFIX}"));
            // Left where it is, it would be found again without what the write-ahead log has of it: until it is
            // renamed no checkpoint is taken.
            let renamed = engine.in_room(Need::Control, || engine.disk.rename(&from, &to));
            let fault = renamed.err().map(DiskFault::of("rename", &from));
            trash.push(Trash { from: fault.is_some().then_some(from), dir: to });
            drop(trash);
            engine.queues.request_checkpoint();
            match fault {
                Some(fault) if fault.is_passing() => engine.report(&fault),
                Some(fault) => return Err(self.failed(fault)),
                None => {}
            }
        }
        Ok(())
    }

    /// Removes segments that retention no longer keeps. Blocking; to be called periodically.
    pub fn enforce_retention(&self) -> RetentionReport {
        let engine = self.engine();
        let now_ms = engine.clock.now_ms();
        let partitions: Vec<_> = engine.partitions.read().values().cloned().collect();
        let mut trimmed = Vec::new();
        for partition in partitions {
            partition.expire_producers(now_ms, PRODUCER_EXPIRATION_MS);
            if let Some(log_start) = partition.retention_target(now_ms) {
                partition.raise_log_start(log_start);
                trimmed.push(partition);
            }
        }
        let mut report = RetentionReport::default();
        if trimmed.is_empty() {
            return report;
        }
        // So that no recovery point lies in what is removed. On a full disk this may fail, or cover some partitions
        // only; what the last checkpoint does not need is removed all the same, which makes room.
        if let Err(fault) = engine.run_checkpoint(false) {
            engine.report(&fault);
        }
        for partition in trimmed {
            let removed = partition.remove_below_log_start();
            report.segments += removed.segments;
            report.bytes += removed.bytes;
        }
        report
    }

    /// Waits while too much that was appended is not yet durable. Call before appending `bytes`.
    pub async fn admit(&self, bytes: usize) {
        self.engine().admit(bytes).await;
    }

    /// Whether the last process closed the directory in order. If not, records that were not durable yet are
    /// gone, and with a relaxed flush policy they may have been acknowledged and read.
    pub fn was_closed_in_order(&self) -> bool {
        self.inner.found_clean
    }

    pub fn metrics(&self) -> LogMetrics {
        self.engine().metrics()
    }

    pub fn health(&self) -> Health {
        self.engine().health()
    }

    /// Does one piece of the engine's work. False: there was none, or it failed (see [`Self::health`]).
    pub fn step(&self, step: EngineStep) -> bool {
        let engine = self.engine();
        let outcome = match step {
            EngineStep::Wal => match self.inner.stepped.lock().as_mut() {
                Some(committer) => committer.step().map(|step| step == Step::Done),
                None => Ok(false),
            },
            EngineStep::Compact => Ok(engine.compact_next()),
            EngineStep::Direct => Ok(engine.step_direct(true) == Step::Done),
            EngineStep::Checkpoint => {
                engine.queues.take_checkpoint();
                engine.run_checkpoint(false).map(|()| {
                    engine.end_stall();
                    true
                })
            }
        };
        outcome.unwrap_or_else(|fault| {
            engine.report(&fault);
            false
        })
    }

    /// Commits and checkpoints everything and releases the directory. Blocking. Appends are refused from
    /// now on; reads go on from memory and open files.
    pub fn close(&self) -> Result<(), LogError> {
        let engine = self.engine();
        engine.close_appends();
        let partitions: Vec<_> = engine.partitions.read().values().cloned().collect();
        for partition in &partitions {
            partition.close_appends();
        }
        while engine.health() == Health::Ok && partitions.iter().any(|partition| partition.has_pending()) {
            if self.inner.stepped.lock().is_some() {
                let moved = self.step(EngineStep::Wal) | self.step(EngineStep::Direct);
                if !moved && engine.health() == Health::Ok {
                    self.step(EngineStep::Checkpoint);
                }
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        engine.queues.stop();
        self.inner.join();
        let outcome = match engine.failure() {
            Some(reason) => Err(LogError::Failed(reason)),
            None => engine.run_checkpoint(true).map_err(|fault| self.failed(fault)),
        };
        self.inner.release();
        outcome
    }

    fn check_usable(&self) -> Result<(), LogError> {
        match self.engine().failure() {
            Some(reason) => Err(LogError::Failed(reason)),
            None if self.inner.lock.lock().is_none() => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    fn failed(&self, fault: DiskFault) -> LogError {
        self.engine().report(&fault);
        LogError::Io { action: fault.action, path: fault.path, source: fault.source }
    }
}

impl Inner {
    fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            // A listener may hold the last handle, and be called by the very thread.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }

    fn release(&self) {
        self.stepped.lock().take();
        // Partitions hold the engine; without them it goes when its last user goes.
        self.engine.partitions.write().clear();
        self.lock.lock().take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.queues.stop();
        self.join();
        self.release();
    }
}
