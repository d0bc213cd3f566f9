//! `log/cluster`: the id of the cluster whose partitions the log directory holds, as text.
//!
//! Written durably at the first start and compared at each one. Metadata of another cluster knows none of these
//! partitions and would have them removed as those of deleted topics.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use millrace_disk::{RealDisk, replace};

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
pub(super) fn read(log_dir: &Path) -> Result<Option<String>, ClusterFileError> {
    let path = path(log_dir);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error("read", &path)(source)),
    }
}

/// Gives the directory to a cluster; durable when it returns.
pub(super) fn write(log_dir: &Path, cluster_id: &str) -> Result<(), ClusterFileError> {
    let path = path(log_dir);
    replace(&RealDisk, &path, format!("{cluster_id}\n").as_bytes()).map_err(error("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_whom_it_was_given_last() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        for id in ["first", "second"] {
            write(dir.path(), id).unwrap();
            assert_eq!(read(dir.path()).unwrap().as_deref(), Some(id));
        }
        let missing = dir.path().join("missing");
        assert!(write(&missing, "x").unwrap_err().to_string().contains("missing/cluster"));
    }
}
