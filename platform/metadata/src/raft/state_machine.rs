//! Applies committed entries to the image, publishes it, and keeps one snapshot on disk.
//!
//! The image lives in memory; after a start it is the snapshot's, and openraft applies what the log has
//! beyond. An image is published after each group of entries, never in between.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_disk::Disk;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::patience::Patience;
use super::snapshot_file::{self, SnapshotFileError};
use super::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig};
use crate::apply::apply;
use crate::image::Image;
use crate::image_form::{self, ImageFormError};
use crate::outcome::{Answer, Answers};
use crate::threading::Threading;

/// A state machine that cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum StateMachineError {
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    #[error(transparent)]
    Image(#[from] ImageFormError),
}

/// Where the rest of the broker sees the latest image.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) image: Arc<ArcSwap<Image>>,
    /// Applied index of the image, which is in place before this tells.
    pub(crate) applied: watch::Sender<u64>,
}

impl Published {
    fn publish(&self, image: &Image) {
        self.image.store(Arc::new(image.clone()));
        self.applied.send_replace(image.applied_index());
    }
}

/// All that a snapshot is made of, at one point of the log.
#[derive(Clone)]
struct State {
    image: Image,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

pub(crate) struct StateMachine {
    state: State,
    published: Published,
    files: Files,
}

/// The snapshot's file, guarded: an older snapshot never replaces a newer one, and none is written once the
/// node has let go of its directory.
#[derive(Clone)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    last: Arc<Mutex<LastSnapshot>>,
    threading: Threading,
    patience: Patience,
}

enum LastSnapshot {
    At(Option<LogId>),
    Closed,
}

impl Files {
    async fn store(&self, meta: SnapshotMeta, image: Arc<Vec<u8>>) -> Result<(), StorageError> {
        const WHAT: &str = "write the metadata's snapshot";
        let signature = meta.signature();
        let written = match self.threading {
            Threading::Threads => {
                let files = self.clone();
                let write = move || files.patience.write(WHAT, || files.write(&meta, &image));
                self.threading.run(write).await.and_then(|written| written)
            }
            Threading::Stepped => self.patience.write_stepped(WHAT, || self.write(&meta, &image)).await,
        };
        Ok(written.map_err(|error| StorageIOError::write_snapshot(Some(signature), AnyError::new(&error)))?)
    }

    fn write(&self, meta: &SnapshotMeta, image: &[u8]) -> std::io::Result<()> {
        let mut last = self.last.lock();
        match *last {
            LastSnapshot::Closed => return Err(std::io::Error::other("the node was shut down")),
            LastSnapshot::At(last) if meta.last_log_id < last => return Ok(()),
            LastSnapshot::At(_) => {}
        }
        snapshot_file::write(&*self.disk, &self.dir, meta, image)?;
        *last = LastSnapshot::At(meta.last_log_id);
        Ok(())
    }

    /// Waits for a snapshot that is being written and refuses any further one: openraft builds them in tasks
    /// of their own, for which its shutdown does not wait. Blocking.
    pub(super) fn close(&self) {
        *self.last.lock() = LastSnapshot::Closed;
    }

    async fn load(&self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let files = self.clone();
        let read = self.threading.run(move || snapshot_file::read(&*files.disk, &files.dir)).await;
        let read = read.map_err(|panic| StorageIOError::read_snapshot(None, AnyError::new(&panic)))?;
        let read = read.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(read.map(|(meta, image)| Snapshot { meta, snapshot: Box::new(Cursor::new(image)) }))
    }
}

impl StateMachine {
    /// Starts from the snapshot in `dir`, or empty.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        threading: Threading,
        patience: Patience,
    ) -> Result<(Self, Published), StateMachineError> {
        let state = match snapshot_file::read(&*disk, &dir)? {
            Some((meta, image)) => State {
                image: image_form::decode(&image)?,
                last_applied: meta.last_log_id,
                membership: meta.last_membership,
            },
            None => {
                State { image: Image::default(), last_applied: None, membership: StoredMembership::default() }
            }
        };
        let image = Arc::new(ArcSwap::from_pointee(state.image.clone()));
        let published = Published { image, applied: watch::Sender::new(state.image.applied_index()) };
        let last = Arc::new(Mutex::new(LastSnapshot::At(state.last_applied)));
        let files = Files { disk, dir, last, threading, patience };
        Ok((Self { state, published: published.clone(), files }, published))
    }

    pub(super) fn files(&self) -> Files {
        self.files.clone()
    }

    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.state.last_applied.map(|id| id.index)
    }
}

impl State {
    fn apply(&mut self, entry: Entry) -> Answers {
        let index = entry.log_id.index;
        self.last_applied = Some(entry.log_id);
        self.image.applied_index = index;
        match entry.payload {
            EntryPayload::Blank => Answers(Vec::new()),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Answers(Vec::new())
            }
            EntryPayload::Normal(proposal) => {
                let answer = |command| match apply(&mut self.image, index, command) {
                    Ok(outcome) => Answer::Done(outcome),
                    Err(rejection) => Answer::Rejected(rejection),
                };
                Answers(proposal.commands().iter().map(answer).collect())
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.state.last_applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let answers = entries.into_iter().map(|entry| self.state.apply(entry)).collect();
        self.published.publish(&self.state.image);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { state: self.state.clone(), files: self.files.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = Arc::new(snapshot.into_inner());
        let image = image_form::decode(&bytes)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error)))?;
        self.files.store(meta.clone(), bytes).await?;
        self.state =
            State { image, last_applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.published.publish(&self.state.image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        self.files.load().await
    }
}

/// Writes a snapshot of the state at the time it was made, while the state machine goes on.
pub(crate) struct Builder {
    state: State,
    files: Files,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let state = self.state.clone();
        let id = state.last_applied.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta {
            last_log_id: state.last_applied,
            last_membership: state.membership.clone(),
            snapshot_id: id,
        };
        let encoded = self.files.threading.run(move || image_form::encode(&state.image)).await;
        let encoded = encoded.map_err(|panic| StorageIOError::write_snapshot(None, AnyError::new(&panic)))?;
        let bytes = encoded.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        let bytes = Arc::new(bytes);
        self.files.store(meta.clone(), Arc::clone(&bytes)).await?;
        let bytes = Arc::unwrap_or_clone(bytes);
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

#[cfg(test)]
mod tests {
    use millrace_disk::{RealDisk, Reserve};

    use super::*;

    fn open(dir: &std::path::Path) -> (StateMachine, Published) {
        let patience = Patience::new(Reserve::none());
        StateMachine::open(Arc::new(RealDisk), dir.to_owned(), Threading::Threads, patience).unwrap()
    }

    #[tokio::test]
    async fn a_snapshot_that_comes_after_the_shutdown_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut state_machine, _) = open(dir.path());
        let mut late = state_machine.get_snapshot_builder().await;
        state_machine.files().close();
        assert!(late.build_snapshot().await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
