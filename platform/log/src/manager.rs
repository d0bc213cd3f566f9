//! One data directory: its partitions, its write-ahead log and the threads that commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_base::{Clock, TopicPartition};
use millrace_config::topic::TopicConfig;

use crate::disk::Disk;
use crate::error::{LogError, OpenError};
use crate::metrics::{Health, LogMetrics};
use crate::options::LogOptions;
use crate::partition::PartitionLog;

/// What opening a data directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last process closed the directory in order (or it is new).
    pub clean: bool,
    pub partitions: usize,
    /// Bytes of segments whose checksums were verified.
    pub scanned_bytes: u64,
    /// Bytes cut off segments: writes that were under way when the last process ended.
    pub truncated_bytes: u64,
    pub wal_groups: u64,
    /// Bytes of batches that only the write-ahead log held.
    pub replayed_bytes: u64,
    pub took: Duration,
}

/// What one round of retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    pub segments: u64,
    pub bytes: u64,
}

/// Handle of one open data directory; cheap to clone.
#[derive(Clone)]
pub struct LogManager {}

#[expect(clippy::unimplemented)]
impl LogManager {
    /// Takes the directory's lock and recovers what it holds.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let _ = (disk, dir, options, clock);
        unimplemented!()
    }

    /// The partition, made if it does not exist; one that does is given the new config.
    pub fn create(
        &self,
        tp: TopicPartition,
        config: Arc<TopicConfig>,
    ) -> Result<Arc<PartitionLog>, LogError> {
        let _ = (tp, config);
        unimplemented!()
    }

    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<PartitionLog>> {
        let _ = tp;
        unimplemented!()
    }

    /// All partitions, ordered.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        unimplemented!()
    }

    /// Removes a partition. Its files go in the background.
    pub fn delete(&self, tp: &TopicPartition) -> Result<(), LogError> {
        let _ = tp;
        unimplemented!()
    }

    /// Removes segments that retention no longer keeps. Blocking; to be called periodically.
    pub fn enforce_retention(&self) -> RetentionReport {
        unimplemented!()
    }

    /// Waits while too much that was appended is not yet durable. Call before appending `bytes`.
    pub async fn admit(&self, bytes: usize) {
        let _ = bytes;
        unimplemented!()
    }

    pub fn metrics(&self) -> LogMetrics {
        unimplemented!()
    }

    pub fn health(&self) -> Health {
        unimplemented!()
    }

    /// Commits and checkpoints everything and releases the directory. Blocking.
    pub fn close(&self) -> Result<(), LogError> {
        unimplemented!()
    }
}
