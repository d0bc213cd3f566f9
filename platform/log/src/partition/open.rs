//! Making a partition: empty, or of what recovery found; and replaying the write-ahead log into it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};

use millrace_base::limits::IO_ALIGNMENT;
use millrace_base::{LeaderEpoch, Offset, TopicPartition};
use millrace_config::TopicConfig;
use millrace_protocol::batch::{BatchHeader, HEADER_LEN};
use parking_lot::{Mutex, RwLock};

use super::segment_io::{DirState, Swap};
use super::state::{LogPosition, Segment, State};
use super::{Appender, PartitionLog, SegmentIo};
use crate::commit::{Engine, Heat};
use crate::history::History;
use crate::index::{IndexMark, SparseIndex};
use crate::segment::{CLEAN_NOTHING, IndexBuilder, SegmentFile, follows_on};
use crate::tail::{CHUNK_BYTES_MIN, PlacedChunk, SegmentTail};
use crate::transactions::Unstable;
use crate::wal::format::EntryHeader;

/// A segment that recovery found.
pub(crate) struct RecoveredSegment {
    pub base: Offset,
    pub len: u32,
    pub file: Arc<SegmentFile>,
    /// `None`: closed, its index is on disk.
    pub index: Option<IndexBuilder>,
    pub index_mark: IndexMark,
    /// See [`Segment::snapshot`].
    pub snapshot: Option<Vec<u8>>,
}

/// A partition as recovery found it.
#[derive(Default)]
pub(crate) struct Recovered {
    /// The last one is active and has its index loaded. None at all: an empty partition.
    pub segments: Vec<RecoveredSegment>,
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub end: Offset,
    pub history: History,
    /// The bytes of the active segment's last block, if that is not full.
    pub last_block: Vec<u8>,
    pub dir: DirState,
    /// From this segment on all but the active one are to be closed: the last process may not have come to it.
    pub close_from: Option<Offset>,
    /// What was read but need not be durable yet, or was cut.
    pub unsynced: Vec<Arc<SegmentFile>>,
    /// Files were removed, and the directory is not synced.
    pub names: bool,
    /// A segment that compaction has swapped in and that has not got its name yet.
    pub unnamed: Option<Arc<SegmentFile>>,
    /// The checkpoint on disk needs the segments from here on.
    pub needed_from: Option<Offset>,
    /// See [`State::first_group`].
    pub first_group: u64,
}

/// Why entries of the write-ahead log do not fit a partition.
#[derive(Debug, thiserror::Error)]
#[error("it holds offset {found} of partition {tp}, whose records end at {end}")]
pub(crate) struct ReplayGap {
    tp: TopicPartition,
    found: Offset,
    end: Offset,
}

impl PartitionLog {
    pub(crate) fn open(engine: &Arc<Engine>, tp: TopicPartition, recovered: Recovered) -> Arc<Self> {
        let dir = engine.partition_dir(tp);
        let now_ms = engine.clock.now_ms();
        Arc::new_cyclic(|me| {
            let mut segments: VecDeque<Segment> =
                recovered.segments.into_iter().map(|found| segment(found, now_ms)).collect();
            if segments.is_empty() {
                segments.push_back(segment(first_segment(engine, &dir, recovered.end), now_ms));
            }
            let active = segments.back_mut().expect("one was pushed if there was none");
            let end = LogPosition {
                offset: recovered.end,
                segment: active.base,
                position: active.len,
                total: 0,
                cuts: 0,
            };
            let writer = (!recovered.last_block.is_empty()).then(|| {
                let mut chunk = engine.pool.chunk(CHUNK_BYTES_MIN);
                chunk.append(&recovered.last_block);
                let position = end.position - end.position % IO_ALIGNMENT as u32;
                active.tail.chunks.push_back(PlacedChunk { position, chunk: Arc::clone(chunk.chunk()) });
                chunk
            });
            let mut flushed = end;
            if let Some(base) = recovered.close_from.filter(|base| *base != end.segment) {
                let len = segments.iter().find(|segment| segment.base == base).map_or(0, |s| s.len);
                flushed = LogPosition { segment: base, position: len, ..end };
            }
            let state = State {
                segments,
                end,
                committed: end,
                flushed,
                in_flight: None,
                queued: false,
                stalled: false,
                unsure: false,
                deleted: false,
                swaps: 0,
                evictable: false,
                heat: Heat::default(),
                version: 1,
                first_group: recovered.first_group,
            };
            let latest = recovered.history.epochs.latest().unwrap_or(LeaderEpoch::UNKNOWN);
            let unstable = Unstable::of(recovered.history.producers.first_open_transaction());
            let appender = Appender {
                config: Arc::new(TopicConfig::default()),
                history: recovered.history,
                end,
                writer,
                closed: false,
            };
            let high_watermark = recovered.high_watermark.max(recovered.log_start).min(recovered.end);
            let mut io = SegmentIo::recovered(recovered.dir, recovered.names, recovered.unsynced);
            io.swap = recovered.unnamed.map(Swap::unnamed);
            Self {
                tp,
                dir,
                me: me.clone(),
                engine: Arc::clone(engine),
                segment_io: Mutex::new(io),
                appender: Mutex::new(appender),
                state: Mutex::new(state),
                config: RwLock::new(None),
                listener: RwLock::new(None),
                log_start: AtomicI64::new(recovered.log_start),
                durable_end: AtomicI64::new(recovered.end),
                log_end: AtomicI64::new(recovered.end),
                high_watermark: AtomicI64::new(high_watermark),
                first_unstable: AtomicI64::new(unstable.first()),
                unstable: Mutex::new(unstable),
                leader_epoch: AtomicI32::new(latest.0),
                checkpointed_version: AtomicU64::new(0),
                checkpointed_high_watermark: AtomicI64::new(-1),
                checkpointed_segment: AtomicI64::new(recovered.needed_from.unwrap_or(-1)),
            }
        })
    }

    /// Appends what an entry of the write-ahead log holds and the segment does not. Returns the bytes.
    pub(crate) fn replay(&self, entry: &EntryHeader, mut bytes: &[u8]) -> Result<u64, ReplayGap> {
        let mut appender = self.appender.lock();
        let now_ms = self.engine.clock.now_ms();
        let end = appender.end.offset;
        if entry.base_offset > end && !(entry.position == 0 && follows_on(end, entry.segment)) {
            return Err(ReplayGap { tp: self.tp, found: entry.base_offset, end });
        }
        let mut position = entry.position;
        let mut replayed = 0;
        while !bytes.is_empty() {
            let end = appender.end;
            let gap = |found| ReplayGap { tp: self.tp, found, end: end.offset };
            let header = BatchHeader::parse(bytes).map_err(|_| gap(entry.base_offset))?;
            let Some(batch) = bytes.split_off(..header.total_len()) else {
                return Err(gap(header.base_offset));
            };
            if header.last_offset_delta < 0 || header.next_offset() > entry.end_offset {
                return Err(gap(header.base_offset));
            }
            if header.next_offset() > end.offset {
                if entry.segment > end.segment && position == 0 && follows_on(end.offset, entry.segment) {
                    self.roll(&mut appender, entry.segment, now_ms);
                }
                let end = appender.end;
                let fits = entry.segment == end.segment && position == end.position;
                if !fits || header.base_offset < end.offset {
                    return Err(gap(header.base_offset));
                }
                self.append_one(&mut appender, &header, &batch[HEADER_LEN..], now_ms);
                replayed += batch.len() as u64;
            }
            position += batch.len() as u32;
        }
        let end = appender.end;
        self.set_leader_epoch(appender.history.epochs.latest().unwrap_or(LeaderEpoch::UNKNOWN));
        drop(appender);
        self.replayed(end);
        Ok(replayed)
    }

    /// What was replayed is durable where it came from.
    fn replayed(&self, end: LogPosition) {
        let bytes = {
            let mut state = self.state.lock();
            let bytes = end.total - state.committed.total;
            state.committed = end;
            bytes
        };
        self.durable_end.store(end.offset, Ordering::Release);
        self.engine.committed(bytes);
    }

    pub(crate) fn first_group(&self) -> u64 {
        self.state.lock().first_group
    }

    pub(crate) fn has_dir(&self) -> bool {
        self.segment_io.lock().dir != DirState::Missing
    }
}

fn segment(recovered: RecoveredSegment, now_ms: i64) -> Segment {
    Segment {
        base: recovered.base,
        file: recovered.file,
        len: recovered.len,
        recovered: recovered.len,
        index: recovered.index,
        index_mark: recovered.index_mark,
        clean: CLEAN_NOTHING,
        ended: None,
        snapshot: recovered.snapshot,
        tail: SegmentTail::default(),
        // The first append is not known; counting from the restart delays a roll by time.
        created_ms: now_ms,
        modified_ms: None,
    }
}

fn first_segment(engine: &Engine, dir: &Path, base: Offset) -> RecoveredSegment {
    let file = SegmentFile::new(Arc::clone(&engine.disk), Arc::clone(&engine.open_files), dir, base);
    let index = Some(IndexBuilder::resume(SparseIndex::default(), -1, base));
    RecoveredSegment { base, len: 0, file, index, index_mark: IndexMark::default(), snapshot: None }
}
