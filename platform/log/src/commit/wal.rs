//! Committing through the write-ahead log: one group at a time, of whatever is pending when it is built.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Engine, Route, Step};
use crate::metrics::count;
use crate::partition::{Fill, LogPosition, PartitionLog};
use crate::segment::DiskFault;
use crate::wal::writer::Group;

/// The one writer of the write-ahead log.
pub(crate) struct WalCommitter {
    engine: Arc<Engine>,
    group: Group,
    /// What the group will have committed once it is written.
    members: Vec<(Arc<PartitionLog>, LogPosition)>,
    waiting: VecDeque<Arc<PartitionLog>>,
}

impl WalCommitter {
    pub fn new(engine: &Arc<Engine>) -> Self {
        let group = Group::new(engine.options.wal_bytes);
        Self { engine: Arc::clone(engine), group, members: Vec::new(), waiting: VecDeque::new() }
    }

    pub fn is_idle(&self) -> bool {
        self.group.is_empty() && self.waiting.is_empty()
    }

    /// Commits one group. After an error that passes the next step writes the same group again.
    pub fn step(&mut self) -> Result<Step, DiskFault> {
        self.engine.check_sound()?;
        if self.group.is_empty() {
            self.collect();
            if self.group.is_empty() {
                return Ok(Step::Idle);
            }
        }
        let mut wal = self.engine.wal.lock();
        // Recovery's checkpoint is outstanding.
        let Some(writer) = wal.as_mut() else { return Ok(Step::NeedsCheckpoint) };
        let full_before = writer.has_full_files();
        if !writer.make_room(&self.group).map_err(self.engine.wal_fault())? {
            return Ok(Step::NeedsCheckpoint);
        }
        // Looked at under the writer's lock: a partition that was deleted and made again meanwhile has turned the
        // log to a file in which nothing of the old one may stand, and nothing follows what takes it back.
        if self.members.iter().any(|(partition, target)| !partition.is_in_flight(*target)) {
            drop(wal);
            self.abandon();
            return Ok(Step::Done);
        }
        let started = Instant::now();
        let entries = self.group.entries();
        let written = writer.write(&mut self.group);
        let turned = !full_before && writer.has_full_files();
        drop(wal);
        // No sync in the sense of a fault: see `WalWriter::write`.
        let written = written.map_err(self.engine.wal_fault())?;
        let counters = &self.engine.counters;
        counters.wal_latency.record(started.elapsed());
        count(&counters.wal_bytes, written);
        count(&counters.wal_groups, 1);
        count(&counters.wal_entries, u64::from(entries));
        self.group.clear();
        for (partition, target) in self.members.drain(..) {
            partition.complete(target);
        }
        if turned {
            // Early, so that the next file is free when this one is full.
            self.engine.queues.request_checkpoint();
        }
        Ok(Step::Done)
    }

    /// Empties the group; its members, but for those that were deleted, come again.
    fn abandon(&mut self) {
        self.group.clear();
        for (partition, target) in self.members.drain(..) {
            partition.abandon(target);
        }
    }

    /// Fills the group with what is pending, in the order in which partitions came.
    fn collect(&mut self) {
        self.engine.queues.take_wal(&mut self.waiting);
        while let Some(partition) = self.waiting.pop_front() {
            match partition.fill(&mut self.group) {
                Fill::Added(target) => self.members.push((partition, target)),
                Fill::Nothing => {}
                Fill::Direct => self.engine.queues.push(partition, Route::Direct),
                Fill::GroupFull => {
                    self.waiting.push_front(partition);
                    break;
                }
            }
        }
    }
}
