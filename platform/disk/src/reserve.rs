//! Room on the disk that is kept for the way back from a full one.
//!
//! A file of real blocks. Who must write so that room can be made (metadata that note a deletion, a checkpoint that
//! lets segments go) gives a part of it up when the disk is full, and writes again. The reserve is made whole when
//! there is room; until then nobody takes new records, so that what was given up is not filled with them.
//!
//! It has an end. The last parts are only for what is small ([`Need::Control`]), so a large flush cannot take what a
//! deletion needs. Nothing here is durable or has to be: a reserve that a crash has unmade is made again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{Disk, OpenMode, RealDisk, is_full};

/// How many parts the reserve is given up in.
const PARTS: u64 = 16;
/// How many of them are for control alone.
const CONTROL_PARTS: u64 = 4;

const _: () = assert!(CONTROL_PARTS < PARTS);

/// What room is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Few bytes without which nothing can be deleted: metadata, checkpoints.
    Control,
    /// Records on their way from the write-ahead log to their segments, so that a checkpoint can be taken.
    Data,
}

type Watcher = Box<dyn Fn() + Send + Sync>;

/// The reserve of one data directory.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    /// What there is of it.
    held: AtomicU64,
    /// Held while it is changed.
    changing: Mutex<()>,
    watcher: Mutex<Option<Watcher>>,
}

impl Reserve {
    /// The reserve of `bytes` at `path`. Nothing is touched before it is [restored](Self::restore).
    pub fn new(disk: Arc<dyn Disk>, path: &Path, bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            disk,
            path: path.to_owned(),
            bytes,
            held: AtomicU64::new(0),
            changing: Mutex::new(()),
            watcher: Mutex::new(None),
        })
    }

    /// No reserve: it is whole, and there is nothing to give up.
    pub fn none() -> Arc<Self> {
        Self::new(Arc::new(RealDisk), Path::new(""), 0)
    }

    /// Has `watcher` called whenever a part is given up; one watcher, the last one set.
    pub fn watch(&self, watcher: impl Fn() + Send + Sync + 'static) {
        *self.watcher.lock() = Some(Box::new(watcher));
    }

    pub fn is_whole(&self) -> bool {
        self.held_bytes() == self.bytes
    }

    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// Does `write`; as long as it finds the disk full, a part of the reserve is given up and it is done again. So
    /// it must be sound to repeat. Its last error, if there was nothing left to give.
    pub fn with_room<T>(&self, need: Need, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match write() {
                Err(error) if is_full(&error) && self.give_up(need) => {}
                outcome => return outcome,
            }
        }
    }

    /// Makes the reserve whole as far as there is room, and says whether it is.
    pub fn restore(&self) -> io::Result<bool> {
        if self.is_whole() {
            return Ok(true);
        }
        let _changing = self.changing.lock();
        let file = self.disk.open(&self.path, OpenMode { create: true, ..OpenMode::default() });
        let file = match file {
            Err(error) if is_full(&error) => return Ok(false),
            file => file?,
        };
        if file.len()? > self.bytes {
            // The setting was larger before.
            file.truncate(self.bytes)?;
        }
        while self.held_bytes() < self.bytes {
            // In parts: of what does not fit as a whole, as much as does.
            let next = (self.held_bytes() + self.part()).min(self.bytes);
            match file.allocate(next) {
                Err(error) if is_full(&error) => {
                    // What it has of this part nobody would know to give up.
                    file.truncate(self.held_bytes())?;
                    return Ok(false);
                }
                allocated => allocated?,
            }
            self.held.store(next, Ordering::Release);
        }
        Ok(true)
    }

    /// Gives up a part, for a write that found the disk full. False: there is none left for this need.
    pub fn give_up(&self, need: Need) -> bool {
        let floor = match need {
            Need::Control => 0,
            Need::Data => (CONTROL_PARTS * self.part()).min(self.bytes),
        };
        let given = {
            let _changing = self.changing.lock();
            let held = self.held_bytes();
            let rest = held.saturating_sub(self.part()).max(floor);
            held > rest && self.shrink(rest).is_ok()
        };
        if given && let Some(watcher) = &*self.watcher.lock() {
            watcher();
        }
        given
    }

    fn shrink(&self, rest: u64) -> io::Result<()> {
        self.disk.open(&self.path, OpenMode::default())?.truncate(rest)?;
        self.held.store(rest, Ordering::Release);
        Ok(())
    }

    fn part(&self) -> u64 {
        self.bytes.div_ceil(PARTS)
    }
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .field("held", &self.held_bytes())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes of the reserve {}", self.held_bytes(), self.bytes, self.path.display())
    }
}
