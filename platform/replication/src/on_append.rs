//! Records were appended: a producer's to a leader's log, a leader's to a follower's.

use millrace_base::{LeaderEpoch, Offset};

use crate::command::{Command, Refused};
use crate::follower::Round;
use crate::history::History;
use crate::on_assignment::is_led_since;
use crate::replica::{Replica, Role};

impl Replica {
    /// A producer's records up to `end` are in the log, appended under `epoch`; `all`: their producer waits for all
    /// in-sync replicas. An error tells that it would wait in vain: the replica does not lead any more, or has not
    /// always since (then the records may be gone), or too few replicas are in sync.
    pub fn on_append(&mut self, epoch: LeaderEpoch, end: Offset, all: bool) -> Result<(), Refused> {
        let Role::Leader(leader) = &self.role else { return Err(Refused::NotLeader) };
        if !is_led_since(leader, self.assignment.leader_epoch, epoch) {
            return Err(Refused::NotLeader);
        }
        self.pointers.log_end = self.pointers.log_end.max(end);
        if all && self.assignment.is_under_min_isr() {
            let (in_sync, least) = (self.assignment.isr.len(), self.assignment.effective_min_isr());
            return Err(Refused::NotEnoughReplicasAfterAppend { in_sync, least });
        }
        Ok(())
    }

    /// The log has taken the records of a fetch answer and ends at `end`.
    pub fn on_append_fetched(&mut self, end: Offset, log: &impl History, out: &mut Vec<Command>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if !matches!(follower.round, Round::Appending { .. }) {
            return;
        }
        follower.round = Round::Syncing;
        self.pointers.log_end = self.pointers.log_end.max(end);
        self.fetch_if_synced(log, out);
    }
}
