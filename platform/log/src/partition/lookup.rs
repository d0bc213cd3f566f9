//! Finding records by time. Batches are gone through record by record and never held expanded.

use std::ops::ControlFlow;

use bytes::Bytes;
use millrace_base::limits::{BATCH_BYTES_MAX, KIB};
use millrace_base::{LeaderEpoch, Offset};
use millrace_protocol::batch::{Batch, BatchHeader};

use super::{PartitionLog, TimestampOffset};
use crate::error::ReadError;

/// Bytes looked through at a time.
const STEP_BYTES: usize = 256 * KIB;

/// Where a segment begins and ends, and the largest timestamp that it was ever given.
struct SegmentTimes {
    base: Offset,
    end: Offset,
    max_timestamp_ms: i64,
}

/// A batch and what its latest timestamp is.
struct Latest {
    max_timestamp_ms: i64,
    batch: Batch,
}

impl PartitionLog {
    /// The first record below `up_to` whose timestamp is `timestamp_ms` or later. May block.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        for segment in self.segment_times()? {
            if segment.max_timestamp_ms < timestamp_ms {
                continue;
            }
            let from = self.index_offset_for_timestamp(segment.base, timestamp_ms);
            let found = self.find_in_batches(from, segment.end.min(up_to), |batch| {
                if batch.header.max_timestamp < timestamp_ms {
                    return Ok(None);
                }
                // None is found where the records that are so late were deleted: on to the next batch.
                self.first_record(batch, |record_ms| record_ms >= timestamp_ms)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record below `up_to` with the largest timestamp, the first of those. May block.
    pub fn max_timestamp_offset(&self, up_to: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let mut segments = self.segment_times()?;
        let max_ms = segments.iter().map(|segment| segment.max_timestamp_ms).max().unwrap_or(-1);
        if max_ms < 0 {
            return Ok(None);
        }
        if let Some(found) = self.offset_for_timestamp(max_ms, up_to)? {
            return Ok(Some(found));
        }
        // The newest record is deleted or not below `up_to`: nothing but looking at the batches will do, those of
        // the most promising segments first. The sort keeps the order of equal ones.
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.max_timestamp_ms));
        let mut latest: Option<Latest> = None;
        for segment in segments {
            let beaten = latest.as_ref().map_or(-1, |latest| latest.max_timestamp_ms);
            if segment.max_timestamp_ms < beaten {
                break;
            }
            self.find_in_batches(segment.base, segment.end.min(up_to), |batch| {
                let max_timestamp_ms = self.latest_time(batch)?;
                let better = latest.as_ref().map_or(max_timestamp_ms >= 0, |latest| {
                    let earlier = batch.header.base_offset < latest.batch.header.base_offset;
                    max_timestamp_ms > latest.max_timestamp_ms
                        || max_timestamp_ms == latest.max_timestamp_ms && earlier
                });
                if better {
                    latest = Some(Latest { max_timestamp_ms, batch: batch.clone() });
                }
                Ok(None::<()>)
            })?;
        }
        let Some(latest) = latest else { return Ok(None) };
        self.first_record(&latest.batch, |record_ms| record_ms >= latest.max_timestamp_ms)
    }

    /// The segments that have records above the log start.
    fn segment_times(&self) -> Result<Vec<SegmentTimes>, ReadError> {
        let unloaded: Vec<Offset> = {
            let state = self.state.lock();
            state.segments.iter().filter(|segment| segment.index.is_none()).map(|s| s.base).collect()
        };
        for base in unloaded {
            self.load_index(base)?;
        }
        let state = self.state.lock();
        let first = state.segment_index(self.log_start_offset());
        let ends = state.segments.range(first..).skip(1).map(|segment| segment.base);
        let segments = state.segments.range(first..).zip(ends.chain([state.end.offset]));
        Ok(segments
            .map(|(segment, end)| SegmentTimes {
                base: segment.base,
                end,
                max_timestamp_ms: segment.max_timestamp_ms().unwrap_or(-1),
            })
            .collect())
    }

    fn index_offset_for_timestamp(&self, base: Offset, timestamp_ms: i64) -> Offset {
        let state = self.state.lock();
        let segment = &state.segments[state.segment_index(base)];
        let relative =
            segment.index.as_ref().map_or(0, |index| index.index.offset_for_timestamp(timestamp_ms));
        segment.base + i64::from(relative)
    }

    /// What `look` finds in the first batch, from `from` or the log start on and below `up_to`, in which it finds
    /// something.
    fn find_in_batches<T>(
        &self,
        from: Offset,
        up_to: Offset,
        mut look: impl FnMut(&Batch) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let mut from = from.max(self.log_start_offset());
        while from < up_to {
            let read = self.read(from, up_to, STEP_BYTES, true)?;
            let io_error = |source| ReadError::Io { path: self.dir.clone(), source };
            let mut rest = read.payload.read_to_bytes().map_err(io_error)?;
            if rest.is_empty() {
                return Ok(None);
            }
            while !rest.is_empty() {
                let header = self.header(&rest)?;
                let bytes = rest.split_to(header.total_len());
                if let Some(found) = look(&Batch { header, bytes })? {
                    return Ok(Some(found));
                }
            }
            from = read.next_offset;
        }
        Ok(None)
    }

    fn header(&self, bytes: &Bytes) -> Result<BatchHeader, ReadError> {
        let header = BatchHeader::parse(bytes).map_err(|error| self.damaged(error.to_string()))?;
        if header.total_len() > bytes.len() {
            return Err(self.damaged(format!("the batch at offset {} is cut short", header.base_offset)));
        }
        Ok(header)
    }

    fn damaged(&self, reason: String) -> ReadError {
        ReadError::Corrupt { path: self.dir.clone(), position: 0, reason }
    }

    /// The latest timestamp of the records that are left of a batch.
    fn latest_time(&self, batch: &Batch) -> Result<i64, ReadError> {
        if batch.header.record_count > 0 && batch.header.base_offset >= self.log_start_offset() {
            return Ok(batch.header.max_timestamp);
        }
        let mut latest_ms = -1;
        self.each_record(batch, |record_ms, _| {
            latest_ms = latest_ms.max(record_ms);
            ControlFlow::Continue(())
        })?;
        Ok(latest_ms)
    }

    fn first_record(
        &self,
        batch: &Batch,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let leader_epoch = LeaderEpoch(batch.header.partition_leader_epoch);
        let mut found = None;
        self.each_record(batch, |timestamp_ms, offset| {
            if !wanted(timestamp_ms) {
                return ControlFlow::Continue(());
            }
            found = Some(TimestampOffset { timestamp_ms, offset, leader_epoch });
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Gives `visit` time and offset of the records that are not deleted, none of which is kept in memory.
    fn each_record(
        &self,
        batch: &Batch,
        mut visit: impl FnMut(i64, Offset) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let header = &batch.header;
        let start = self.log_start_offset();
        // What is taken from producers expands to no more.
        let walked = batch.walk(BATCH_BYTES_MAX, |record| {
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset < start {
                ControlFlow::Continue(())
            } else {
                visit(record.timestamp_ms(header), offset)
            }
        });
        walked.map(|_| ()).map_err(|error| self.damaged(error.to_string()))
    }
}
