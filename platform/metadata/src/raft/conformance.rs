//! openraft's own suite for storages, against ours on a real disk.

use std::fs::File;
use std::sync::Arc;

use millrace_disk::{RealDisk, Reserve};
use openraft::testing::{StoreBuilder, Suite};

use super::log_store::LogStore;
use super::patience::Patience;
use super::state_machine::StateMachine;
use super::{StorageError, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let patience = Patience::new(Reserve::none());
        let lock = Arc::new(File::create(dir.path().join("lock")).unwrap());
        let (log, ..) = LogStore::open(Arc::new(RealDisk), dir.path(), 0, patience.clone(), lock).unwrap();
        let (state_machine, _) = StateMachine::open(dir.path().to_owned(), patience).unwrap();
        Ok((dir, log, state_machine))
    }
}

#[test]
fn the_storage_is_what_openraft_expects() {
    Suite::test_all(Builder).unwrap();
}
