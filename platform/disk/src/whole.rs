//! Files that are read at once, and directories that a crash does not unmake.

use std::io;
use std::path::Path;

use crate::{Disk, OpenMode};

/// All bytes of the file at `path`, which nobody writes meanwhile; `NotFound` if there is none.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode { read_only: true, ..OpenMode::default() })?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Makes `dir` and those above it that are missing, durably.
///
/// One after the other from above, each synced before the next: where a crash has come between the two, only the
/// lowest that is there may be without its sync. So that one is synced again.
pub fn make_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let is_missing =
        |path: &Path| matches!(disk.list(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    let ancestors: Vec<&Path> = dir.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
    let missing = ancestors.iter().take_while(|path| is_missing(path)).count();
    for path in ancestors[..ancestors.len().min(missing + 1)].iter().rev() {
        disk.create_dir_all(path)?;
        let Some(parent) = path.parent() else { continue };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match disk.sync_dir(parent) {
            // Whoever made the directory for us keeps the one above to itself.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}
