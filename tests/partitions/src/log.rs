//! One partition's log, in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use millrace_base::Offset;
use millrace_coordinator::{AppendFailure, Bounds, ReadFailure};
use millrace_protocol::batch::{Batch, BatchHeader, Record, stamp};
use tokio::sync::oneshot;

use crate::AcknowledgementFault;
use crate::records::records_of;

/// What becomes of an append.
pub(crate) type Outcome = oneshot::Receiver<Result<(), AppendFailure>>;

#[derive(Default)]
pub(crate) struct MemoryLog {
    /// Grows whenever the leadership goes or comes.
    pub epoch: i32,
    pub led_elsewhere: bool,
    pub start: Offset,
    /// Of what was appended.
    pub log_end: Offset,
    /// Of what was acknowledged, and may be read.
    pub end: Offset,
    pub batches: VecDeque<Batch>,
    /// Acknowledgements wait until this is lifted.
    pub held: bool,
    /// What the next appends fail with, the first first.
    pub append_failures: VecDeque<AppendFailure>,
    pub acknowledgement_faults: VecDeque<AcknowledgementFault>,
    pub read_failures: VecDeque<ReadFailure>,
    pub appends: usize,
    /// Who waits until the records below an offset may be read.
    pub waiting: Vec<(Offset, oneshot::Sender<Result<(), AppendFailure>>)>,
    /// Values that hold this text are refused.
    pub refused_text: Option<String>,
}

impl MemoryLog {
    pub fn check(&self, batches: &[Batch]) -> Result<(), AppendFailure> {
        if batches.is_empty() {
            return Err(AppendFailure::Refused("there is no batch".to_owned()));
        }
        let Some(text) = &self.refused_text else { return Ok(()) };
        let values = records_of(batches).into_iter().map(|record| record.value_text());
        match values.into_iter().find(|value| value.contains(text)) {
            Some(value) => Err(AppendFailure::Refused(format!("'{value}' is not taken here"))),
            None => Ok(()),
        }
    }

    /// Adds the batch as the log's next, and returns its base offset.
    pub fn push(&mut self, batch: &Batch) -> Offset {
        let base = self.log_end;
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        stamp(&mut bytes, base, self.epoch);
        let bytes = bytes.freeze();
        // Tests write damaged batches, too, whose lengths are whole.
        let header = BatchHeader::parse(&bytes).unwrap();
        self.log_end = header.next_offset();
        self.batches.push_back(Batch { header, bytes });
        base
    }

    /// Appends, and returns the end of the records and how they fare.
    pub fn append(&mut self, batches: &[Batch]) -> Result<(Offset, Outcome), AppendFailure> {
        self.appends += 1;
        if let Some(failure) = self.append_failures.pop_front() {
            return Err(failure);
        }
        self.check(batches)?;
        let (told, outcome) = oneshot::channel();
        let fault = self.acknowledgement_faults.pop_front();
        if let Some(AcknowledgementFault::Lost(failure)) = fault {
            // Only another leader can have lost them.
            self.begin_epoch();
            let _ = told.send(Err(failure));
            let count: Offset = batches.iter().map(|batch| Offset::from(batch.header.record_count)).sum();
            return Ok((self.log_end + count, outcome));
        }
        for batch in batches {
            self.push(batch);
        }
        match fault {
            Some(AcknowledgementFault::Lost(failure) | AcknowledgementFault::Stored(failure)) => {
                let _ = told.send(Err(failure));
            }
            None => self.waiting.push((self.log_end, told)),
        }
        if !self.held {
            self.end = self.log_end;
        }
        self.settle();
        Ok((self.log_end, outcome))
    }

    /// Answers those whose records may be read by now.
    pub fn settle(&mut self) {
        let end = self.end;
        for (_, told) in self.waiting.extract_if(.., |(wanted, _)| *wanted <= end) {
            let _ = told.send(Ok(()));
        }
    }

    /// Another leader, or the same one anew: whoever still waits is told so.
    pub fn begin_epoch(&mut self) {
        self.settle();
        self.epoch += 1;
        for (_, told) in self.waiting.drain(..) {
            let _ = told.send(Err(AppendFailure::NotHere));
        }
    }

    /// Forgets what is not acknowledged, as another leader that did not have it.
    pub fn truncate(&mut self) {
        self.batches.retain(|batch| batch.header.next_offset() <= self.end);
        self.log_end = self.end;
    }

    /// Leaves of each key only the newest record of those that may be read, and no tombstone, as a log does whose topic
    /// is compacted and where each delete horizon has passed.
    pub fn compact(&mut self) {
        let end = self.end;
        let mut newest: BTreeMap<Vec<u8>, (Offset, bool)> = BTreeMap::new();
        for batch in self.batches.iter().filter(|batch| batch.header.next_offset() <= end) {
            for record in &batch.records(usize::MAX).unwrap() {
                let record = record.unwrap();
                let key = record.key.unwrap_or_default().to_vec();
                newest.insert(key, (record.offset, record.value.is_some()));
            }
        }
        self.batches.retain_mut(|batch| {
            if batch.header.next_offset() > end {
                return true;
            }
            let records = batch.records(usize::MAX).unwrap();
            let is_kept = |record: Record<'_>| {
                record.key.is_some_and(|key| newest.get(key) == Some(&(record.offset, true)))
            };
            let kept: Vec<bool> = records.iter().map(|record| is_kept(record.unwrap())).collect();
            let stays = kept.contains(&true);
            if stays {
                *batch = batch.retain(&records, &kept, None, usize::MAX).unwrap();
            } else {
                // A segment ends with the batch that it ended with.
                *batch = batch.emptied();
            }
            stays || batch.header.next_offset() == end
        });
    }

    pub fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.end }
    }

    pub fn read(&mut self, from: Offset, max_bytes: usize) -> Result<Vec<Batch>, ReadFailure> {
        if let Some(failure) = self.read_failures.pop_front() {
            return Err(failure);
        }
        if from < self.start || from > self.log_end {
            return Err(ReadFailure::OutOfRange { offset: from, bounds: self.bounds() });
        }
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for batch in &self.batches {
            let unwanted = batch.header.last_offset() < from;
            if unwanted || batch.header.next_offset() > self.end {
                continue;
            }
            if !batches.is_empty() && bytes + batch.bytes.len() > max_bytes {
                break;
            }
            bytes += batch.bytes.len();
            batches.push(batch.clone());
        }
        Ok(batches)
    }

    pub fn trim(&mut self, before: Offset) {
        self.start = before.min(self.end).max(self.start);
        let start = self.start;
        self.batches.retain(|batch| batch.header.next_offset() > start);
    }
}
