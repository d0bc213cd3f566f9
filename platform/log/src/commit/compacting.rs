//! Compaction beside commits: which partition is next, and one run of it. A run that fails ends with its partition;
//! others go on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use millrace_base::TopicPartition;

use super::Engine;
use crate::compaction::plan::Cleanable;
use crate::compaction::{CompactError, Newest, Pace, Run};
use crate::metrics::count;
use crate::options::Threading;
use crate::partition::{PartitionLog, SwapPlace};
use crate::segment::DiskFault;

impl Engine {
    /// Compacts the partition that needs it most, as far as its keys have room in memory. False: none needs it, or it
    /// has to wait.
    pub fn compact_next(&self) -> bool {
        let candidates: Vec<_> = {
            let partitions = self.partitions.read();
            partitions.values().filter(|partition| partition.compacted().is_some()).cloned().collect()
        };
        if candidates.is_empty() || self.failure().is_some() {
            return false;
        }
        self.end_segments(&candidates);
        let Some((partition, cleanable)) = self.claim(candidates) else { return false };
        let tp = partition.topic_partition();
        let outcome = self.compact(&partition, &cleanable);
        let mut state = self.cleaner.state.lock();
        state.running.remove(&tp);
        state.last_run_ms = self.clock.now_ms();
        let error = match outcome {
            Ok(()) => return true,
            // What could not be read may have been taken back, or removed.
            Err(CompactError::Unreadable { .. }) if !partition.is_as_it_was(&cleanable) => return true,
            Err(error) => error,
        };
        match error {
            CompactError::Interrupted => return !self.queues.is_stopped() && self.failure().is_none(),
            CompactError::Waits(_) => tracing::warn!(partition = %tp, %error, "compaction waits"),
            CompactError::Unreadable { .. } | CompactError::Unwritable(_) => {
                tracing::error!(
                    partition = %tp, %error,
                    "the partition is not compacted any more; restart the broker once its disk is sound"
                );
                state.uncleanable.insert(tp, error.to_string());
                return true;
            }
            CompactError::Failed(fault) => {
                drop(state);
                self.report(&fault);
            }
        }
        false
    }

    /// What has ended is closed and known to a checkpoint, so that it may be compacted.
    fn end_segments(&self, candidates: &[Arc<PartitionLog>]) {
        let now_ms = self.clock.now_ms();
        for partition in candidates {
            if let Some(config) = partition.compacted() {
                partition.roll_overdue(&config, now_ms);
            }
        }
        if candidates.iter().any(|partition| partition.compaction_waits_for_checkpoint())
            && let Err(fault) = self.run_checkpoint(false)
        {
            self.report(&fault);
        }
    }

    /// The partition that needs it most of those that nobody compacts, which is then compacted by the caller.
    fn claim(&self, candidates: Vec<Arc<PartitionLog>>) -> Option<(Arc<PartitionLog>, Cleanable)> {
        let now_ms = self.clock.now_ms();
        let mut best: Option<(Arc<PartitionLog>, Cleanable)> = None;
        let mut dirty_ratio_max = 0.0_f64;
        for partition in candidates {
            let tp = partition.topic_partition();
            if !self.cleaner.state.lock().may_run(tp) {
                continue;
            }
            let Some(config) = partition.compacted() else { continue };
            let cleanable = match partition.cleanable(&config, now_ms) {
                Ok(cleanable) => cleanable,
                Err(error) => {
                    // Whatever it is, reads report it, and the next look tries it again.
                    tracing::warn!(partition = %tp, %error, "what may be compacted could not be told");
                    continue;
                }
            };
            dirty_ratio_max = dirty_ratio_max.max(cleanable.dirty_ratio());
            let is_better = |best: &Cleanable| {
                (cleanable.is_overdue, cleanable.dirty_ratio()) > (best.is_overdue, best.dirty_ratio())
            };
            if cleanable.is_due() && best.as_ref().is_none_or(|(_, best)| is_better(best)) {
                best = Some((partition, cleanable));
            }
        }
        let mut state = self.cleaner.state.lock();
        state.dirty_ratio_max = dirty_ratio_max;
        let partitions = self.partitions.read();
        state.uncleanable.retain(|tp, _| partitions.contains_key(tp));
        // Another thread may have been quicker.
        best.filter(|(partition, _)| state.running.insert(partition.topic_partition()))
    }

    fn compact(&self, partition: &PartitionLog, cleanable: &Cleanable) -> Result<(), CompactError> {
        let tp = partition.topic_partition();
        let mut pace = EnginePace { engine: self, tp, since: self.cleaner.time.now() };
        let options = &self.options.compaction;
        let memory_bytes = options.dedupe_buffer_bytes / options.threads.max(1) as u64;
        let newest = Newest::read(cleanable, memory_bytes, &mut pace)?;
        let mut run = Run::new(cleanable, &newest, self.clock.now_ms());
        let (mut next, mut removed) = (0, 0);
        while next < run.segments() {
            let (path, file) = partition.cleaned_file(&cleanable.sources[next].file)?;
            let written = run.write(next, &file, &mut pace).and_then(|cleaned| {
                let group = cleaned.sources.clone();
                let sources = &cleanable.sources[group.clone()];
                let clean = cleanable.clean_of(&group, newest.end());
                let aborted = &cleanable.aborted;
                let place = SwapPlace { sources, cuts: cleanable.cuts, clean, aborted };
                let before: u64 = sources.iter().map(|source| u64::from(source.len)).sum();
                removed += before.saturating_sub(u64::from(cleaned.len));
                if cleaned.is_same {
                    partition.mark_clean(&place, &cleaned)?;
                    partition.drop_cleaned(&path);
                } else {
                    partition.swap_in(&place, &path, cleaned)?;
                }
                Ok(group.end)
            });
            // After an error in the middle of a swap the file has another name.
            next = written.inspect_err(|_| partition.drop_cleaned(&path))?;
        }
        count(&self.counters.compactions, 1);
        count(&self.counters.compaction_removed_bytes, removed);
        tracing::info!(
            partition = %tp, up_to = newest.end(), removed_bytes = removed, map_bytes = newest.bytes(), "compacted"
        );
        Ok(())
    }
}

/// Rest of a run at a time, at most.
const REST_MAX: Duration = Duration::from_millis(100);

/// Keeps a run within the budget, and ends it where it is in the way. A run rests for as long as it works, so that
/// processors and disk are left to those who wait for them.
struct EnginePace<'a> {
    engine: &'a Engine,
    tp: TopicPartition,
    /// When it has rested last.
    since: Instant,
}

impl EnginePace<'_> {
    fn pass(&mut self, bytes: u64, counter: &AtomicU64) -> Result<(), CompactError> {
        count(counter, bytes);
        let engine = self.engine;
        if engine.queues.is_stopped() {
            return Err(CompactError::Interrupted);
        }
        if !engine.options.reserve.is_whole() {
            let full = std::io::ErrorKind::StorageFull.into();
            return Err(CompactError::Waits(DiskFault::of("compact", &engine.partition_dir(self.tp))(full)));
        }
        if engine.options.threading == Threading::Threads {
            let time = &engine.cleaner.time;
            let rest = time.since(self.since).min(REST_MAX);
            engine.queues.pause(engine.cleaner.budget.take(bytes, time.now()).max(rest));
            self.since = time.now();
        }
        Ok(())
    }
}

impl Pace for EnginePace<'_> {
    fn read(&mut self, bytes: u64) -> Result<(), CompactError> {
        if bytes == 0 {
            return Ok(());
        }
        self.pass(bytes, &self.engine.counters.compaction_read_bytes)
    }

    fn written(&mut self, bytes: u64) -> Result<(), CompactError> {
        self.pass(bytes, &self.engine.counters.compaction_written_bytes)
    }
}
