//! How one data directory is to be run; `millrace-config` holds the settings an operator sees.

use std::sync::Arc;
use std::time::Duration;

use millrace_base::limits::{GIB, MIB};
use millrace_disk::Reserve;

/// Who runs commits and checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threading {
    /// Threads of the engine's own: one for the write-ahead log, one for checkpoints, some for segments.
    #[default]
    Threads,
    /// Nobody: the caller steps the engine (`LogManager::step`). For the simulator.
    Stepped,
}

/// Sizes and threads of one [`crate::LogManager`].
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Disk space of the write-ahead log. It bounds what a restart replays and how much may wait in memory
    /// for its segment.
    pub wal_bytes: u64,
    /// Memory for recent records of all partitions together.
    pub tail_bytes: u64,
    /// Appended bytes that may wait for their commit before [`crate::LogManager::admit`] makes callers wait.
    pub pending_bytes: u64,
    /// Bytes committed straight to segments after which a checkpoint is taken: what a restart reads again.
    pub checkpoint_bytes: u64,
    /// Threads that write and sync segments. Four keep a disk busy while each waits for its sync.
    pub direct_threads: usize,
    /// Segments whose files are open at a time; others are opened when needed. Also what a checkpoint writes
    /// before it syncs.
    pub open_segments: usize,
    /// What is given up so that a full disk can be emptied.
    pub reserve: Arc<Reserve>,
    pub threading: Threading,
    pub compaction: CompactionOptions,
}

/// How compaction runs, beside everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Partitions that are compacted at the same time.
    pub threads: usize,
    /// Memory for the keys of what is not compacted yet, all threads together: 24 bytes a key, a tenth of which stay
    /// free. Where there are more keys a run does not get to the end, and another one goes on.
    pub dedupe_buffer_bytes: u64,
    /// Bytes that are read and written a second, all threads together. `None`: as many as can be.
    pub io_bytes_per_second: Option<u64>,
    /// Time between two looks where there was nothing to do.
    pub backoff: Duration,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            dedupe_buffer_bytes: 128 * MIB as u64,
            io_bytes_per_second: None,
            backoff: Duration::from_secs(15),
        }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            wal_bytes: 256 * MIB as u64,
            tail_bytes: GIB as u64,
            pending_bytes: 128 * MIB as u64,
            checkpoint_bytes: 256 * MIB as u64,
            direct_threads: 4,
            open_segments: 1024,
            reserve: Reserve::none(),
            threading: Threading::Threads,
            compaction: CompactionOptions::default(),
        }
    }
}
