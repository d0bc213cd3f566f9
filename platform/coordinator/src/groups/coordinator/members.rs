//! Requests of members: join, sync, heartbeat, leave.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::classic::{JoinAnswer, JoinRefused, JoinRequest, MemberName, SyncAnswer, SyncRequest};
use super::super::error::GroupError;
use super::{GroupCoordinator, Home, Waiting};

impl GroupCoordinator {
    /// Members are in groups that have a name; offsets may be committed without one, as they always might.
    async fn member_home(&self, group: &str) -> Result<Arc<Home>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.inner.home(group).await
    }

    /// Answers when the group has its next generation, or when the member need not wait for it.
    pub async fn join(&self, request: JoinRequest) -> JoinAnswer {
        let member = request.member.clone();
        let refused = |error| JoinRefused { error, member };
        match self.start_join(request).await {
            Ok(told) => told.await.unwrap_or_else(|_| Err(refused(GroupError::NotCoordinator))),
            Err(error) => Err(refused(error)),
        }
    }

    async fn start_join(&self, request: JoinRequest) -> Result<oneshot::Receiver<JoinAnswer>, GroupError> {
        let home = self.member_home(&request.group).await?;
        self.inner.make_way(&home, &request.group)?;
        let (tell, told) = oneshot::channel();
        self.inner.step(&home, |lead, latest, step| {
            if latest.consumer(&request.group).is_some() {
                return (Err(GroupError::InconsistentProtocol), Vec::new());
            }
            let waiter = self.inner.new_waiter();
            lead.waiting.insert(waiter, Waiting::Join(tell));
            let (stored, room) = (latest.classic(&request.group), self.inner.room());
            (Ok(()), lead.live.on_join(&request, waiter, stored, room, step))
        })??;
        Ok(told)
    }

    /// Answers when the leader has assigned.
    pub async fn sync(&self, request: SyncRequest) -> SyncAnswer {
        let home = self.member_home(&request.group).await?;
        let (tell, told) = oneshot::channel();
        self.inner.step(&home, |lead, latest, step| {
            let waiter = self.inner.new_waiter();
            lead.waiting.insert(waiter, Waiting::Sync(tell));
            let (stored, room) = (latest.classic(&request.group), self.inner.room());
            ((), lead.live.on_sync(request, waiter, stored, room, step))
        })?;
        told.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    pub async fn heartbeat(
        &self,
        group: &str,
        member: &MemberName,
        generation: i32,
    ) -> Result<(), GroupError> {
        let home = self.member_home(group).await?;
        self.inner.step(&home, |lead, latest, step| {
            let stored = latest.classic(group);
            (lead.live.on_heartbeat(group, member, generation, stored, step), Vec::new())
        })?
    }

    /// One outcome for each of the members.
    pub async fn leave(
        &self,
        group: &str,
        members: &[MemberName],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let home = self.member_home(group).await?;
        self.inner
            .step(&home, |lead, latest, step| lead.live.on_leave(group, members, latest.classic(group), step))
    }
}
