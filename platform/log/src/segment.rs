//! One segment's files: `<base offset>.log` with record batches back to back, `<base offset>.index` and
//! `<base offset>.snapshot` beside it.
//!
//! Compaction writes `<base offset>.cleaned`, which nobody needs before it is renamed to
//! `<base offset>-<end offset>.swap`: from then on it is the segment of all that the segments from the base to before
//! the end held, whatever of those is still there. It gets the segment's name when they are removed.
//!
//! The log file of an active segment is written in whole blocks, so zeros may follow its last batch; a closed
//! one is cut to its length. Positions are those of the first batch's first byte, 0, and so on.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use millrace_base::Offset;
use millrace_base::limits::KIB;
use millrace_disk::{Disk, DiskFile, OpenMode, is_out_of_files, is_passing};
use millrace_protocol::batch::BatchHeader;
use parking_lot::Mutex;

use crate::index::{ClosedIndex, IndexEntry, IndexMark, SparseIndex, file_header, file_position};
use crate::walk::{GAP_OFFSETS_MAX, Walk, WalkError};

/// Bytes between index entries, at least. Finding a batch reads that much, in microseconds; a gibibyte's
/// index stays at 256 KiB.
pub(crate) const INDEX_INTERVAL_BYTES_MIN: u32 = 64 * KIB as u32;

/// Whether a segment with this base may follow one that ends at `end`.
pub(crate) fn follows_on(end: Offset, base: Offset) -> bool {
    base == end || base - end > GAP_OFFSETS_MAX
}

/// What a segment's index says of one that was not compacted.
pub(crate) const CLEAN_NOTHING: u32 = 0;

/// The segments whose files are open, in the order in which they were opened. Ten thousand partitions are more
/// files than a process may have.
pub(crate) struct OpenFiles {
    open: Mutex<VecDeque<Weak<SegmentFile>>>,
    max: usize,
}

impl OpenFiles {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), max: max.max(1) })
    }

    fn note(&self, file: &Arc<SegmentFile>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(file));
        if open.len() <= self.max {
            return;
        }
        let oldest = open.pop_front();
        drop(open);
        if let Some(oldest) = oldest.and_then(|oldest| oldest.upgrade()) {
            // Whoever uses the file right now has its own handle of it.
            oldest.forget();
        }
    }
}

/// A failure of the disk, with what was being done.
#[derive(Debug)]
pub(crate) struct DiskFault {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
    /// It was a sync: what the disk holds is unknown, and a second one may claim what is not so.
    pub in_sync: bool,
}

impl DiskFault {
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source, in_sync: false }
    }

    pub fn of_sync(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source, in_sync: true }
    }

    /// Nothing is lost: the operation may be repeated. A sync that failed is never one of these, but the opening of
    /// what was to be synced may be.
    pub fn is_passing(&self) -> bool {
        is_out_of_files(&self.source) || (!self.in_sync && is_passing(&self.source))
    }
}

impl std::fmt::Display for DiskFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.action, self.path.display(), self.source)
    }
}

/// A segment's files on disk.
pub(crate) struct SegmentFile {
    disk: Arc<dyn Disk>,
    open: Arc<OpenFiles>,
    pub log_path: PathBuf,
    pub index_path: PathBuf,
    pub snapshot_path: PathBuf,
    base_offset: Offset,
    handle: Mutex<Handle>,
    /// Where the log file is until it gets its name.
    swap_path: Mutex<Option<PathBuf>>,
}

enum Handle {
    Closed,
    Open(Arc<dyn DiskFile>),
    /// There is no file, and none is made: another segment may have its name.
    Removed,
}

impl SegmentFile {
    pub fn new(disk: Arc<dyn Disk>, open: Arc<OpenFiles>, dir: &Path, base_offset: Offset) -> Arc<Self> {
        Arc::new(Self {
            disk,
            open,
            log_path: dir.join(format!("{base_offset:020}.log")),
            index_path: dir.join(format!("{base_offset:020}.index")),
            snapshot_path: dir.join(format!("{base_offset:020}.snapshot")),
            base_offset,
            handle: Mutex::new(Handle::Closed),
            swap_path: Mutex::default(),
        })
    }

    /// The file that compaction writes.
    pub fn cleaned_path(&self) -> PathBuf {
        self.log_path.with_extension("cleaned")
    }

    /// The segment's log file is at `swap_path` until [`Self::take_name`].
    pub fn swapped_in(self: Arc<Self>, swap_path: PathBuf) -> Arc<Self> {
        *self.swap_path.lock() = Some(swap_path);
        self
    }

    /// Gives the log file the segment's name. Durable when the directory is synced.
    pub fn take_name(&self) -> io::Result<()> {
        // Held so that nobody opens the one while it becomes the other.
        let _handle = self.handle.lock();
        let mut swap_path = self.swap_path.lock();
        if let Some(path) = &*swap_path {
            self.disk.rename(path, &self.log_path)?;
            *swap_path = None;
        }
        Ok(())
    }

    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The log file for reading and writing, made if there is none. The directory is not synced.
    pub fn log(self: &Arc<Self>) -> io::Result<Arc<dyn DiskFile>> {
        let mut handle = self.handle.lock();
        match &*handle {
            Handle::Open(file) => return Ok(Arc::clone(file)),
            Handle::Removed => return Err(io::ErrorKind::NotFound.into()),
            Handle::Closed => {}
        }
        let mode = OpenMode { create: true, direct: true, ..OpenMode::default() };
        let file = self.disk.open(self.swap_path.lock().as_ref().unwrap_or(&self.log_path), mode)?;
        *handle = Handle::Open(Arc::clone(&file));
        drop(handle);
        self.open.note(self);
        Ok(file)
    }

    /// Adds the bytes of `entries` to the index file behind the entries of `mark`; returns it for its sync.
    pub fn append_index(&self, mark: IndexMark, entries: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&self.index_path, OpenMode { create: true, ..OpenMode::default() })?;
        if mark.count == 0 {
            file.write_all_at(&[&file_header(self.base_offset)], 0)?;
        }
        file.write_all_at(&[entries], file_position(mark.count))?;
        Ok(file)
    }

    /// Cuts the log to its length, completes the index and makes both durable; not their names. An index that finds
    /// no room is left out: who needs it makes it from the segment.
    pub fn close(
        self: &Arc<Self>,
        index: &SparseIndex,
        len: u32,
        max_timestamp_ms: i64,
    ) -> Result<(), DiskFault> {
        let cut = || {
            let log = self.log()?;
            if log.len()? != u64::from(len) {
                log.truncate(u64::from(len))?;
            }
            Ok(log)
        };
        let log = cut().map_err(DiskFault::of("cut segment", &self.log_path))?;
        let index = self.write_closed_index(index, len, max_timestamp_ms, CLEAN_NOTHING);
        let index = self.written_index(index)?;
        log.sync().map_err(DiskFault::of_sync("sync segment", &self.log_path))?;
        self.sync_index(index)
    }

    /// Writes the index of a closed segment durably but for its name, or leaves it out if there is no room.
    pub fn replace_index(
        &self,
        index: &SparseIndex,
        len: u32,
        max_timestamp_ms: i64,
        clean: u32,
    ) -> Result<(), DiskFault> {
        let index = self.write_closed_index(index, len, max_timestamp_ms, clean);
        let index = self.written_index(index)?;
        self.sync_index(index)
    }

    /// `None`: it is left out, for now or for good.
    fn written_index(
        &self,
        written: io::Result<Arc<dyn DiskFile>>,
    ) -> Result<Option<Arc<dyn DiskFile>>, DiskFault> {
        match written {
            Err(error) if is_passing(&error) => Ok(None),
            written => written.map(Some).map_err(DiskFault::of("write index", &self.index_path)),
        }
    }

    fn sync_index(&self, index: Option<Arc<dyn DiskFile>>) -> Result<(), DiskFault> {
        match index {
            Some(index) => index.sync().map_err(DiskFault::of_sync("sync index", &self.index_path)),
            None => Ok(()),
        }
    }

    fn write_closed_index(
        &self,
        index: &SparseIndex,
        len: u32,
        max_timestamp_ms: i64,
        clean: u32,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = index.encode_closed(self.base_offset, len, max_timestamp_ms, clean);
        let file = self.disk.open(&self.index_path, OpenMode { create: true, ..OpenMode::default() })?;
        file.write_all_at(&[&bytes], 0)?;
        file.truncate(bytes.len() as u64)?;
        Ok(file)
    }

    /// The index of a closed segment, from its file or else from the segment itself.
    pub fn closed_index(self: &Arc<Self>, len: u32) -> Result<ClosedIndex, WalkError> {
        let stored =
            self.index_bytes().and_then(|bytes| SparseIndex::decode_closed(&bytes, self.base_offset));
        if let Some(stored) = stored.filter(|stored| stored.segment_len == len) {
            return Ok(stored);
        }
        let builder = self.walk_index(len)?;
        let IndexBuilder { index, max_timestamp_ms, .. } = builder;
        // Held so that it is not written into the place of another segment's.
        let handle = self.handle.lock();
        if !matches!(*handle, Handle::Removed) {
            // Only a cache of what the segment says: without it, the next process does this again.
            let _ = self.write_closed_index(&index, len, max_timestamp_ms, CLEAN_NOTHING);
        }
        drop(handle);
        Ok(ClosedIndex { index, segment_len: len, max_timestamp_ms, clean: CLEAN_NOTHING })
    }

    /// The index of the first `len` bytes of an active segment, and what its file has of it.
    pub fn active_index(
        self: &Arc<Self>,
        len: u32,
        mark: IndexMark,
    ) -> Result<(SparseIndex, IndexMark), WalkError> {
        if mark.count == 0 {
            return Ok((SparseIndex::default(), mark));
        }
        let stored =
            self.index_bytes().and_then(|bytes| SparseIndex::decode_active(&bytes, self.base_offset, mark));
        match stored {
            Some(stored) => Ok((stored, mark)),
            None => Ok((self.walk_index(len)?.index, IndexMark::default())),
        }
    }

    fn walk_index(self: &Arc<Self>, len: u32) -> Result<IndexBuilder, WalkError> {
        let mut builder = IndexBuilder::new(self.base_offset, INDEX_INTERVAL_BYTES_MIN);
        let log = self.log()?;
        let mut walk = Walk::new(&*log, 0, len);
        while let Some((position, header)) = walk.next_header()? {
            builder.add(&header, position);
        }
        Ok(builder)
    }

    fn index_bytes(&self) -> Option<Vec<u8>> {
        self.bytes_of(&self.index_path)
    }

    /// What the snapshot beside the segment holds, if there is one.
    pub fn snapshot_bytes(&self) -> Option<Vec<u8>> {
        self.bytes_of(&self.snapshot_path)
    }

    /// Writes the snapshot, durably but for its name. One that finds no room is left out.
    pub fn write_snapshot(&self, bytes: &[u8]) -> Result<(), DiskFault> {
        let write = || {
            let mode = OpenMode { create: true, ..OpenMode::default() };
            let file = self.disk.open(&self.snapshot_path, mode)?;
            file.truncate(0)?;
            file.write_all_at(&[bytes], 0)?;
            Ok(file)
        };
        match write() {
            Ok(file) => file.sync().map_err(DiskFault::of_sync("sync snapshot", &self.snapshot_path)),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(DiskFault::of("write snapshot", &self.snapshot_path)(error)),
        }
    }

    fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let file = self.disk.open(path, OpenMode::default()).ok()?;
        let mut bytes = vec![0; file.len().ok()? as usize];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// Closes the handle, if one is open.
    pub fn forget(&self) {
        let mut handle = self.handle.lock();
        if matches!(*handle, Handle::Open(_)) {
            *handle = Handle::Closed;
        }
    }

    /// Removes all files. Their absence is durable when the directory is synced.
    pub fn remove(&self) -> io::Result<()> {
        self.retire();
        self.remove_files([&self.snapshot_path, &self.index_path, &self.log_path])
    }

    /// Removes the snapshot alone; who needs it makes it from the segments.
    pub fn remove_snapshot(&self) -> io::Result<()> {
        self.remove_files([&self.snapshot_path])
    }

    /// The segment is none any more: nobody opens its files for it from now on.
    pub fn retire(&self) {
        *self.handle.lock() = Handle::Removed;
    }

    /// Removes what another segment of the same base takes the place of: the snapshot is that one's, too.
    pub fn remove_replaced(&self) -> io::Result<()> {
        self.remove_files([&self.index_path, &self.log_path])
    }

    fn remove_files<const N: usize>(&self, paths: [&PathBuf; N]) -> io::Result<()> {
        for path in paths {
            match self.disk.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Index entries of batches that are added one after the other.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    pub index: SparseIndex,
    pub max_timestamp_ms: i64,
    base_offset: Offset,
    interval_bytes: u32,
}

impl IndexBuilder {
    pub fn new(base_offset: Offset, interval_bytes: u32) -> Self {
        Self { index: SparseIndex::default(), max_timestamp_ms: -1, base_offset, interval_bytes }
    }

    /// Goes on with an index of what is there already.
    pub fn resume(index: SparseIndex, max_timestamp_ms: i64, base_offset: Offset) -> Self {
        Self { index, max_timestamp_ms, base_offset, interval_bytes: INDEX_INTERVAL_BYTES_MIN }
    }

    pub fn add(&mut self, header: &BatchHeader, position: u32) {
        // A segment ends before an offset is further from its base than 31 bits.
        let relative_offset = u32::try_from(header.base_offset - self.base_offset).unwrap_or(u32::MAX);
        let entry = IndexEntry { relative_offset, position, max_timestamp_before_ms: self.max_timestamp_ms };
        self.index.note(entry, self.interval_bytes);
        // One that compaction has emptied has no record of that time.
        if header.record_count > 0 {
            self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp);
        }
    }
}
