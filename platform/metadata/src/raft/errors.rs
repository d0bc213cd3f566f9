//! What keeps a node from starting or going on.

use std::io;
use std::path::PathBuf;

use super::codec::EntryError;
use super::log_file::LogFileError;
use super::log_store::LogStoreError;
use super::state_machine::StateMachineError;

/// A node that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{verb} {path}: {source}", path = path.display())]
    Directory { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is in use by another process", path = path.display())]
    Locked { path: PathBuf },
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Snapshot(#[from] StateMachineError),
    #[error(
        "{path} is missing, or older than the log that continues it: restore it from a backup, or remove this \
         broker from the voters, empty the directory and let it join again",
        path = path.display()
    )]
    SnapshotMissing { path: PathBuf },
    #[error("{0}")]
    Other(String),
}

impl From<LogStoreError> for NodeError {
    fn from(error: LogStoreError) -> Self {
        match error {
            LogStoreError::File(error) => Self::LogFile(error),
            LogStoreError::Entry(error) => Self::Entry(error),
            other => Self::Other(other.to_string()),
        }
    }
}
