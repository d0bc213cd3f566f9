//! The port to the disk: what a broker asks of a file system, and no more.
//!
//! [`RealDisk`] is the operating system's, [`sim::SimDisk`] loses power, fills up and runs out of files when told
//! to. Both pass the same conformance suite. Rules to rely on:
//! - bytes written are durable after [`DiskFile::sync`] of the file returns, or after the write itself where
//!   the file was opened [`OpenMode::durable`]; until then each sector may hold the old or the new bytes;
//! - names (created, renamed, removed) are durable after [`Disk::sync_dir`] of their directory;
//! - [`Disk::sync_all`] does both for everything;
//! - a call that a signal interrupts is repeated here, not by the caller.
//!
//! A file that is replaced as a whole is replaced by [`replace()`]: there is no second way. A directory that has to be
//! there after a crash is made by [`make_dir`]. Nobody here knows what the files mean.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_base::FileSource;

mod aligned;
mod real;
mod replace;
mod reserve;
pub mod sim;
mod whole;
pub use aligned::AlignedBuffer;
pub use real::RealDisk;
pub use replace::{publish, replace};
pub use reserve::{Need, Reserve};
pub use whole::{make_dir, read};

/// Whether an error of the system's passes by itself, so that the operation is repeated: the disk is full, the
/// process or the system has no file or no memory left. After any other what the disk holds is unknown.
///
/// Not so for a sync that reports one of these: the system may have dropped what it could not write and call the
/// next sync a success. Only who writes all that was not synced once more may repeat it. Where files ran out it was
/// the opening ([`is_out_of_files`]), before anything was synced.
pub fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::OutOfMemory) || is_full(error) || is_out_of_files(error)
}

/// There is no room on the disk, or none left for this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The process or the system may open no more files. Only opening one reports it, so nothing else has happened.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What an operator can do about an error that passes.
pub fn way_out(error: &io::Error) -> &'static str {
    if is_full(error) {
        "free some space, delete topics or records, or lower retention"
    } else if is_out_of_files(error) {
        "raise the limit of open files (ulimit -n, fs.file-max), or have fewer connections or partitions"
    } else {
        "give the system more memory, or end what takes it"
    }
}

/// How a file is opened; for reading and writing, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Make the file; one that exists is an error.
    pub create_new: bool,
    /// Make the file if there is none.
    pub create: bool,
    /// Bypass the page cache where the file system can. Writes are then whole multiples of
    /// [`millrace_base::limits::IO_ALIGNMENT`] in address, position and length; reads go through the cache
    /// all the same and see what was written.
    pub direct: bool,
    /// Each write is durable when it returns.
    pub durable: bool,
    /// Only reading, which a file allows that is not ours.
    pub read_only: bool,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Length of a file.
    pub len: u64,
}

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory and those above it that are missing.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// The entries of a directory, ordered by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Renames a file or directory within its directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything durable in the file system that holds `path`.
    fn sync_all(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock file at `path` until the guard is dropped. `Err(AlreadyExists)` when another process
    /// has it; the error's text is then what [`Disk::lock`] of that process wrote: its process id.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Random bits that nobody outside can foresee, others with each call.
    fn entropy(&self) -> u128;
}

/// An open file. All methods take positions; there is no cursor.
pub trait DiskFile: FileSource {
    /// Writes all of `pieces`, one after the other, from `position` on.
    fn write_all_at(&self, pieces: &[&[u8]], position: u64) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes and returns how many there were; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Makes the file's bytes and length durable, not its name.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Extends the file to `len` bytes that have their room on the disk. After an error it may be longer than
    /// before.
    fn allocate(&self, len: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    /// When its bytes were changed last, in milliseconds since 1970.
    fn modified_ms(&self) -> io::Result<i64>;

    /// Says that they were changed at this time. Not durable, and of no use where a crash must not undo it.
    fn set_modified_ms(&self, ms: i64) -> io::Result<()>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
