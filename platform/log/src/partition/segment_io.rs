//! What of a partition's files is not as it is to be: not durable yet, or still there after it was taken back.

use std::sync::Arc;

use millrace_disk::DiskFile;

use crate::segment::{IndexBuilder, SegmentFile};
use crate::wal::format::EntryHeader;

/// How much of a partition's files is not durable. Its lock is held while segments are written.
#[derive(Default)]
pub(crate) struct SegmentIo {
    pub logs: Vec<Arc<SegmentFile>>,
    pub indexes: Vec<Arc<dyn DiskFile>>,
    /// Files were made since the partition's directory was synced.
    pub names: bool,
    pub dir: DirState,
    /// What was taken back and may still be in segments.
    pub leftovers: Option<Leftovers>,
    /// What compaction has put in the place of others that may still be there.
    pub swap: Option<Swap>,
}

/// The partition's own directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DirState {
    /// There is none: it is made with the first segment.
    #[default]
    Missing,
    /// Made, but its name is not durable yet.
    Made,
    Durable,
}

impl SegmentIo {
    pub fn recovered(dir: DirState, names: bool, unsynced: Vec<Arc<SegmentFile>>) -> Self {
        let names = names || !unsynced.is_empty();
        Self { names, logs: unsynced, indexes: Vec::new(), dir, leftovers: None, swap: None }
    }

    pub fn unsynced_files(&self) -> usize {
        let names = usize::from(self.names) + usize::from(self.dir == DirState::Made);
        self.logs.len() + self.indexes.len() + names
    }

    /// Everything was made durable by a sync of the whole file system.
    pub fn synced(&mut self) {
        self.logs.clear();
        self.indexes.clear();
        self.names = false;
        if self.dir == DirState::Made {
            self.dir = DirState::Durable;
        }
    }

    /// All that was not taken back is durable.
    pub fn taken_back(&mut self, leftovers: Option<Leftovers>) {
        self.logs.clear();
        self.indexes.clear();
        self.leftovers = leftovers;
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What was taken back and may still be in files.
pub(crate) struct Leftovers {
    /// Says that they are gone.
    pub gone: EntryHeader,
    /// Segments that are none any more, oldest first.
    pub files: Vec<Arc<SegmentFile>>,
    /// The segment that the log was cut in.
    pub cut: Option<CutSegment>,
    /// The segment that begins there, with its snapshot.
    pub next: Arc<SegmentFile>,
    pub snapshot: Vec<u8>,
    pub are_removed: bool,
}

pub(crate) struct CutSegment {
    pub file: Arc<SegmentFile>,
    pub len: u32,
    pub index: IndexBuilder,
}

/// A segment that compaction has put in the place of others.
pub(crate) struct Swap {
    pub file: Arc<SegmentFile>,
    /// The index with the segment's length, and how much of it is clean, to be written. `None`: who needs it makes it.
    pub index: Option<(IndexBuilder, u32, u32)>,
    /// What it stands for, from the one with its base on.
    pub replaced: Vec<Arc<SegmentFile>>,
    pub are_removed: bool,
}

impl Swap {
    /// The segment only waits for its name.
    pub fn unnamed(file: Arc<SegmentFile>) -> Self {
        Self { file, index: None, replaced: Vec::new(), are_removed: true }
    }
}
