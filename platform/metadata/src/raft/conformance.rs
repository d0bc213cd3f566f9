//! openraft's own suite for storages, against ours: on a real disk with its threads, and in steps on a simulated one.

use std::sync::Arc;

use millrace_disk::sim::SimDisk;
use millrace_disk::{RealDisk, Reserve};
use openraft::testing::{StoreBuilder, Suite};

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::storage::{Place, REWRITE_DEAD_BYTES_MIN, Storage};
use super::{StorageError, TypeConfig};
use crate::threading::Threading;

struct Builder(Threading);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            disk: match self.0 {
                Threading::Threads => Arc::new(RealDisk),
                Threading::Stepped => Arc::new(SimDisk::new(1)),
            },
            dir: dir.path().to_owned(),
            node_id: 0,
            reserve: Reserve::none(),
            threading: self.0,
            rewrite_dead_bytes_min: REWRITE_DEAD_BYTES_MIN,
        };
        let storage = Storage::open(&place).unwrap();
        Ok((dir, storage.log, storage.state_machine))
    }
}

#[test]
fn the_storage_is_what_openraft_expects() {
    Suite::test_all(Builder(Threading::Threads)).unwrap();
}

#[test]
fn the_storage_in_steps_is_what_openraft_expects() {
    Suite::test_all(Builder(Threading::Stepped)).unwrap();
}
