//! Compaction: of each key the newest record is left (`cleanup.policy=compact`).
//!
//! A run of a partition is: what may be compacted is [planned](plan); a [map](offset_map) takes the newest offset of each
//! key of the records that are not clean yet, as many as its memory holds; then all segments from the first one to
//! where the map ends are read and written anew without what the [rules](filter) let go, several small ones as one; and
//! each that is written is put in the place of the old, see `partition/compacting.rs`, which owns that.
//!
//! Where more keys are not clean than the map holds, a run gets as far as it holds, and the next one goes on there.
//!
//! Invariants: only closed segments below the last stable offset are read, which the last checkpoint does not need; every
//! segment ends with the batch that it ended with, emptied if need be, so that a log that was compacted is known to be
//! whole by its batches alone; offsets, producers' numbers and times stay what they are. Nothing here changes a log: what
//! is written is a file of its own until it is swapped in. A compaction never takes from the reserve of a full disk.

pub(crate) mod budget;
pub(crate) mod cleaner;
mod filter;
mod offset_map;
pub(crate) mod plan;
mod reader;
mod transactions;
mod writer;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_base::Offset;
use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_disk::{DiskFile, is_passing};
use millrace_protocol::batch::Batch;

pub(crate) use filter::LastBatches;

use crate::segment::{DiskFault, INDEX_INTERVAL_BYTES_MIN, IndexBuilder};
use crate::walk::{GAP_OFFSETS_MAX, WalkError};
use filter::{Filter, Left, Place};
use offset_map::OffsetMap;
use plan::{Cleanable, Source};
use reader::BatchReader;
use transactions::{Marker, Transactions};
use writer::BlockWriter;

/// Why a run has ended early. What was swapped in before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    /// The log was cut back, trimmed or deleted meanwhile, or the engine stops; another run begins anew.
    #[error("the log has changed or is about to be closed")]
    Interrupted,
    /// There is too little of something for now, room on the disk most often.
    #[error("{0}")]
    Waits(DiskFault),
    /// The partition is not compacted any more: a segment is not what it is to be, or cannot be read.
    #[error("{} at byte {position}: {reason}", path.display())]
    Unreadable { path: PathBuf, position: u32, reason: String },
    /// What was to be compacted could not be written.
    #[error("{0}")]
    Unwritable(DiskFault),
    /// A sync of the partition's own files or names failed, after which nothing is known of them.
    #[error("{0}")]
    Failed(DiskFault),
}

impl CompactError {
    /// A failed write or sync of a file that is not part of the log yet.
    pub fn of_new_file(fault: DiskFault) -> Self {
        if is_passing(&fault.source) { Self::Waits(fault) } else { Self::Unwritable(fault) }
    }

    fn of_source(source: &Source, error: WalkError) -> Self {
        let path = source.file.log_path.clone();
        match error {
            WalkError::Io(error) if is_passing(&error) => {
                Self::Waits(DiskFault::of("read segment", &path)(error))
            }
            // Only retention and deletion remove a file that is still in use.
            WalkError::Io(error) if error.kind() == io::ErrorKind::NotFound => Self::Interrupted,
            WalkError::Io(error) => Self::Unreadable { path, position: 0, reason: error.to_string() },
            WalkError::Damaged { position, reason } => Self::Unreadable { path, position, reason },
        }
    }
}

/// Told of every byte that is read and written; waits where the budget says so, and refuses to go on where the run
/// is to end.
pub(crate) trait Pace {
    fn read(&mut self, bytes: u64) -> Result<(), CompactError>;
    fn written(&mut self, bytes: u64) -> Result<(), CompactError>;
}

/// A run that has its map and goes through the log's segments.
pub(crate) struct Run<'a> {
    cleanable: &'a Cleanable,
    map: &'a OffsetMap,
    filter: Filter<'a>,
}

/// The newest offset of each key that is not clean, in at most `bytes` of memory.
pub(crate) struct Newest(OffsetMap);

impl Newest {
    pub fn read(cleanable: &Cleanable, bytes: u64, pace: &mut dyn Pace) -> Result<Self, CompactError> {
        let start = cleanable.dirty_from();
        let mut map = OffsetMap::new(bytes, cleanable.dirty_records(), start);
        let mut transactions = Transactions::new(&cleanable.aborted, start);
        for source in cleanable.sources.iter().filter(|source| source.end > start) {
            let failed = |error| CompactError::of_source(source, error);
            let log = source.file.log().map_err(|error| failed(error.into()))?;
            let from = if source.base < start { source.dirty_position } else { 0 };
            let mut reader = BatchReader::new(&*log, from, source.len);
            while let Some(batch) = next(&mut reader, source, pace)? {
                let is_whole = put_all(&mut map, &batch, start, &mut transactions)
                    .map_err(|reason| failed(WalkError::Damaged { position: reader.position(), reason }))?;
                if !is_whole {
                    return Ok(Self(map));
                }
            }
            map.reached(source.end);
        }
        Ok(Self(map))
    }

    /// Everything below is clean after the run.
    pub fn end(&self) -> Offset {
        self.0.end()
    }

    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// Puts the keys of a batch from offset `start` on. False: there is no room for all of them.
fn put_all(
    map: &mut OffsetMap,
    batch: &Batch,
    start: Offset,
    transactions: &mut Transactions,
) -> Result<bool, String> {
    let header = &batch.header;
    // What was aborted is no newer record of its key.
    let counts = match header.attributes.is_control() {
        true => {
            transactions.is_ended_empty(header, Marker::Abort);
            false
        }
        false => !transactions.is_aborted(header),
    };
    if counts && header.record_count > 0 {
        let records = batch.records(BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
        for record in &records {
            let record = record.map_err(|error| error.to_string())?;
            let Some(key) = record.key.filter(|_| record.offset >= start) else { continue };
            if !map.put(key, record.offset) {
                return Ok(false);
            }
        }
    }
    map.reached(header.next_offset());
    Ok(true)
}

/// A segment that was written anew, and what is known of it.
pub(crate) struct Cleaned {
    /// The numbers of the segments of which it is made.
    pub sources: Range<usize>,
    pub len: u32,
    pub index: IndexBuilder,
    /// How old the newest of its sources' records was.
    pub newest_ms: i64,
    /// Nothing was left out: it is the same as its one source.
    pub is_same: bool,
}

impl<'a> Run<'a> {
    pub fn new(cleanable: &'a Cleanable, newest: &'a Newest, now_ms: i64) -> Self {
        let (aborted, last) = (&cleanable.aborted, &cleanable.last_batches);
        let filter = Filter::new(&newest.0, aborted, last, now_ms, cleanable.delete_retention_ms);
        Self { cleanable, map: &newest.0, filter }
    }

    /// How many segments are to be gone through.
    pub fn segments(&self) -> usize {
        self.cleanable.below(self.map.end())
    }

    /// Writes what is left of segment `first`, and of those after it that become one with it, into `file`, which is
    /// empty; durably but for its name.
    pub fn write(
        &mut self,
        first: usize,
        file: &Arc<dyn DiskFile>,
        pace: &mut dyn Pace,
    ) -> Result<Cleaned, CompactError> {
        let cleanable = self.cleanable;
        let mut output = Output::new(&cleanable.sources[first], file);
        let mut number = first;
        loop {
            let source = &cleanable.sources[number];
            let log = source.file.log().map_err(|error| CompactError::of_source(source, error.into()))?;
            let mut reader = BatchReader::new(&*log, 0, source.len);
            // A batch is judged when the next one is known.
            let Some(mut batch) = next(&mut reader, source, pace)? else {
                let reason = "it holds no batch".to_owned();
                return Err(CompactError::of_source(source, WalkError::Damaged { position: 0, reason }));
            };
            while let Some(after) = next(&mut reader, source, pace)? {
                self.judge(&mut output, source, &batch, after.header.base_offset, pace)?;
                batch = after;
            }
            let bytes = output.writer.len() + batch.bytes.len() as u64;
            let goes_on = number + 1 < self.segments() && cleanable.joins(first, number + 1, bytes);
            let after = if goes_on { source.end } else { Offset::MAX };
            self.judge(&mut output, source, &batch, after, pace)?;
            number += 1;
            if !goes_on {
                break;
            }
        }
        output.finish(&cleanable.sources, first..number, pace)
    }

    /// Adds what is left of a batch to `output`, where the next one begins at `next_base`; `Offset::MAX`: there is none.
    fn judge(
        &mut self,
        output: &mut Output<'_>,
        source: &Source,
        batch: &Batch,
        next_base: Offset,
        pace: &mut dyn Pace,
    ) -> Result<(), CompactError> {
        let place = if next_base - output.end > GAP_OFFSETS_MAX { Place::Held } else { Place::Free };
        let left = self.filter.left_of(batch, place).map_err(|error| CompactError::Unreadable {
            path: source.file.log_path.clone(),
            position: 0,
            reason: format!("the batch at offset {}: {error}", batch.header.base_offset),
        })?;
        output.is_changed |= left != Left::Whole;
        match left {
            Left::Whole => output.add(batch, pace),
            Left::Part(part) => output.add(&part, pace),
            Left::Nothing => Ok(()),
        }
    }
}

fn next(
    reader: &mut BatchReader<'_>,
    source: &Source,
    pace: &mut dyn Pace,
) -> Result<Option<Batch>, CompactError> {
    let read = reader.next().map_err(|error| CompactError::of_source(source, error))?;
    pace.read(reader.take_read())?;
    Ok(read)
}

/// A segment in the making.
struct Output<'a> {
    first: &'a Source,
    file: &'a Arc<dyn DiskFile>,
    writer: BlockWriter,
    index: IndexBuilder,
    /// After the last batch.
    end: Offset,
    is_changed: bool,
}

impl<'a> Output<'a> {
    fn new(first: &'a Source, file: &'a Arc<dyn DiskFile>) -> Self {
        Self {
            first,
            file,
            writer: BlockWriter::new(Arc::clone(file)),
            index: IndexBuilder::new(first.base, INDEX_INTERVAL_BYTES_MIN),
            end: first.base,
            is_changed: false,
        }
    }

    fn fault(&self, error: io::Error) -> CompactError {
        CompactError::of_new_file(DiskFault::of("write what is compacted of", &self.first.file.log_path)(
            error,
        ))
    }

    fn add(&mut self, batch: &Batch, pace: &mut dyn Pace) -> Result<(), CompactError> {
        let position = self.writer.len();
        if position + batch.bytes.len() as u64 > u64::from(u32::MAX) {
            return Err(CompactError::Unreadable {
                path: self.first.file.log_path.clone(),
                position: u32::MAX,
                reason: "compacted it is longer than a segment can be".to_owned(),
            });
        }
        self.index.add(&batch.header, position as u32);
        self.end = batch.header.next_offset();
        let written = self.writer.write(&batch.bytes).map_err(|error| self.fault(error))?;
        if written > 0 { pace.written(written) } else { Ok(()) }
    }

    /// What is the same as its source is not swapped in, so it need not be durable.
    fn finish(
        self,
        all: &[Source],
        sources: Range<usize>,
        pace: &mut dyn Pace,
    ) -> Result<Cleaned, CompactError> {
        let is_same = sources.len() == 1 && !self.is_changed;
        let Self { first, file, writer, index, .. } = self;
        let fault = DiskFault::of("write what is compacted of", &first.file.log_path);
        let len = writer.len() as u32;
        let newest_ms = all[sources.clone()].iter().map(|source| source.newest_ms).max().unwrap_or(0);
        if !is_same {
            let finished = writer.finish().and_then(|written| {
                if index.max_timestamp_ms < 0 {
                    // Without a record that has a time, retention goes by when it was written to.
                    file.set_modified_ms(newest_ms)?;
                }
                file.sync()?;
                Ok(written)
            });
            pace.written(finished.map_err(|error| CompactError::of_new_file(fault(error)))?)?;
        }
        Ok(Cleaned { sources, len, index, newest_ms, is_same })
    }
}
