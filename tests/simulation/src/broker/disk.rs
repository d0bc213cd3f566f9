//! The simulated disk as a faulty broker would use it.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_disk::sim::SimDisk;
use millrace_disk::{DirEntry, Disk, DiskFile, OpenMode};

/// A disk on which names are never made durable for their own sake.
pub struct WithoutDirectorySync(pub SimDisk);

impl Disk for WithoutDirectorySync {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, mode)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.0.sync_all(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(path)
    }

    fn entropy(&self) -> u128 {
        self.0.entropy()
    }
}
