//! Records whose batch cannot go where it was meant to go: a refused batch that is too large goes as two halves, and
//! what a partition that is gone has not stored goes to one that is there. Deliveries follow.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millrace_protocol::batch::{Batch, BatchBuilder, BatchError, Header, ProducerState, Record};
use parking_lot::Mutex;

use crate::error::{RequestError, SendError};
use crate::producer::Shared;
use crate::producer::core::Stamp;
use crate::producer::delivery::{BatchPlace, BatchState};
use crate::producer::lane::Part;
use crate::producer::partition::{Orphan, Partition, Sent};
use crate::producer::record::WireRecord;
use crate::producer::shared::Topic;

/// What the records of one batch may take unpacked: they were packed here.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// Calls `use_it` with each record of a batch and its index.
fn unpack(bytes: &Bytes, mut use_it: impl FnMut(u32, &WireRecord<'_>)) -> Result<(), BatchError> {
    let batch = Batch::parse(bytes.clone())?;
    let records = batch.records(UNPACKED_BYTES_MAX)?;
    for (index, record) in (0..).zip(records.iter()) {
        let record: Record<'_> = record?;
        let headers: Vec<Header<'_>> = record.headers.iter().collect();
        let wire = WireRecord {
            timestamp: Some(record.timestamp_ms),
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        use_it(index, &wire);
    }
    Ok(())
}

impl Shared {
    /// Sends the halves of a batch that was refused for its size, under the numbers that it had; false if that
    /// cannot be done.
    pub(crate) fn split(&self, part: &Part) -> bool {
        let Some((_, bytes)) = part.sent.wire.lock().clone() else { return false };
        let count = Batch::parse(bytes.clone()).map_or(0, |batch| batch.header.record_count.unsigned_abs());
        if count < 2 {
            return false;
        }
        let first = count / 2;
        let mut builders = [BatchBuilder::with_capacity(0), BatchBuilder::with_capacity(0)];
        let unpacked = unpack(&bytes, |index, record| {
            let builder = &mut builders[usize::from(index >= first)];
            builder.append(record.timestamp.unwrap_or_default(), record.key, record.value, record.headers);
        });
        let largest = builders.iter().map(BatchBuilder::len_bytes).max().unwrap_or_default();
        let mut reserved = [part.sent.reserved / 2, part.sent.reserved - part.sent.reserved / 2].into_iter();
        let within = |from: u32, to: u32| {
            let cut =
                |range: &Range<u32>| range.start.clamp(from, to) - from..range.end.clamp(from, to) - from;
            part.sent.named.iter().map(cut).filter(|range| !range.is_empty()).collect::<Vec<_>>()
        };
        let mut named = [within(0, first), within(first, count)].into_iter();
        let halves: Result<Vec<_>, _> = builders
            .into_iter()
            .map(|builder| {
                let records = builder.record_count();
                // Numbered when it is sent.
                let stamp = Stamp { identity: None, base_sequence: -1 };
                let bytes = builder.finish(self.compression, ProducerState::NONE)?;
                let named = named.next().unwrap_or_default();
                let sent = Sent {
                    named,
                    delivery: BatchState::new(part.partition.index),
                    reserved: reserved.next().unwrap_or_default(),
                    wire: Mutex::new(Some((stamp, bytes))),
                };
                Ok::<_, millrace_protocol::batch::BuildError>((Arc::new(sent), records))
            })
            .collect();
        let (Ok(()), Ok(halves)) = (unpacked, halves) else { return false };
        let deliveries: Vec<_> = halves.iter().map(|(half, _)| Arc::clone(&half.delivery)).collect();
        let commands = {
            let mut state = part.partition.state.lock();
            let Some(commands) = state.core.on_split(part.id, halves, Instant::now()) else { return false };
            state.limit_batches(largest);
            commands
        };
        let places = (0..count).map(|index| match index.checked_sub(first) {
            None => (Arc::clone(&deliveries[0]), index),
            Some(index) => (Arc::clone(&deliveries[1]), index),
        });
        part.sent.delivery.moved(places.collect());
        self.execute(&part.partition, commands, None);
        true
    }

    /// Places what waits for partitions that the topic has not any more; records that named theirs fail.
    pub(crate) fn place_orphans(&self, name: &str, topic: &Topic) {
        for partition in topic.gone() {
            let orphans = partition.state.lock().take_orphans(self.pace);
            for orphan in orphans {
                self.place_orphan(name, topic, partition, orphan);
            }
        }
    }

    fn place_orphan(&self, name: &str, topic: &Topic, from: &Arc<Partition>, orphan: Orphan) {
        let Orphan { bytes, delivery, since, reserved, named } = orphan;
        let refusal = || {
            SendError::Request(RequestError::NoSuchPartition {
                topic: name.to_owned(),
                partition: from.index,
                count: topic.count,
            })
        };
        let refused = BatchState::new(from.index);
        refused.complete(Err(refusal()));
        let mut places: Vec<BatchPlace> = Vec::new();
        let mut touched: Vec<Arc<Partition>> = Vec::new();
        let unpacked = bytes.is_some_and(|bytes| {
            unpack(&bytes, |index, record| {
                let size = record.size();
                let chosen = if named.iter().any(|range| range.contains(&index)) {
                    None
                } else {
                    topic.choose(None, record.key, size, self.pace.batch_bytes)
                };
                let Some(partition) = chosen else { return places.push((Arc::clone(&refused), 0)) };
                self.budget.exceed(size);
                let placed = self.append(partition, record, size, Some(since), false).0;
                places.push((placed.delivery, placed.index));
                if !touched.iter().any(|known| Arc::ptr_eq(known, partition)) {
                    touched.push(Arc::clone(partition));
                }
            })
            .is_ok()
        });
        self.budget.release(reserved);
        if unpacked {
            delivery.moved(places);
        } else {
            delivery.complete(Err(refusal()));
        }
        self.dispatch(touched.into_iter());
    }
}
