//! Counters of the engine; whoever exports them reads a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whether the data directory takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// A write met an error that passes, here in words with the way out: the disk is full, most often. It is
    /// repeated until it succeeds; reads go on.
    Stalled(String),
    /// A write or sync failed; what the disk holds is unknown until a restart has read it again.
    Failed(String),
}

/// Upper bounds of [`LatencyHistogram::counts`] in microseconds; the last count is of all above.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536, 262_144, 1_048_576];

/// How long something took, counted in buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// `counts[i]`: at most `LATENCY_BOUNDS_US[i]` and above the bound before.
    pub counts: [u64; LATENCY_BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl LatencyHistogram {
    pub const BOUNDS_US: [u64; LATENCY_BOUNDS_US.len()] = LATENCY_BOUNDS_US;
}

/// A snapshot of the engine's counters. Counts grow from the opening on; gauges are named so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Bytes of batches appended by producers or replicas.
    pub appended_bytes: u64,
    pub appended_batches: u64,
    /// Bytes written to the write-ahead log, padding included.
    pub wal_bytes: u64,
    pub wal_groups: u64,
    /// Entries (stretches of one partition) in those groups.
    pub wal_entries: u64,
    /// Durable writes of the write-ahead log, from submission to completion.
    pub wal_latency: LatencyHistogram,
    /// Bytes written to segments, padding included.
    pub segment_bytes: u64,
    /// Commits that went straight to a segment.
    pub direct_commits: u64,
    pub direct_latency: LatencyHistogram,
    pub checkpoints: u64,
    /// Calls that made something durable: data syncs of files, directories and whole file systems.
    pub syncs: u64,
    pub disk_errors: u64,
    /// Runs of compaction that have come to their end.
    pub compactions: u64,
    /// Bytes that compaction has read and written, and that it has saved.
    pub compaction_read_bytes: u64,
    pub compaction_written_bytes: u64,
    pub compaction_removed_bytes: u64,
    /// Gauge: partitions that are not compacted any more, since a segment cannot be read or written.
    pub uncleanable_partitions: u64,
    /// Gauge: of the partition with the largest share of bytes that are not compacted, that share.
    pub dirty_percent_max: u64,
    /// Gauge: when a run of compaction has ended last, in milliseconds since 1970; 0: none has.
    pub last_compaction_ms: u64,
    /// Gauge: memory that holds recent records.
    pub tail_bytes: u64,
    /// Gauge: appended bytes that are not yet durable.
    pub pending_bytes: u64,
    /// Gauge: partitions of the directory.
    pub partitions: u64,
}

/// The live counters behind [`LogMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub appended_bytes: AtomicU64,
    pub appended_batches: AtomicU64,
    pub wal_bytes: AtomicU64,
    pub wal_groups: AtomicU64,
    pub wal_entries: AtomicU64,
    pub wal_latency: Histogram,
    pub segment_bytes: AtomicU64,
    pub direct_commits: AtomicU64,
    pub direct_latency: Histogram,
    pub checkpoints: AtomicU64,
    pub syncs: AtomicU64,
    pub disk_errors: AtomicU64,
    pub compactions: AtomicU64,
    pub compaction_read_bytes: AtomicU64,
    pub compaction_written_bytes: AtomicU64,
    pub compaction_removed_bytes: AtomicU64,
}

/// Adds to a counter; counters are read one by one, so no order between them is promised.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    pub fn snapshot(&self) -> LogMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogMetrics {
            appended_bytes: of(&self.appended_bytes),
            appended_batches: of(&self.appended_batches),
            wal_bytes: of(&self.wal_bytes),
            wal_groups: of(&self.wal_groups),
            wal_entries: of(&self.wal_entries),
            wal_latency: self.wal_latency.snapshot(),
            segment_bytes: of(&self.segment_bytes),
            direct_commits: of(&self.direct_commits),
            direct_latency: self.direct_latency.snapshot(),
            checkpoints: of(&self.checkpoints),
            syncs: of(&self.syncs),
            disk_errors: of(&self.disk_errors),
            compactions: of(&self.compactions),
            compaction_read_bytes: of(&self.compaction_read_bytes),
            compaction_written_bytes: of(&self.compaction_written_bytes),
            compaction_removed_bytes: of(&self.compaction_removed_bytes),
            ..LogMetrics::default()
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        count(&self.counts[LATENCY_BOUNDS_US.partition_point(|bound| *bound < us)], 1);
        count(&self.sum_us, us);
    }

    fn snapshot(&self) -> LatencyHistogram {
        LatencyHistogram {
            counts: std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        for us in [0, 64, 65, 2_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts[0], snapshot.counts[1], snapshot.counts[12]), (2, 1, 1));
        assert_eq!(snapshot.sum_us, 2_000_129);
    }
}
