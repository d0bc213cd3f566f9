//! What a node has on disk: the lock of its directory, the log with the vote, the state machine with its snapshot.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_disk::{Disk, Reserve, make_dir};

use super::errors::NodeError;
use super::log_store::{LogPlace, LogSize, LogStore};
use super::log_writer::LogThread;
use super::patience::Patience;
use super::state_machine::{Published, StateMachine};
use super::{DirectoryLock, NodeId};
use crate::threading::Threading;

/// Dead bytes from which the log's file is rewritten, if they also outweigh the living.
pub(super) const REWRITE_DEAD_BYTES_MIN: u64 = 1 << 20;

/// Where a node's storage is, and how it is run.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) node_id: NodeId,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) threading: Threading,
    pub(crate) rewrite_dead_bytes_min: u64,
}

pub(super) struct Storage {
    pub(super) log: LogStore,
    pub(super) size: LogSize,
    pub(super) log_thread: LogThread,
    pub(super) state_machine: StateMachine,
    pub(super) published: Published,
    /// Of votes and the log.
    pub(super) patience: Patience,
    pub(super) snapshot_patience: Patience,
    pub(super) lock: DirectoryLock,
}

impl Storage {
    /// Makes the directory if it is missing, takes its lock, and recovers what is there.
    pub(super) fn open(place: &Place) -> Result<Self, NodeError> {
        let Place { disk, dir, node_id, reserve, threading, rewrite_dead_bytes_min } = place;
        let lock = lock_directory(place)?;
        // Names, too, are believed only once they are durable: who renamed a vote may have ended before that.
        let failed = |source| NodeError::Directory { verb: "sync", path: dir.clone(), source };
        disk.sync_dir(dir).map_err(failed)?;
        let patience = Patience::new(Arc::clone(reserve));
        let snapshot_patience = Patience::new(Arc::clone(reserve));
        let log_place = LogPlace {
            disk,
            dir,
            node_id: *node_id,
            threading: *threading,
            patience: patience.clone(),
            rewrite_dead_bytes_min: *rewrite_dead_bytes_min,
        };
        let (log, size, log_thread) = LogStore::open(log_place, Arc::clone(&lock))?;
        let (state_machine, published) =
            StateMachine::open(Arc::clone(disk), dir.clone(), *threading, snapshot_patience.clone())?;
        if log.purged_index() > state_machine.applied_index() {
            return Err(NodeError::SnapshotMissing { path: dir.join("snapshot") });
        }
        Ok(Self { log, size, log_thread, state_machine, published, patience, snapshot_patience, lock })
    }
}

/// The lock goes with what is returned.
fn lock_directory(place: &Place) -> Result<DirectoryLock, NodeError> {
    let error = |verb| move |source| NodeError::Directory { verb, path: place.dir.clone(), source };
    make_dir(&*place.disk, &place.dir).map_err(error("create"))?;
    match place.disk.lock(&place.dir.join("lock")) {
        Ok(lock) => Ok(lock.into()),
        Err(held) if held.kind() == io::ErrorKind::AlreadyExists => {
            Err(NodeError::Locked { path: place.dir.clone() })
        }
        Err(source) => Err(error("lock")(source)),
    }
}
