//! SyncGroup: what the leader assigns is written down, then told.

use super::super::error::GroupError;
use super::live::Turn;
use super::timers::Subject;
use super::{Command, JoinRefused, Purpose, State, SyncRequest, Synced, Waiter};

impl Turn<'_> {
    pub(super) fn sync(&mut self, request: SyncRequest, waiter: Waiter, room: usize) {
        if let Err(error) = self.try_sync(request, waiter, room) {
            self.commands.push(Command::Synced(waiter, Err(error)));
        }
    }

    fn try_sync(&mut self, request: SyncRequest, waiter: Waiter, room: usize) -> Result<(), GroupError> {
        let group = &mut *self.group;
        group.check_member(&request.member)?;
        if request.generation != group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, known: &Option<String>| asked.is_some() && asked != known;
        if differs(&request.protocol_type, &group.protocol_type)
            || differs(&request.protocol, &group.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let id = request.member.id;
        match group.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::PreparingRebalance { .. } => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance => {
                let grows: usize = request.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
                if group.leader.as_deref() == Some(&id) && grows > room {
                    let limit = "what the members of all groups of a broker may take in memory";
                    return Err(GroupError::NotAvailable(format!(
                        "assignments of {grows} bytes are beyond {limit}, of which {room} bytes are left"
                    )));
                }
                let Some(member) = group.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
                member.owes_sync = false;
                if let Some(earlier) = member.syncing.replace(waiter) {
                    self.commands.push(Command::Synced(earlier, Err(GroupError::RebalanceInProgress)));
                }
                if self.group.is_leader(&id) {
                    self.assign(request.assignments);
                }
                Ok(())
            }
            State::Stable => {
                if let Some(member) = group.members.get_mut(&id) {
                    member.owes_sync = false;
                }
                self.settle_sync_timer();
                let synced = self.synced(&id);
                self.commands.push(Command::Synced(waiter, Ok(synced)));
                Ok(())
            }
        }
    }

    /// The record says what the leader assigned; members are told when it is stored.
    fn assign(&mut self, assignments: Vec<(String, Vec<u8>)>) {
        for (id, assignment) in assignments {
            self.group.change(&id, |member| member.assignment = assignment);
        }
        self.store(Purpose::Assign);
    }

    fn synced(&self, id: &str) -> Synced {
        let group = &*self.group;
        Synced {
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: group.protocol.clone().unwrap_or_default(),
            assignment: group.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// What became of a record.
    pub(super) fn stored(&mut self, generation: i32, purpose: Purpose, outcome: Result<(), GroupError>) {
        let is_current = generation == self.group.generation;
        match (purpose, outcome) {
            (Purpose::Replace { waiter, joined }, Ok(())) => self.answer_join(waiter, Ok(*joined)),
            (Purpose::Replace { waiter, joined }, Err(error)) => {
                self.answer_join(waiter, Err(JoinRefused { error, member: joined.member }));
            }
            (Purpose::Empty, Ok(())) => self.group.is_stored |= is_current,
            (Purpose::Empty, Err(error)) => {
                tracing::warn!(group = %self.id, %error, "cannot write down that a group has no members");
            }
            // Another generation has begun meanwhile: those who waited were told.
            (Purpose::Assign, _) if !is_current || self.group.state != State::CompletingRebalance => {}
            (Purpose::Assign, Ok(())) => self.tell_assignments(),
            (Purpose::Assign, Err(error)) => {
                tracing::warn!(group = %self.id, %error, "cannot write down what a group's leader has assigned");
                self.end_sync(&error);
                self.prepare_rebalance();
            }
        }
    }

    fn tell_assignments(&mut self) {
        self.group.enter(State::Stable, self.now.wall_ms);
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let Some(waiter) = self.group.members.get_mut(&id).and_then(|member| member.syncing.take())
            else {
                continue;
            };
            self.keep_alive(&id);
            let synced = self.synced(&id);
            self.commands.push(Command::Synced(waiter, Ok(synced)));
        }
        self.settle_sync_timer();
    }

    fn settle_sync_timer(&mut self) {
        if !self.group.members.values().any(|member| member.owes_sync) {
            self.timers.disarm(&mut self.group.sync_timer, &self.id, Subject::Sync);
        }
    }

    /// Who has not asked for its assignment by now is none of the group's.
    pub(super) fn sync_is_over(&mut self) {
        if !matches!(self.group.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        let late = self.group.members.iter().filter(|(_, member)| member.owes_sync);
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        if late.is_empty() {
            return;
        }
        for id in &late {
            tracing::info!(group = %self.id, member = id, "a member has not asked for its assignment in time");
            self.drop_member(id, &GroupError::UnknownMember);
        }
        self.prepare_rebalance();
    }
}
