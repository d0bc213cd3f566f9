//! Appending: check everything, then assign offsets and copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_base::limits::IO_ALIGNMENT;
use millrace_base::{LeaderEpoch, Offset, ProducerId, TopicPartition};
use millrace_config::{TimestampType, TopicConfig};
use millrace_protocol::batch::{Attributes, Batch, BatchHeader, HEADER_LEN, TransactionMarker};

use super::state::EndedIn;
use super::state::{LogPosition, Segment};
use super::{AppendOrigin, Appended, PartitionLog};
use crate::checksum;
use crate::error::AppendError;
use crate::history::History;
use crate::index::IndexMark;
use crate::metrics::count;
use crate::producer::{Producer, Producers, SentBatch, Verdict};
use crate::segment::{CLEAN_NOTHING, INDEX_INTERVAL_BYTES_MIN, IndexBuilder, SegmentFile, follows_on};
use crate::tail::{BatchRef, CHUNK_BYTES_MAX, ChunkWriter, PlacedChunk, SegmentTail};
use crate::transactions::ABORTED_MAX;
use crate::walk::{CRC_START, GAP_OFFSETS_MAX};

/// What only appends change.
pub(crate) struct Appender {
    pub config: Arc<TopicConfig>,
    pub history: History,
    pub end: LogPosition,
    /// The chunk that `end` lies in; `None` where the next append begins a new one, at an aligned position.
    pub writer: Option<ChunkWriter>,
    pub closed: bool,
}

impl Appender {
    pub fn set_config(&mut self, config: Arc<TopicConfig>) {
        self.config = config;
    }

    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.history.epochs.end_offset(epoch, self.end.offset)
    }

    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.history.epochs.at(offset)
    }

    pub fn producers(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.history.producers.iter()
    }
}

impl PartitionLog {
    /// Whether a producer's batches would be refused for what they are, whenever they came. Appends nothing.
    pub fn check(&self, batches: &[Batch]) -> Result<(), AppendError> {
        check_sizes(batches, &self.appender.lock().config)
    }

    /// Appends verified batches; never blocks on the disk. They are durable when the durable end passes
    /// [`Appended::last_offset`]. All of them are appended or, on an error, none.
    pub fn append(
        &self,
        batches: &[Batch],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
    ) -> Result<Appended, AppendError> {
        let now_ms = self.engine.clock.now_ms();
        self.engine.check_open()?;
        let mut appender = self.appender.lock();
        if appender.closed {
            return Err(AppendError::Closed);
        }
        let current = self.leader_epoch();
        if leader_epoch < current {
            return Err(AppendError::Fenced { epoch: leader_epoch, current });
        }
        match origin {
            AppendOrigin::Producer | AppendOrigin::Verified(_) => {
                check_sizes(batches, &appender.config)?;
                check_verified(batches, &appender.history.producers, origin)?;
                if let Verdict::Duplicate(sent) = appender.history.producers.check(batches)? {
                    return Ok(self.duplicate(&appender, sent));
                }
            }
            AppendOrigin::Coordinator(marker) => appender.history.producers.check_marker(&marker)?,
            AppendOrigin::Replica => check_offsets(batches, appender.end.offset)?,
        }
        if self.state.lock().takes_nothing() {
            return Err(self.engine.stalled());
        }
        self.set_leader_epoch(leader_epoch);
        let base_offset = match origin {
            AppendOrigin::Replica => batches[0].header.base_offset,
            _ => appender.end.offset,
        };
        let log_append_time = appender.config.message_timestamp_type == TimestampType::LogAppendTime
            && origin != AppendOrigin::Replica;
        for batch in batches {
            let mut header = batch.header;
            if origin != AppendOrigin::Replica {
                header.base_offset = appender.end.offset;
                header.partition_leader_epoch = leader_epoch.0;
            }
            if log_append_time {
                stamp_log_append_time(&mut header, &batch.bytes, now_ms);
            }
            self.roll_if_due(&mut appender, &header, now_ms);
            self.append_one(&mut appender, &header, &batch.bytes[HEADER_LEN..], now_ms);
        }
        let last_offset = appender.end.offset - 1;
        drop(appender);
        self.appended(batches, now_ms);
        Ok(Appended {
            base_offset,
            last_offset,
            log_append_time_ms: if log_append_time { now_ms } else { -1 },
            log_start_offset: self.log_start_offset(),
            duplicate: false,
        })
    }

    fn duplicate(&self, appender: &Appender, sent: SentBatch) -> Appended {
        let stamped = appender.config.message_timestamp_type == TimestampType::LogAppendTime;
        Appended {
            base_offset: sent.base_offset,
            last_offset: sent.last_offset(),
            log_append_time_ms: if stamped { sent.timestamp_ms } else { -1 },
            log_start_offset: self.log_start_offset(),
            duplicate: true,
        }
    }

    /// Tells the committer.
    fn appended(&self, batches: &[Batch], now_ms: i64) {
        let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        let counters = &self.engine.counters;
        count(&counters.appended_bytes, bytes as u64);
        count(&counters.appended_batches, batches.len() as u64);
        let route = {
            let mut state = self.state.lock();
            state.heat.add(bytes as u64, now_ms);
            state.next_route(self.engine.wal_bytes_max)
        };
        self.enqueue(route);
    }

    fn roll_if_due(&self, appender: &mut Appender, header: &BatchHeader, now_ms: i64) {
        let position = appender.end.position;
        let config = &appender.config;
        // What is far behind the end cannot be told by its distance from a segment that begins there.
        let base = if header.base_offset - appender.end.offset > GAP_OFFSETS_MAX {
            header.base_offset
        } else {
            appender.end.offset
        };
        let due = {
            let mut state = self.state.lock();
            let active = state.active();
            let full = u64::from(position) + header.total_len() as u64 > u64::from(config.segment_bytes);
            let far = header.last_offset() - active.base > i64::from(i32::MAX) && base > active.base;
            let lag_ms = if config.cleanup_policy.compact { config.max_compaction_lag_ms } else { i64::MAX };
            let segment_ms = config.segment_ms.min(lag_ms).max(1);
            let segment_ms =
                segment_ms - jitter_ms(self.tp, active.base, config.segment_jitter_ms.min(segment_ms));
            let old = now_ms.saturating_sub(active.created_ms) > segment_ms;
            let index_len = active.index.as_ref().map_or(0, |index| index.index.len()) * 16;
            let indexed = index_len as u64 >= u64::from(config.segment_index_bytes)
                || appender.history.aborted.len() >= ABORTED_MAX;
            far || position > 0 && (full || old || indexed)
        };
        if due {
            self.roll(appender, base, now_ms);
        }
    }

    /// Begins a new segment at the end of the log, or far behind it. Its file is made when something is written to it.
    pub(crate) fn roll(&self, appender: &mut Appender, base: Offset, now_ms: i64) {
        debug_assert!(follows_on(appender.end.offset, base));
        appender.writer = None;
        let ended = EndedIn::of(&appender.history);
        appender.end.offset = base;
        appender.end.segment = base;
        appender.end.position = 0;
        let segment = self.new_segment(appender, now_ms);
        let mut state = self.state.lock();
        state.active().ended = Some(ended);
        state.segments.push_back(segment);
        state.end = appender.end;
        state.version += 1;
    }

    /// A segment that begins at the end of the log.
    pub(super) fn new_segment(&self, appender: &Appender, now_ms: i64) -> Segment {
        let base = appender.end.offset;
        let interval = appender.config.index_interval_bytes.max(INDEX_INTERVAL_BYTES_MIN);
        Segment {
            base,
            file: self.segment_file(base),
            len: 0,
            recovered: 0,
            index: Some(IndexBuilder::new(base, interval)),
            index_mark: IndexMark::default(),
            clean: CLEAN_NOTHING,
            ended: None,
            snapshot: Some(appender.history.encode(base)),
            tail: SegmentTail::default(),
            created_ms: now_ms,
            modified_ms: None,
        }
    }

    pub(crate) fn segment_file(&self, base: Offset) -> Arc<SegmentFile> {
        let engine = &self.engine;
        SegmentFile::new(Arc::clone(&engine.disk), Arc::clone(&engine.open_files), &self.dir, base)
    }

    /// Copies a batch whose header is final behind the end, and shows it to readers and committers.
    pub(crate) fn append_one(&self, appender: &mut Appender, header: &BatchHeader, rest: &[u8], now_ms: i64) {
        let position = appender.end.position;
        let mut head = [0; HEADER_LEN];
        header.write(&mut head);
        let mut chunks = Vec::new();
        self.copy(appender, &head, head.len() + rest.len(), &mut chunks);
        self.copy(appender, rest, rest.len(), &mut chunks);

        let marker = TransactionMarker::parse(header, rest);
        let ended = appender.history.record(header, marker.as_ref(), position, now_ms);
        if header.attributes.is_transactional() {
            self.note_transaction(&appender.history.producers, ended);
        }
        appender.end.offset = header.next_offset();
        appender.end.total += (HEADER_LEN + rest.len()) as u64;

        let mut state = self.state.lock();
        state.end = appender.end;
        state.version += 1;
        let active = state.active();
        active.tail.chunks.extend(chunks);
        active.tail.batches.push_back(BatchRef {
            base_offset: header.base_offset,
            position,
            last_offset_delta: header.last_offset_delta,
        });
        active.len = appender.end.position;
        active.modified_ms = Some(now_ms);
        if position == 0 {
            active.created_ms = now_ms;
        }
        if let Some(index) = &mut active.index {
            index.add(header, position);
        }
        self.log_end.store(appender.end.offset, Ordering::Release);
        self.engine.pending_bytes.fetch_add((HEADER_LEN + rest.len()) as u64, Ordering::Relaxed);
    }

    /// Copies `bytes` to the end, into new chunks where the current one is full. `wanted` bytes are to come,
    /// these included: the next chunk is as large, or twice the last.
    fn copy(&self, appender: &mut Appender, mut bytes: &[u8], wanted: usize, made: &mut Vec<PlacedChunk>) {
        while !bytes.is_empty() {
            if appender.writer.as_ref().is_none_or(|writer| writer.room() == 0) {
                let last = appender.writer.as_ref().map_or(0, |writer| writer.chunk().capacity());
                let writer = self.engine.pool.chunk(wanted.max(last * 2).min(CHUNK_BYTES_MAX));
                debug_assert!((appender.end.position as usize).is_multiple_of(IO_ALIGNMENT));
                made.push(PlacedChunk { position: appender.end.position, chunk: Arc::clone(writer.chunk()) });
                appender.writer = Some(writer);
            }
            let Some(writer) = &mut appender.writer else { unreachable!("made above") };
            let copied = writer.append(bytes);
            appender.end.position += copied as u32;
            bytes = &bytes[copied..];
        }
    }
}

/// What is taken off `segment.ms` for one segment, less than the bound: the same whenever it is asked, another for each segment.
fn jitter_ms(tp: TopicPartition, base: Offset, bound: i64) -> i64 {
    if bound <= 0 {
        return 0;
    }
    let topic = tp.topic.0.as_u128();
    let seed = (topic ^ topic >> 64) as u64 ^ base as u64 ^ (tp.partition as u64) << 40;
    // The finish of SplitMix64: near seeds give far values.
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) % bound as u64) as i64
}

fn check_sizes(batches: &[Batch], config: &TopicConfig) -> Result<(), AppendError> {
    if batches.is_empty() {
        return Err(AppendError::Empty);
    }
    for batch in batches {
        let bytes = batch.bytes.len();
        let max = config.max_message_bytes as usize;
        if bytes > max {
            return Err(AppendError::RecordTooLarge { bytes, max });
        }
        let max = config.segment_bytes as usize;
        if bytes > max {
            return Err(AppendError::RecordListTooLarge { bytes, max });
        }
    }
    Ok(())
}

/// Who was verified begins a transaction only where none has ended since.
fn check_verified(batches: &[Batch], producers: &Producers, origin: AppendOrigin) -> Result<(), AppendError> {
    let AppendOrigin::Verified(last_marker) = origin else { return Ok(()) };
    match batches.iter().find(|batch| !producers.is_verified(&batch.header, last_marker)) {
        None => Ok(()),
        Some(batch) => Err(AppendError::Unverified(ProducerId(batch.header.producer_id))),
    }
}

/// A replica's batches follow the end of the log and each other; offsets may be missing between them.
fn check_offsets(batches: &[Batch], end: Offset) -> Result<(), AppendError> {
    if batches.is_empty() {
        return Err(AppendError::Empty);
    }
    let mut expected = end;
    for header in batches.iter().map(|batch| &batch.header) {
        if header.base_offset < expected || header.last_offset_delta < 0 {
            return Err(AppendError::NotNext { base_offset: header.base_offset, end: expected });
        }
        expected = header.next_offset();
    }
    Ok(())
}

/// Attributes and maximum timestamp are under the checksum, so that is computed anew.
fn stamp_log_append_time(header: &mut BatchHeader, bytes: &[u8], now_ms: i64) {
    header.attributes = Attributes(header.attributes.0 | Attributes::TIMESTAMP_TYPE);
    header.max_timestamp = now_ms;
    let mut head = [0; HEADER_LEN];
    header.write(&mut head);
    let crc = checksum::crc32c(&head[CRC_START..]);
    header.crc = checksum::crc32c_append(crc, &bytes[HEADER_LEN..]);
}
