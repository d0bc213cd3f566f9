//! The groups of one partition that have members, or wait for some. The others are what their records say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use millrace_base::Random;

use super::super::error::GroupError;
use super::super::format::classic::GroupRecord;
use super::timers::{Subject, Timers};
use super::{
    ClassicSettings, Command, Group, JoinRequest, MemberName, Now, Purpose, State, SyncRequest, Waiter,
};

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::groups) struct Live {
    groups: BTreeMap<Arc<str>, Group>,
    timers: Timers,
    bytes: usize,
}

/// What one step in one group works on.
pub(super) struct Turn<'t> {
    pub settings: &'t ClassicSettings,
    pub random: &'t Random,
    pub now: Now,
    pub id: Arc<str>,
    pub group: &'t mut Group,
    pub timers: &'t mut Timers,
    pub commands: &'t mut Vec<Command>,
}

/// What every step is told.
#[derive(Clone, Copy)]
pub(in crate::groups) struct Step<'s> {
    pub settings: &'s ClassicSettings,
    pub random: &'s Random,
    pub now: Now,
}

impl Live {
    /// The groups that have members according to their records: their time runs anew.
    pub fn restored<'r>(
        records: impl Iterator<Item = (&'r String, &'r Arc<GroupRecord>)>,
        step: Step<'_>,
    ) -> Self {
        let mut live = Self::default();
        for (id, record) in records.filter(|(_, record)| !record.members.is_empty()) {
            live.turn(id, Some(record), step, &mut Vec::new(), |turn| {
                let members: Vec<String> = turn.group.members.keys().cloned().collect();
                for member in members {
                    turn.keep_alive(&member);
                }
            });
        }
        live
    }

    /// About what all of them take in memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn find(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.groups.iter()
    }

    /// When [`on_time`](Self::on_time) is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does something in one group, which is as its record says unless it is live.
    fn turn<R>(
        &mut self,
        id: &str,
        stored: Option<&Arc<GroupRecord>>,
        step: Step<'_>,
        commands: &mut Vec<Command>,
        act: impl FnOnce(&mut Turn<'_>) -> R,
    ) -> R {
        let id = match self.groups.get_key_value(id) {
            Some((id, _)) => Arc::clone(id),
            None => Arc::from(id),
        };
        let group = self.groups.entry(Arc::clone(&id)).or_insert_with(|| {
            let mut group =
                stored.map_or_else(|| Group::new(step.now.wall_ms), |record| Group::restored(record));
            group.bytes += id.len();
            self.bytes += group.bytes;
            group
        });
        let before = group.bytes;
        let Step { settings, random, now } = step;
        let mut turn =
            Turn { settings, random, now, id: Arc::clone(&id), group, timers: &mut self.timers, commands };
        let done = act(&mut turn);
        self.bytes = self.bytes + group.bytes - before;
        if group.is_vacant() {
            self.bytes -= group.bytes;
            self.groups.remove(&id);
        }
        done
    }

    /// A member joins, or joins again. `room` is what may be added to what members take.
    pub fn on_join(
        &mut self,
        request: &JoinRequest,
        waiter: Waiter,
        stored: Option<&Arc<GroupRecord>>,
        room: usize,
        step: Step<'_>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        self.turn(&request.group, stored, step, &mut commands, |turn| turn.join(request, waiter, room));
        commands
    }

    /// A member asks for its assignment, or the leader brings all, of which `room` may be added to what members take.
    pub fn on_sync(
        &mut self,
        request: SyncRequest,
        waiter: Waiter,
        stored: Option<&Arc<GroupRecord>>,
        room: usize,
        step: Step<'_>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        let group = request.group.clone();
        self.turn(&group, stored, step, &mut commands, |turn| turn.sync(request, waiter, room));
        commands
    }

    /// A member says that it lives.
    pub fn on_heartbeat(
        &mut self,
        group: &str,
        member: &MemberName,
        generation: i32,
        stored: Option<&Arc<GroupRecord>>,
        step: Step<'_>,
    ) -> Result<(), GroupError> {
        self.turn(group, stored, step, &mut Vec::new(), |turn| turn.heartbeat(member, generation))
    }

    /// Members leave; each is answered for itself.
    pub fn on_leave(
        &mut self,
        group: &str,
        members: &[MemberName],
        stored: Option<&Arc<GroupRecord>>,
        step: Step<'_>,
    ) -> (Vec<Result<(), GroupError>>, Vec<Command>) {
        let mut commands = Vec::new();
        let left = self.turn(group, stored, step, &mut commands, |turn| {
            members.iter().map(|member| turn.leave(member)).collect()
        });
        (left, commands)
    }

    /// Whether a member, or who is none, may commit offsets. A member that does lives.
    pub fn on_commit(
        &mut self,
        group: &str,
        member: &MemberName,
        generation: i32,
        stored: Option<&Arc<GroupRecord>>,
        step: Step<'_>,
    ) -> Result<(), GroupError> {
        self.turn(group, stored, step, &mut Vec::new(), |turn| turn.check_commit(member, generation))
    }

    /// What became of a [`Command::Store`].
    pub fn on_stored(
        &mut self,
        group: &str,
        generation: i32,
        purpose: Purpose,
        outcome: Result<(), GroupError>,
        step: Step<'_>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.groups.contains_key(group) || matches!(purpose, Purpose::Replace { .. }) {
            self.turn(group, None, step, &mut commands, |turn| turn.stored(generation, purpose, outcome));
        }
        commands
    }

    /// Time has passed.
    pub fn on_time(&mut self, step: Step<'_>) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some((group, subject)) = self.timers.pop(step.now.instant) {
            if self.groups.contains_key(&group) {
                self.turn(&group, None, step, &mut commands, |turn| turn.due(subject));
            }
        }
        commands
    }

    /// Forgets a group that has no members; `false` if it has.
    pub fn forget(&mut self, group: &str) -> bool {
        let is_empty = self.groups.get(group).is_none_or(|group| group.state == State::Empty);
        if is_empty && let Some((id, group)) = self.groups.remove_entry(group) {
            self.bytes -= group.bytes;
            // Whose id was given will be unknown when it comes.
            for (member, mut timer) in group.pending {
                self.timers.disarm(&mut timer, &id, Subject::Member(member));
            }
        }
        is_empty
    }

    /// This broker does not coordinate the groups any more: everyone who waits is told.
    pub fn resign(self) -> Vec<Command> {
        let mut commands = Vec::new();
        for member in self.groups.into_values().flat_map(|group| group.members.into_iter()) {
            let (id, member) = member;
            if let Some(waiter) = member.joining {
                commands.push(Command::refuse_join(waiter, GroupError::NotCoordinator, &id));
            }
            if let Some(waiter) = member.syncing {
                commands.push(Command::Synced(waiter, Err(GroupError::NotCoordinator)));
            }
        }
        commands
    }
}

impl Turn<'_> {
    /// Something of the group's may be due.
    fn due(&mut self, subject: Subject) {
        let now = self.now.instant;
        match subject {
            Subject::Join => {
                if self.timers.fires(&mut self.group.join_timer, now, &self.id, Subject::Join) {
                    self.join_is_over();
                }
            }
            Subject::Sync => {
                if self.timers.fires(&mut self.group.sync_timer, now, &self.id, Subject::Sync) {
                    self.sync_is_over();
                }
            }
            Subject::Member(id) => {
                let subject = Subject::Member(id.clone());
                if let Some(timer) = self.group.pending.get_mut(&id) {
                    if self.timers.fires(timer, now, &self.id, subject) {
                        self.group.expect_no_more(&id);
                        self.maybe_complete_join();
                    }
                } else if let Some(member) = self.group.members.get_mut(&id)
                    && self.timers.fires(&mut member.timer, now, &self.id, subject)
                {
                    self.session_is_over(&id);
                }
            }
        }
    }

    /// A member's session begins anew.
    pub(super) fn keep_alive(&mut self, id: &str) {
        if let Some(member) = self.group.members.get_mut(id) {
            let at = self.now.instant + member.session_timeout;
            self.timers.arm(&mut member.timer, at, &self.id, Subject::Member(id.to_owned()));
        }
    }

    fn session_is_over(&mut self, id: &str) {
        let member = self.group.members.get(id);
        if member.is_some_and(|member| member.is_waiting() && !member.is_new) {
            // It waits for others, and cannot say that it lives meanwhile.
            self.keep_alive(id);
            return;
        }
        tracing::info!(group = %self.id, member = id, "a member's session is over");
        self.remove_member(id);
    }

    pub(super) fn heartbeat(&mut self, member: &MemberName, generation: i32) -> Result<(), GroupError> {
        self.group.check_member(member)?;
        if generation != self.group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.group.state {
            State::Empty => return Err(GroupError::UnknownMember),
            State::PreparingRebalance { .. } => {
                self.keep_alive(&member.id);
                return Err(GroupError::RebalanceInProgress);
            }
            State::CompletingRebalance | State::Stable => self.keep_alive(&member.id),
        }
        Ok(())
    }

    fn check_commit(&mut self, member: &MemberName, generation: i32) -> Result<(), GroupError> {
        let is_anonymous = member.id.is_empty() && member.instance.is_none();
        if generation < 0 && (is_anonymous || self.group.state == State::Empty) {
            // Of an admin client, or of a consumer that is in no group.
            let is_empty = self.group.state == State::Empty;
            return if is_empty { Ok(()) } else { Err(GroupError::UnknownMember) };
        }
        self.group.check_member(member)?;
        if generation != self.group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.group.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.keep_alive(&member.id);
        Ok(())
    }
}
