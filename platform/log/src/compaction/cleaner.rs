//! What is compacted right now, what cannot be, and how it goes. Which partition is next stands in `commit/compacting.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use millrace_base::{Monotonic, TopicPartition};
use parking_lot::Mutex;

use super::budget::Budget;
use crate::options::CompactionOptions;

/// What all threads that compact share.
#[derive(Debug)]
pub(crate) struct Cleaner {
    pub budget: Budget,
    pub time: Monotonic,
    pub state: Mutex<CleanerState>,
}

#[derive(Debug, Default)]
pub(crate) struct CleanerState {
    pub running: BTreeSet<TopicPartition>,
    /// Partitions that are not compacted any more until the next start, and why.
    pub uncleanable: BTreeMap<TopicPartition, String>,
    /// Where the last look found the most to compact.
    pub dirty_ratio_max: f64,
    /// When a run has ended last.
    pub last_run_ms: i64,
}

impl Cleaner {
    pub fn new(options: &CompactionOptions) -> Self {
        Self {
            budget: Budget::new(options.io_bytes_per_second.and_then(NonZeroU64::new)),
            time: Monotonic::system(),
            state: Mutex::default(),
        }
    }
}

impl CleanerState {
    pub fn may_run(&self, tp: TopicPartition) -> bool {
        !self.running.contains(&tp) && !self.uncleanable.contains_key(&tp)
    }
}
