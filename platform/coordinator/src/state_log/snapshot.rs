//! Keeps a log short: writes all of its state once more and deletes what is before that.
//!
//! It goes in parts, between which others append. Each part is of the state as it is when the part is appended, so
//! that replaying the log never goes back. Nothing is deleted before every part, and all that was appended before, is on
//! all in-sync replicas: a crash at any point leaves a log that gives the same state.

use millrace_base::LeaderEpoch;

use super::core::Cursor;
use super::machine::Machine;
use super::{Phase, Shared, Unavailable, finish, load};
use crate::{AppendFailure, ReadFailure};

#[derive(Debug, thiserror::Error)]
enum SnapshotFailure {
    #[error(transparent)]
    Append(#[from] AppendFailure),
    #[error(transparent)]
    Trim(#[from] ReadFailure),
}

impl From<Unavailable> for SnapshotFailure {
    fn from(unavailable: Unavailable) -> Self {
        Self::Append(unavailable.into())
    }
}

impl<M: Machine> Shared<M> {
    /// Writes snapshots whenever one is due, until the state has to be read back once more.
    pub(super) async fn keep_short(&self, epoch: LeaderEpoch) {
        let mut changed = self.changed.subscribe();
        let mut failures = 0;
        loop {
            changed.borrow_and_update();
            let is_due = match &*self.phase.lock() {
                Phase::Leading(led, core) if *led == epoch => {
                    core.snapshot_is_due(self.parts.snapshot_bytes_min)
                }
                _ => return,
            };
            if !is_due {
                // The sender is `self`.
                let _ = changed.changed().await;
                continue;
            }
            match self.snapshot().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(partition = %self.parts.place, %error, "cannot shorten a log of state yet");
                    tokio::time::sleep(load::pause(failures)).await;
                }
            }
        }
    }

    async fn snapshot(&self) -> Result<(), SnapshotFailure> {
        let (epoch, before, grown) =
            self.with_core(|epoch, core| (epoch, core.next_offset(), core.grown_bytes()))?;
        let (mut cursor, mut bytes) = (Cursor::State(None), 0);
        loop {
            let appended = self.with_core(|epoch, core| {
                let now_ms = self.parts.clock.now_ms();
                let Some(builder) = core.snapshot_chunk(&mut cursor, now_ms) else { return Ok(None) };
                let batch = finish(builder)?;
                let len = batch.bytes.len();
                let (end, acknowledged) = self.append(epoch, core, batch)?;
                core.snapshot_appended(end);
                Ok::<_, AppendFailure>(Some((len, acknowledged)))
            })??;
            let Some((len, acknowledged)) = appended else { break };
            acknowledged.await?;
            bytes += len;
            self.parts.partitions.admit(len).await;
        }
        // Where there was no part to write, what forgets the last of the state may still be on its way.
        self.replied_at(epoch, Some(before), ()).await?;
        self.parts.partitions.trim(self.parts.place, before).await?;
        self.with_core(|_, core| core.snapshot_done(grown, bytes))?;
        Ok(())
    }
}
