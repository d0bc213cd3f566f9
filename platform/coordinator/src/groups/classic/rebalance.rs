//! From one generation to the next: members join, the protocol is chosen, the leader is told who they are.

use std::sync::Arc;
use std::time::Duration;

use super::super::error::GroupError;
use super::live::Turn;
use super::member::Member;
use super::timers::Subject;
use super::{Command, Purpose, State};

impl Turn<'_> {
    /// Somebody has joined: another generation is needed, or may be complete.
    pub(super) fn rebalance(&mut self) {
        if self.group.state.is_preparing() { self.maybe_complete_join() } else { self.prepare_rebalance() }
    }

    pub(super) fn prepare_rebalance(&mut self) {
        if self.group.state == State::CompletingRebalance {
            self.end_sync(&GroupError::RebalanceInProgress);
        }
        self.timers.disarm(&mut self.group.sync_timer, &self.id, Subject::Sync);
        let is_initial = self.group.state == State::Empty;
        self.group.enter(State::PreparingRebalance { is_initial }, self.now.wall_ms);
        if is_initial {
            // More of them are likely about to come: one rebalance for all.
            let delay = self.settings.initial_rebalance_delay;
            self.group.grew = false;
            self.group.delay_left = self.group.rebalance_timeout().saturating_sub(delay);
            self.arm_join(delay);
        } else {
            self.arm_join(self.group.rebalance_timeout());
            self.maybe_complete_join();
        }
    }

    fn arm_join(&mut self, after: Duration) {
        let at = self.now.instant + after;
        self.timers.arm(&mut self.group.join_timer, at, &self.id, Subject::Join);
    }

    /// Completes the join phase if nobody is waited for. The first members of a group wait for others in any case.
    pub(super) fn maybe_complete_join(&mut self) {
        let group = &*self.group;
        let is_deserted = group.members.is_empty() && group.pending.is_empty();
        let is_first = group.state == (State::PreparingRebalance { is_initial: true });
        if group.state.is_preparing() && group.all_joined() && (is_deserted || !is_first) {
            self.complete_join();
        }
    }

    /// The time to join is over.
    pub(super) fn join_is_over(&mut self) {
        let left = self.group.delay_left;
        if self.group.state == (State::PreparingRebalance { is_initial: true })
            && self.group.grew
            && !left.is_zero()
        {
            let delay = self.settings.initial_rebalance_delay.min(left);
            self.group.grew = false;
            self.group.delay_left = left.saturating_sub(delay);
            self.arm_join(delay);
        } else if self.group.state.is_preparing() {
            self.complete_join();
        }
    }

    fn complete_join(&mut self) {
        self.timers.disarm(&mut self.group.join_timer, &self.id, Subject::Join);
        // Static members may be away for as long as their session lasts.
        let is_late = |member: &Member| member.joining.is_none() && member.instance.is_none();
        let late = self.group.members.iter().filter(|(_, member)| is_late(member));
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            tracing::info!(group = %self.id, member = id, "a member has not joined again in time");
            self.drop_member(&id, &GroupError::UnknownMember);
        }
        if !self.group.members.is_empty() && !self.elect_leader() {
            // All of them are away.
            self.arm_join(self.group.rebalance_timeout());
            return;
        }
        self.group.generation = self.group.generation.checked_add(1).unwrap_or(1);
        if self.group.members.is_empty() {
            self.group.protocol = None;
            self.group.leader = None;
            self.group.enter(State::Empty, self.now.wall_ms);
            self.store(Purpose::Empty);
        } else {
            self.group.protocol = self.group.select_protocol();
            self.group.enter(State::CompletingRebalance, self.now.wall_ms);
            self.tell_all();
        }
    }

    /// Whether somebody leads who has joined.
    fn elect_leader(&mut self) -> bool {
        let has_joined =
            |id: &String| self.group.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.group.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let found = self.group.members.keys().find(|id| has_joined(id)).cloned();
        let is_found = found.is_some();
        if is_found {
            self.group.leader = found;
        }
        is_found
    }

    /// Answers all who have joined, and waits for them to ask what is theirs.
    fn tell_all(&mut self) {
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let mut joining = None;
            self.group.change(&id, |member| {
                joining = member.joining.take();
                member.is_new = false;
                member.owes_sync = true;
            });
            if let Some(waiter) = joining {
                let mut joined = self.joined(&id);
                if self.group.is_leader(&id) {
                    joined.members = self.group.joined_members();
                }
                self.answer_join(waiter, Ok(joined));
                self.keep_alive(&id);
            }
        }
        let at = self.now.instant + self.group.rebalance_timeout();
        self.timers.arm(&mut self.group.sync_timer, at, &self.id, Subject::Sync);
    }

    /// Everyone who waits for an assignment is told `error`, and nobody has one.
    pub(super) fn end_sync(&mut self, error: &GroupError) {
        for member in self.group.members.values_mut() {
            if let Some(waiter) = member.syncing.take() {
                self.commands.push(Command::Synced(waiter, Err(error.clone())));
            }
        }
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            self.group.change(&id, |member| member.assignment.clear());
        }
    }

    pub(super) fn store(&mut self, purpose: Purpose) {
        if purpose == Purpose::Empty {
            self.group.is_stored = false;
        }
        self.commands.push(Command::Store {
            group: Arc::clone(&self.id),
            generation: self.group.generation,
            record: self.group.record(),
            purpose,
        });
    }
}
