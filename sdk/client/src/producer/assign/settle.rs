//! Putting records where the answer says.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millrace_protocol::batch::{Batch, Header, Record};

use super::Question;
use super::ask::Verdict;
use crate::error::{RequestError, SendError};
use crate::producer::Shared;
use crate::producer::delivery::BatchPlace;
use crate::producer::partition::Partition;
use crate::producer::record::WireRecord;

impl Shared {
    /// Appends the records of `question`, encoded in `batch`, to their partitions and sends what is due. All
    /// of them are placed, or none.
    pub(super) fn settle(
        &self,
        name: &str,
        question: &Question,
        batch: Bytes,
        verdict: Verdict,
    ) -> Result<Vec<BatchPlace>, SendError> {
        let unreadable =
            |reason: &dyn ToString| SendError::Encode { topic: name.to_owned(), reason: reason.to_string() };
        let len = batch.len();
        let batch = Batch::parse(batch).map_err(|error| unreadable(&error))?;
        let records = batch.records(len).map_err(|error| unreadable(&error))?;
        let records: Vec<_> = records.iter().collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
        let chosen = match verdict {
            Verdict::Partitions(chosen) => Some(chosen),
            Verdict::Unbound => None,
        };
        let unknown = || RequestError::UnknownTopic { topic: name.to_owned() };
        let topic = self.topic(name).ok_or_else(unknown)?;
        // All are chosen before the first is placed.
        let choose = |(index, record): (usize, &Record<'_>)| {
            let wanted = chosen.as_ref().and_then(|chosen| i32::try_from(chosen[index]).ok());
            let size = wire(record, &[]).size();
            topic.choose(wanted, record.key, size, self.pace.batch_bytes).ok_or_else(|| {
                RequestError::NoSuchPartition {
                    topic: name.to_owned(),
                    partition: wanted.unwrap_or_default(),
                    count: topic.count,
                }
            })
        };
        let partitions = records.iter().enumerate().map(choose).collect::<Result<Vec<_>, _>>()?;

        let late = self.is_late(question.since);
        let mut touched: Vec<Option<&Arc<Partition>>> = vec![None; topic.count];
        let mut places = Vec::with_capacity(records.len());
        let mut headers = Vec::new();
        for (record, partition) in records.iter().zip(partitions) {
            let touched = &mut touched[partition.index.unsigned_abs() as usize];
            if late && touched.is_none() {
                partition.state.lock().close_open();
            }
            *touched = Some(partition);
            headers.clear();
            headers.extend(record.headers.iter());
            let wire = wire(record, &headers);
            let placed = self.append(partition, &wire, wire.size(), Some(question.since), false).0;
            places.push((placed.delivery, placed.index));
        }
        let touched = touched.into_iter().flatten();
        if late {
            touched.clone().for_each(|partition| partition.state.lock().close_open());
        }
        self.dispatch(touched.cloned());
        Ok(places)
    }

    /// Whether records of that age must not share a batch with others, which would have to go with it when its
    /// time is up: they have used up a good part of theirs.
    fn is_late(&self, since: Instant) -> bool {
        since.elapsed() > self.pace.delivery_timeout / 8
    }
}

const fn wire<'a>(record: &Record<'a>, headers: &'a [Header<'a>]) -> WireRecord<'a> {
    let Record { timestamp_ms, key, value, .. } = *record;
    WireRecord { timestamp: Some(timestamp_ms), key, value, headers }
}
