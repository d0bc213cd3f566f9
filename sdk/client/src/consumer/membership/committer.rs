//! Commits of one consumer, one after the other: a later one never comes before an earlier one.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::MemberState;
use crate::cluster::Cluster;
use crate::error::GroupError;
use crate::group::{CommitOffset, offsets};

struct Commit {
    offsets: Vec<CommitOffset>,
    done: oneshot::Sender<Result<(), GroupError>>,
}

/// Hands commits to the task that makes them.
#[derive(Clone)]
pub(crate) struct Committer(mpsc::UnboundedSender<Commit>);

impl Committer {
    pub(crate) fn start(cluster: Arc<Cluster>, member: Arc<MemberState>) -> Self {
        let (sender, mut commits) = mpsc::unbounded_channel::<Commit>();
        tokio::spawn(async move {
            while let Some(Commit { offsets, done }) = commits.recv().await {
                let outcome = commit(&cluster, &member, &offsets).await;
                if let Err(error) = &outcome {
                    tracing::debug!(%error, "commit offsets");
                }
                // Nobody waits for one that the application does not ask about.
                let _ = done.send(outcome);
            }
        });
        Self(sender)
    }

    /// Takes its place in the order at once; the future only waits for the outcome.
    pub(crate) fn commit(
        &self,
        offsets: Vec<CommitOffset>,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        let sent = self.0.send(Commit { offsets, done });
        async move {
            sent.map_err(|_| GroupError::Closed)?;
            outcome.await.unwrap_or(Err(GroupError::Closed))
        }
    }
}

/// A member may get another epoch while its commit is on its way, and is the same member still.
async fn commit(cluster: &Cluster, member: &MemberState, offsets: &[CommitOffset]) -> Result<(), GroupError> {
    loop {
        let identity = member.identity();
        match offsets::commit(cluster, &identity, offsets).await {
            Err(GroupError::NotMember { .. })
                if identity.generation >= 0
                    && member.identity().member_id == identity.member_id
                    && member.identity().generation > identity.generation => {}
            outcome => return outcome,
        }
    }
}
