//! Millrace's log engine: what is acknowledged here is on disk.
//!
//! One [`LogManager`] owns one data directory: a write-ahead log that all its partitions share, and a
//! directory of segments for each. [`PartitionLog`] appends, reads and trims one partition.
//!
//! A log's positions are in this order, which [`PartitionLog::validate`] checks and the crash tests ask for after
//! every step:
//!
//! ```text
//! log start ≤ last stable offset ≤ high watermark ≤ durable end ≤ log end
//! ```
//!
//! The high watermark is its owner's, who may set it above the durable end only for a topic whose flush policy has
//! records acknowledged early. [`PartitionLog::truncate`] and [`PartitionLog::reset`] move the durable end and the
//! high watermark back with the log end, and nothing else does.
//!
//! Invariants: it knows partitions by [`millrace_base::TopicPartition`] alone, never a topic's name, a
//! network or another broker. It never re-encodes a batch, but where compaction leaves out records of it. It reaches
//! the disk through [`millrace_disk::Disk`] only, so that the simulator can crash it at every operation.

mod checkpoint;
mod checksum;
mod commit;
mod compaction;
mod epochs;
mod error;
mod history;
mod index;
mod manager;
mod metrics;
mod options;
mod partition;
mod producer;
mod recovery;
mod segment;
mod tail;
mod transactions;
mod wal;
mod walk;

pub use error::{AppendError, Disorder, LogError, OpenError, ReadError};
pub use manager::{EngineStep, LogManager, RetentionReport};
pub use metrics::{Health, LatencyHistogram, LogMetrics};
pub use options::{CompactionOptions, LogOptions, Threading};
pub use partition::{
    AppendOrigin, Appended, DurableListener, PartitionLog, ProducerSummary, Read, TimestampOffset,
};
pub use recovery::RecoveryReport;
pub use transactions::Aborted;
