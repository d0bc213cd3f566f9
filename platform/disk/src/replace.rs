//! The one way in which a file takes another's place: a crash leaves the old one or the new one, whole.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Disk, OpenMode};

/// What a file is called until it is whole.
const SUFFIX: &str = ".new";

/// Makes `bytes` the content of the file at `path`, which is made if there is none. Durable when it returns. After
/// an error the old content or the new is there, and repeating the call is sound whatever the error was: all of it
/// is written again.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let mode = OpenMode { create: true, ..OpenMode::default() };
    let written = disk.open(&new, mode).and_then(|file| {
        file.truncate(0)?;
        file.write_all_at(&[bytes], 0)?;
        file.sync()
    });
    if let Err(error) = written {
        // On a full disk its bytes are room for others. What stays is written over the next time.
        let _ = disk.remove_file(&new);
        return Err(error);
    }
    publish(disk, &new, path)
}

/// Gives the file at `from`, whose bytes are durable, the name `to` of the same directory. Durable when it returns.
pub fn publish(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    disk.sync_dir(parent(to))
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// The directory of `path`; the current one for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
