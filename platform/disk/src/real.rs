//! The operating system's file system: direct I/O where it is had, the page cache with data syncs elsewhere.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use millrace_base::FileSource;
use millrace_base::limits::KIB;
use rustix::fs::FallocateFlags;

use crate::{DirEntry, Disk, DiskFile, OpenMode};

/// Slices that one vectored write may carry (`IOV_MAX`).
const SLICES_MAX: usize = 1024;
/// Zeros that are written at once where a file system allocates no room by itself.
const ZEROS_BYTES: usize = 256 * KIB;

/// The file system that the process sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let cached = options(mode).open(path)?;
        let direct = if mode.direct { open_direct(path, mode)? } else { None };
        // Without O_DSYNC on the handle that writes, a durable write is a write and a data sync.
        let sync_each = mode.durable && direct.is_none();
        Ok(Arc::new(RealFile { cached, direct, sync_each }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata()?;
            entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
        }
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let dir = File::open(path)?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::syncfs(&dir))?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // In place and of one length: on a full disk its room is not given away, and a new file may do without.
        let _ = writeln!(file, "{:<10}", std::process::id());
        Ok(Box::new(file))
    }

    fn entropy(&self) -> u128 {
        // 122 bits of the operating system's.
        uuid::Uuid::new_v4().as_u128()
    }
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    // What is stored is its user's alone.
    options.read(true).write(!mode.read_only).create_new(mode.create_new).create(mode.create).mode(0o600);
    options
}

/// A second handle that bypasses the page cache; `None` where the file system refuses (tmpfs, some others).
fn open_direct(path: &Path, mode: OpenMode) -> io::Result<Option<File>> {
    let durable = if mode.durable { libc::O_DSYNC } else { 0 };
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | durable).open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file with up to two handles: reads, lengths and `sendfile` use the page cache, aligned writes of a
/// file opened for direct I/O bypass it. The kernel keeps both views coherent; no cached page is ever dirty
/// where a direct write goes, because a file is written through one of the two only (truncations are synced).
struct RealFile {
    cached: File,
    direct: Option<File>,
    sync_each: bool,
}

impl FileSource for RealFile {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.cached.read_exact_at(buffer, position)
    }

    fn as_raw_fd(&self) -> Option<RawFd> {
        Some(self.cached.as_raw_fd())
    }
}

fn write_cached(file: &File, pieces: &[&[u8]], mut position: u64) -> io::Result<()> {
    for piece in pieces {
        file.write_all_at(piece, position)?;
        position += piece.len() as u64;
    }
    Ok(())
}

impl DiskFile for RealFile {
    fn write_all_at(&self, pieces: &[&[u8]], position: u64) -> io::Result<()> {
        let writer = self.direct.as_ref().unwrap_or(&self.cached);
        let mut slices: Vec<IoSlice<'_>> =
            pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        let mut position = position;
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(SLICES_MAX)];
            match rustix::io::pwritev(writer, batch, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                // A file system that opens a file for direct I/O but does not take the write that way.
                Err(rustix::io::Errno::INVAL) if self.direct.is_some() => {
                    let bytes: Vec<&[u8]> = rest.iter().map(|slice| &**slice).collect();
                    write_cached(&self.cached, &bytes, position)?;
                    return self.cached.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.sync_each { self.sync() } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.cached.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.direct.as_ref().unwrap_or(&self.cached).sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.cached.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let all = || rustix::fs::fallocate(&self.cached, FallocateFlags::empty(), 0, len);
        match rustix::io::retry_on_intr(all) {
            // Some file systems cannot; zeros take room as well.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; ZEROS_BYTES];
                let mut position = self.len()?;
                while position < len {
                    let part = (len - position).min(ZEROS_BYTES as u64);
                    self.cached.write_all_at(&zeros[..part as usize], position)?;
                    position += part;
                }
                Ok(())
            }
            allocated => Ok(allocated?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    fn modified_ms(&self) -> io::Result<i64> {
        let modified = self.cached.metadata()?.modified()?;
        let since_1970 = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }

    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        let since_1970 = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
        self.cached.set_modified(SystemTime::UNIX_EPOCH + since_1970)
    }
}
