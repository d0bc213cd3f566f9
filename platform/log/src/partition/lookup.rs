//! Finding records by time.

use bytes::Bytes;
use millrace_base::limits::{BATCH_BYTES_MAX, KIB};
use millrace_base::{LeaderEpoch, Offset};
use millrace_protocol::batch::{Batch, BatchHeader};

use super::{PartitionLog, TimestampOffset};
use crate::error::ReadError;

/// Bytes looked through at a time.
const STEP_BYTES: usize = 256 * KIB;

/// Decompressed, a batch that is searched for a record may be this much: what a producer may have sent, at
/// a generous ratio.
const DECOMPRESSED_BYTES_MAX: usize = 16 * BATCH_BYTES_MAX;

impl PartitionLog {
    /// The first record below `up_to` whose timestamp is `timestamp_ms` or later. May block.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        for (base, max_timestamp_ms) in self.segment_timestamps()? {
            if max_timestamp_ms < timestamp_ms {
                continue;
            }
            let from = self.index_offset_for_timestamp(base, timestamp_ms);
            let found = self.first_batch(from, up_to, |header| header.max_timestamp >= timestamp_ms)?;
            if let Some(batch) = found {
                return self.first_record(&batch, |record_ms| record_ms >= timestamp_ms);
            }
        }
        Ok(None)
    }

    /// The record below `up_to` with the largest timestamp, the first of those. May block.
    pub fn max_timestamp_offset(&self, up_to: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let segments = self.segment_timestamps()?;
        let max_ms = segments.iter().map(|(_, max_ms)| *max_ms).max().unwrap_or(-1);
        if max_ms < 0 {
            return Ok(None);
        }
        if let Some(found) = self.offset_for_timestamp(max_ms, up_to)? {
            return Ok(Some(found));
        }
        // The newest record is not below `up_to`: nothing but looking at every batch will do.
        let mut max_ms = -1;
        let start = self.log_start_offset();
        self.first_batch(start, up_to, |header| {
            max_ms = max_ms.max(header.max_timestamp);
            false
        })?;
        if max_ms < 0 { Ok(None) } else { self.offset_for_timestamp(max_ms, up_to) }
    }

    /// Base and largest timestamp of every segment that has records above the log start.
    fn segment_timestamps(&self) -> Result<Vec<(Offset, i64)>, ReadError> {
        let unloaded: Vec<Offset> = {
            let state = self.state.lock();
            state.segments.iter().filter(|segment| segment.index.is_none()).map(|s| s.base).collect()
        };
        for base in unloaded {
            self.load_index(base)?;
        }
        let state = self.state.lock();
        let first = state.segment_index(self.log_start_offset());
        let segments = state.segments.range(first..);
        Ok(segments.map(|segment| (segment.base, segment.max_timestamp_ms().unwrap_or(-1))).collect())
    }

    fn index_offset_for_timestamp(&self, base: Offset, timestamp_ms: i64) -> Offset {
        let state = self.state.lock();
        let segment = &state.segments[state.segment_index(base)];
        let relative =
            segment.index.as_ref().map_or(0, |index| index.index.offset_for_timestamp(timestamp_ms));
        (segment.base + i64::from(relative)).max(self.log_start_offset())
    }

    /// The first batch from `from` on, below `up_to`, for which `wanted` says so.
    fn first_batch(
        &self,
        mut from: Offset,
        up_to: Offset,
        mut wanted: impl FnMut(&BatchHeader) -> bool,
    ) -> Result<Option<Batch>, ReadError> {
        loop {
            let read = self.read(from, up_to, STEP_BYTES, true)?;
            let io_error = |source| ReadError::Io { path: self.dir.clone(), source };
            let mut rest = read.payload.read_to_bytes().map_err(io_error)?;
            if rest.is_empty() {
                return Ok(None);
            }
            while !rest.is_empty() {
                let header = self.header(&rest)?;
                let bytes = rest.split_to(header.total_len());
                if wanted(&header) {
                    return Ok(Some(Batch { header, bytes }));
                }
            }
            from = read.next_offset;
        }
    }

    fn header(&self, bytes: &Bytes) -> Result<BatchHeader, ReadError> {
        let damaged = |reason| ReadError::Corrupt { path: self.dir.clone(), position: 0, reason };
        let header = BatchHeader::parse(bytes).map_err(|error| damaged(error.to_string()))?;
        if header.total_len() > bytes.len() {
            return Err(damaged(format!("the batch at offset {} is cut short", header.base_offset)));
        }
        Ok(header)
    }

    fn first_record(
        &self,
        batch: &Batch,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let damaged = |reason: String| ReadError::Corrupt { path: self.dir.clone(), position: 0, reason };
        let leader_epoch = LeaderEpoch(batch.header.partition_leader_epoch);
        let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        for record in &records {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            if wanted(record.timestamp_ms) && record.offset >= self.log_start_offset() {
                let found = TimestampOffset {
                    timestamp_ms: record.timestamp_ms,
                    offset: record.offset,
                    leader_epoch,
                };
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
