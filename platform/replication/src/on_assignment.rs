//! The metadata have changed: another leader, another epoch, other replicas or settings.

use millrace_base::{BrokerId, LeaderEpoch};

use crate::assignment::Assignment;
use crate::command::{Command, Refused, Waiters};
use crate::follower::{Follower, Round};
use crate::history::History;
use crate::leader::{Leader, Progress};
use crate::replica::{Replica, Role};

impl Replica {
    /// Takes over `assignment`. Where it brings another epoch or role, the epoch's command is the first. One that is older than what the controller has answered a proposal with changes nothing
    /// but the settings.
    pub fn on_assignment(
        &mut self,
        assignment: Assignment,
        log: &impl History,
        now_ms: i64,
        out: &mut Vec<Command>,
    ) {
        let known = (self.assignment.leader_epoch, self.assignment.partition_epoch);
        if (assignment.leader_epoch, assignment.partition_epoch) < known {
            self.assignment.min_insync_replicas = assignment.min_insync_replicas;
            if matches!(self.role, Role::Leader(_)) {
                self.in_sync_changed(now_ms, out);
            }
            return;
        }
        let before = std::mem::replace(&mut self.assignment, assignment);
        let goes_on = before.leader_epoch == self.assignment.leader_epoch;
        let moved_on = before.partition_epoch < self.assignment.partition_epoch;
        match (self.assignment.leader, &self.role) {
            (Some(leader), Role::Leader(_)) if leader == self.local && goes_on => {
                self.take_over_members(now_ms);
                if moved_on {
                    self.isr_committed(now_ms, out);
                } else {
                    self.in_sync_changed(now_ms, out);
                }
            }
            (Some(leader), _) if leader == self.local => self.begin_leading(log, now_ms, out),
            (Some(leader), Role::Follower(follower)) if goes_on && follower.leader == leader => {}
            (Some(leader), _) => self.begin_following(leader, log, out),
            (None, Role::Waiting) if goes_on => {}
            (None, _) => {
                self.stop_leading(out);
                self.role = Role::Waiting;
            }
        }
    }

    fn begin_leading(&mut self, log: &impl History, now_ms: i64, out: &mut Vec<Command>) {
        let epoch = self.assignment.leader_epoch;
        let led_since = match &self.role {
            Role::Leader(leader) => leader.led_since,
            Role::Waiting | Role::Follower(_) => epoch,
        };
        self.look_at(log);
        let others = self.assignment.replicas.iter().filter(|member| member.id != self.local);
        let followers = others.map(|member| Progress::new(member, now_ms)).collect();
        self.role = Role::Leader(Leader {
            led_since,
            epoch_start: self.pointers.log_end,
            followers,
            proposed: None,
            ask_again: false,
            wake_at_ms: None,
        });
        out.push(Command::BeginEpoch(epoch));
        self.in_sync_changed(now_ms, out);
    }

    fn begin_following(&mut self, leader: BrokerId, log: &impl History, out: &mut Vec<Command>) {
        self.stop_leading(out);
        self.look_at(log);
        self.role = Role::Follower(Follower {
            leader,
            leader_high_watermark: self.pointers.high_watermark,
            leader_log_start: 0,
            round: Round::Syncing,
        });
        self.fetch_if_synced(log, out);
    }

    fn stop_leading(&mut self, out: &mut Vec<Command>) {
        out.push(Command::FollowEpoch(self.assignment.leader_epoch));
        if matches!(self.role, Role::Leader(_)) {
            out.push(Command::Fail { who: Waiters::All, why: Refused::NotLeader });
        }
    }

    /// Appends and syncs of the former role may not have been reported yet.
    fn look_at(&mut self, log: &impl History) {
        self.pointers.log_end = log.log_end();
        let durable_end = self.pointers.durable_end.max(log.durable_end());
        self.pointers.durable_end = durable_end.min(self.pointers.log_end);
    }

    /// Other replicas, or the same under other identities.
    fn take_over_members(&mut self, now_ms: i64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let others = self.assignment.replicas.iter().filter(|member| member.id != self.local);
        let known = std::mem::take(&mut leader.followers);
        let followers = others.map(|member| {
            let Some(mut follower) = known.iter().find(|known| known.id == member.id).copied() else {
                return Progress::new(member, now_ms);
            };
            if member.identity.broker_epoch > follower.identity.broker_epoch {
                follower.identify(member.identity);
            }
            follower
        });
        leader.followers = followers.collect();
    }
}

/// Whether `epoch` is one of those since which this replica has led without a break.
pub(crate) fn is_led_since(leader: &Leader, current: LeaderEpoch, epoch: LeaderEpoch) -> bool {
    leader.led_since <= epoch && epoch <= current
}
