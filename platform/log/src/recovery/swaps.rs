//! Finishing what compaction was about to swap in when the last process ended, see `partition/compacting.rs`.

use std::path::{Path, PathBuf};

use millrace_base::Offset;
use millrace_disk::{DirEntry, Disk, is_passing};

use crate::error::OpenError;

/// What compaction had begun to write.
const CLEANED_SUFFIX: &str = ".cleaned";
const SWAP_SUFFIX: &str = ".swap";

/// A segment that could not be given its name, most often since the disk is full.
pub(super) struct Unnamed {
    pub base: Offset,
    pub path: PathBuf,
    pub len: u64,
}

/// Brings the directory of a partition to where every segment has its name, if there is room for that. A crash meanwhile
/// leaves the same to be done.
pub(super) fn finish(disk: &dyn Disk, dir: &Path) -> Result<Option<Unnamed>, OpenError> {
    let entries = disk.list(dir).map_err(OpenError::io("list", dir))?;
    let remove = |name: &str| {
        let path = dir.join(name);
        disk.remove_file(&path).map_err(OpenError::io("remove", &path))
    };
    for entry in entries.iter().filter(|entry| entry.name.ends_with(CLEANED_SUFFIX)) {
        remove(&entry.name)?;
    }
    // One is finished before another is begun.
    let Some((entry, base, end)) = entries.iter().find_map(swap) else { return Ok(None) };
    // Its name may not be durable yet, and must not be lost once something is gone.
    disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    for other in &entries {
        let Some((of, extension)) = segment_file(other) else { continue };
        // The snapshot tells of what is below the base, which stays.
        let is_replaced = of == base && extension != "snapshot" || base < of && of < end;
        if is_replaced {
            remove(&other.name)?;
        }
    }
    disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    let (path, to) = (dir.join(&entry.name), dir.join(format!("{base:020}.log")));
    match disk.rename(&path, &to) {
        Err(error) if is_passing(&error) => return Ok(Some(Unnamed { base, path, len: entry.len })),
        renamed => renamed.map_err(OpenError::io("rename", &path))?,
    }
    disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    Ok(None)
}

/// A segment that is to be swapped in, its base offset, and where the segments end that it stands for.
fn swap(entry: &DirEntry) -> Option<(&DirEntry, Offset, Offset)> {
    let (base, end) = entry.name.strip_suffix(SWAP_SUFFIX)?.split_once('-')?;
    Some((entry, base.parse().ok()?, end.parse().ok()?))
}

/// The base offset and the extension of one of a segment's files.
fn segment_file(entry: &DirEntry) -> Option<(Offset, &str)> {
    let (base, extension) = entry.name.split_once('.')?;
    let base = base.parse().ok()?;
    ["log", "index", "snapshot"].contains(&extension).then_some((base, extension))
}
