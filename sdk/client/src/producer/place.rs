//! From a record to its partition's open batch, or to the queue of those whose partition a broker chooses.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{RequestError, SendError};
use crate::producer::Shared;
use crate::producer::assign::{self, AssignmentState};
use crate::producer::partition::{Partition, Placed};
use crate::producer::record::WireRecord;
use crate::producer::shared::Topic;

impl Shared {
    /// Has the topic's partitioner on the brokers choose, if it has one: the record, for which room was taken,
    /// then waits for the answer. None leaves the choice to the caller.
    pub(crate) fn assign(
        &self,
        topic: &Topic,
        record: &WireRecord<'_>,
        size: usize,
    ) -> Option<(Arc<AssignmentState>, u32)> {
        let assigner = topic.assigner.as_ref()?;
        let taken = assigner.push(record, size)?;
        if taken.start {
            tokio::spawn(assign::run(self.weak(), Arc::clone(&self.cluster), Arc::clone(assigner)));
        }
        Some((taken.assignment, taken.index))
    }

    /// The partition that the record names or, without one, its key. Gives the room back if there is none.
    pub(crate) fn choose<'a>(
        &self,
        name: &str,
        topic: &'a Topic,
        wanted: Option<i32>,
        key: Option<&[u8]>,
        size: usize,
    ) -> Result<&'a Arc<Partition>, SendError> {
        topic.choose(wanted, key, size, self.pace.batch_bytes).ok_or_else(|| {
            self.budget.release(size);
            SendError::Request(RequestError::NoSuchPartition {
                topic: name.to_owned(),
                partition: wanted.unwrap_or_default(),
                count: topic.count,
            })
        })
    }

    /// Encodes the record and tells whether the partition has something due that is not queued yet. `named`: the
    /// sender named the partition, and none other will do.
    pub(crate) fn append(
        &self,
        partition: &Arc<Partition>,
        record: &WireRecord<'_>,
        size: usize,
        since: Option<Instant>,
        named: bool,
    ) -> (Placed, bool) {
        let pace = self.pace;
        let mut state = partition.state.lock();
        let placed = state.append(partition.index, record, size, since, pace, &self.buffers);
        if named {
            state.note_named(placed.index);
        }
        let due = state.is_due_at_once(pace);
        drop(state);
        if placed.opened && !pace.linger.is_zero() {
            self.remember(partition, since.unwrap_or_else(Instant::now));
        }
        (placed, due)
    }

    /// Has upkeep send the partition's new batch, of that age, when it has lingered.
    fn remember(&self, partition: &Arc<Partition>, since: Instant) {
        let due = since + self.pace.linger;
        let mut lingering = self.lingering.lock();
        // At the end, but for records that have waited for their partition.
        let place = lingering.iter().rposition(|(earlier, _)| *earlier <= due).map_or(0, |last| last + 1);
        lingering.insert(place, (due, Arc::clone(partition)));
        drop(lingering);
        if place == 0 {
            self.upkeep.notify_one();
        }
    }

    /// Sends what the partitions have due.
    pub(crate) fn dispatch(&self, partitions: impl Iterator<Item = Arc<Partition>>) {
        for partition in partitions {
            if let Some(lane) = self.enqueue(&partition) {
                lane.kick();
            }
        }
    }
}
