//! `log/cluster`: the id of the cluster whose partitions the log directory holds, as text.
//!
//! Written durably at the first start and compared at each one. Metadata of another cluster knows none of these
//! partitions and would have them removed as those of deleted topics.

use std::io;
use std::path::{Path, PathBuf};

use millrace_disk::{Disk, replace};

const NAME: &str = "cluster";

/// A cluster id that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {}: {source}", path.display())]
pub struct ClusterFileError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterFileError {
    let path = path.to_owned();
    move |source| ClusterFileError { verb, path, source }
}

pub(super) fn path(log_dir: &Path) -> PathBuf {
    log_dir.join(NAME)
}

/// `None` if the directory has not been given to a cluster yet.
pub(super) fn read(disk: &dyn Disk, log_dir: &Path) -> Result<Option<String>, ClusterFileError> {
    let path = path(log_dir);
    let text = millrace_disk::read(disk, &path);
    match text.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error("read", &path)(source)),
    }
}

/// Gives the directory to a cluster; durable when it returns.
pub(super) fn write(disk: &dyn Disk, log_dir: &Path, cluster_id: &str) -> Result<(), ClusterFileError> {
    let path = path(log_dir);
    replace(disk, &path, format!("{cluster_id}\n").as_bytes()).map_err(error("write", &path))
}

#[cfg(test)]
mod tests {
    use millrace_disk::RealDisk;
    use millrace_disk::sim::SimDisk;

    use super::*;

    #[test]
    fn a_directory_belongs_to_whom_it_was_given_last() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&RealDisk, dir.path()).unwrap(), None);
        for id in ["first", "second"] {
            write(&RealDisk, dir.path(), id).unwrap();
            assert_eq!(read(&RealDisk, dir.path()).unwrap().as_deref(), Some(id));
        }
        let missing = dir.path().join("missing");
        assert!(write(&RealDisk, &missing, "x").unwrap_err().to_string().contains("missing/cluster"));
    }

    /// A directory that forgets whose it is would be given to any cluster.
    #[test]
    fn a_crash_at_any_operation_leaves_the_directory_whose_it_was_or_is_to_be() {
        let dir = Path::new("/log");
        for seed in 0..50 {
            for operation in 0.. {
                let disk = SimDisk::new(seed);
                millrace_disk::make_dir(&disk, dir).unwrap();
                disk.crash_at(disk.operations() + operation);
                let mut given = None;
                let mut giving = None;
                for id in ["first", "a second and longer one"] {
                    giving = Some(id);
                    if write(&disk, dir, id).is_err() {
                        break;
                    }
                    given = Some(id);
                }
                let done = !disk.has_crashed();
                disk.crash();
                disk.restart();
                let found = read(&disk, dir).unwrap();
                let found = found.as_deref();
                assert!(found == given || found == giving, "seed {seed}, operation {operation}: {found:?}");
                write(&disk, dir, "third").unwrap();
                disk.crash();
                disk.restart();
                assert_eq!(read(&disk, dir).unwrap().as_deref(), Some("third"));
                if done {
                    break;
                }
            }
        }
    }
}
