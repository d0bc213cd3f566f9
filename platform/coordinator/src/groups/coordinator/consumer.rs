//! Requests about groups to which the coordinator assigns (KIP-848), and what time brings to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::consumer::{
    self, ConsumerBeat, ConsumerDescription, ConsumerGroup, ConsumerHeartbeat, SessionStep, check_fetch,
};
use super::super::error::GroupError;
use super::super::format::classic::encode_key;
use super::super::format::consumer::Part;
use super::super::state::GroupState;
use super::{GroupCoordinator, Home, Inner, Lead};
use crate::state_log::{Proposal, Replied, StateRecord};

/// After that members are looked at again that could not be removed.
const AGAIN: Duration = Duration::from_secs(1);

impl GroupCoordinator {
    /// Answers when what has been decided is on all in-sync replicas.
    pub async fn consumer_heartbeat(&self, beat: ConsumerHeartbeat) -> Result<ConsumerBeat, GroupError> {
        let home = self.inner.home(&beat.group).await?;
        let decided = self.inner.start_heartbeat(&home, &beat)?;
        decided.await?
    }

    pub async fn describe_consumer(&self, group: &str) -> Result<ConsumerDescription, GroupError> {
        let home = self.inner.home(group).await?;
        let found = home.log.read(|state| state.consumer(group).map(ConsumerGroup::describe))?;
        found.ok_or(GroupError::GroupIdNotFound)
    }

    /// Whether a member, or who names none, may ask for the group's offsets.
    pub async fn check_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        let home = self.inner.home(group).await?;
        home.log.read(|state| match state.consumer(group) {
            Some(group) => check_fetch(group, member, epoch),
            None => Ok(()),
        })?
    }
}

impl Inner {
    fn start_heartbeat(
        self: &Arc<Self>,
        home: &Arc<Home>,
        beat: &ConsumerHeartbeat,
    ) -> Result<Replied<Result<ConsumerBeat, GroupError>>, GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        // A group whose members assign themselves becomes another one when they have left.
        if beat.epoch == 0 && !lead.live.forget(&beat.group) {
            return Err(GroupError::GroupIdNotFound);
        }
        let topics = self.parts.topics.now();
        let step = self.session_step(&*topics);
        let sessions = &mut lead.sessions;
        let decided = home.log.propose(|latest, _| {
            match consumer::on_heartbeat(beat, latest.consumer(&beat.group), sessions, &step) {
                Ok((parts, answer)) => {
                    let classic = latest.classic(&beat.group).filter(|_| beat.epoch == 0);
                    let classic = classic.map(|_| StateRecord { key: encode_key(&beat.group), value: None });
                    let records = classic.into_iter().chain(records(&beat.group, parts)).collect();
                    Proposal { records, reply: Ok(answer) }
                }
                Err(error) => Proposal { records: Vec::new(), reply: Err(error) },
            }
        })?;
        let next = lead.sessions.next_deadline();
        drop(lead);
        self.arm(next);
        Ok(decided)
    }

    /// Makes room for a group whose members assign themselves, if there is nobody left in the one of that name.
    pub(super) fn make_way(self: &Arc<Self>, home: &Arc<Home>, group: &str) -> Result<(), GroupError> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead)?;
        let forgotten = home.log.decide(|_, latest| match latest.consumer(group) {
            Some(known) if !known.members().is_empty() => Err(GroupError::InconsistentProtocol),
            Some(known) => Ok(consumer::forget(known)),
            None => Ok(Vec::new()),
        })??;
        if !forgotten.is_empty() {
            // What is decided behind it is told only when this is stored, too.
            let forgotten = records(group, forgotten).collect();
            drop(home.log.propose(|_, _| Proposal { records: forgotten, reply: () })?);
        }
        Ok(())
    }

    /// Members of whom nothing is heard any more, or who do not give up what they are to, are removed.
    pub(super) fn consumers_on_time(self: &Arc<Self>, home: &Arc<Home>) -> Option<Instant> {
        let mut lead = home.lead.lock();
        self.catch_up(home, &mut lead).ok()?;
        let topics = self.parts.topics.now();
        let step = self.session_step(&*topics);
        let now = step.now;
        let due = lead.sessions.due(now.instant, now.instant + AGAIN);
        for (id, members) in due {
            tracing::info!(group = id, ?members, "members are waited for no longer");
            let removed = home.log.propose(|latest, _| {
                let parts =
                    latest.consumer(&id).map(|group| consumer::leave(group, &members, &*topics, now.wall_ms));
                Proposal { records: records(&id, parts.unwrap_or_default()).collect(), reply: () }
            });
            match removed {
                Ok(_) => lead.sessions.forget_all(&id, &members),
                Err(error) => tracing::warn!(group = id, %error, "cannot remove members yet"),
            }
        }
        lead.sessions.next_deadline()
    }

    pub(super) fn session_step<'s>(&'s self, topics: &'s dyn consumer::Topics) -> SessionStep<'s> {
        let now = self.moment().now;
        SessionStep { settings: &self.parts.settings.consumer, topics, now }
    }
}

/// The time of all members runs anew.
pub(super) fn restore(lead: &mut Lead, latest: &GroupState, step: &SessionStep<'_>) {
    for (id, group) in latest.all_consumer() {
        lead.sessions.restore(id, group, step);
    }
}

pub(super) fn records(group: &str, parts: Vec<Part>) -> impl Iterator<Item = StateRecord> {
    parts.into_iter().map(move |part| part.record(group))
}
