//! Committing one partition straight to its segment.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::queues::DirectWork;
use super::{Engine, Step};
use crate::metrics::count;

impl Engine {
    /// Commits the partition that has waited longest. `retry_early` repeats stalled commits without waiting.
    pub fn step_direct(&self, retry_early: bool) -> Step {
        let Some(work) = self.queues.try_direct(retry_early) else { return Step::Idle };
        self.run_direct(&work);
        Step::Done
    }

    pub fn run_direct(&self, work: &DirectWork) {
        let started = Instant::now();
        let written_before = self.counters.segment_bytes.load(Ordering::Relaxed);
        let (DirectWork::Commit(partition) | DirectWork::Retry(partition)) = work;
        if !self.options.reserve.is_whole() {
            // The room that was given up is not for new records.
            partition.stall();
            self.queues.stall(Arc::clone(partition));
            return;
        }
        let outcome = match work {
            DirectWork::Commit(partition) => partition.commit_direct(),
            DirectWork::Retry(partition) => partition.retry_direct(),
        };
        match outcome {
            Ok(committed) => {
                if matches!(work, DirectWork::Retry(_)) {
                    self.end_stall();
                }
                if committed {
                    self.counters.direct_latency.record(started.elapsed());
                    count(&self.counters.direct_commits, 1);
                }
            }
            Err(fault) => {
                self.report(&fault);
                if fault.is_passing() {
                    self.queues.stall(Arc::clone(partition));
                }
            }
        }
        self.evict();
        // Other threads' bytes may be counted twice; a checkpoint a little early does no harm.
        let written = self.counters.segment_bytes.load(Ordering::Relaxed) - written_before;
        let direct_bytes = self.direct_bytes.fetch_add(written, Ordering::Relaxed) + written;
        if direct_bytes >= self.options.checkpoint_bytes {
            self.direct_bytes.store(0, Ordering::Relaxed);
            self.queues.request_checkpoint();
        }
    }
}
