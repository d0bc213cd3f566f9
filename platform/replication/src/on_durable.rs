//! This replica's disk has more.

use millrace_base::Offset;

use crate::command::Command;
use crate::follower::Round;
use crate::history::{History, last_epoch};
use crate::replica::{Replica, Role};

impl Replica {
    /// Everything below `end` is durable here, or as safe as the topic's flush policy asks. Allocates nothing where `out`
    /// has room.
    pub fn on_durable(&mut self, end: Offset, log: &impl History, out: &mut Vec<Command>) {
        if end <= self.pointers.durable_end {
            return;
        }
        self.pointers.durable_end = end;
        // The append itself may be reported later.
        self.pointers.log_end = self.pointers.log_end.max(end);
        match self.role {
            Role::Leader(_) => self.advance(out),
            Role::Follower(_) => self.fetch_if_synced(log, out),
            Role::Waiting => {}
        }
    }

    /// The follower's next round, if all that it has is durable.
    pub(crate) fn fetch_if_synced(&mut self, log: &impl History, out: &mut Vec<Command>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.round != Round::Syncing {
            return;
        }
        // What the leader has committed and this replica has durably is committed here, too.
        let committed = follower.leader_high_watermark.min(self.pointers.durable_end);
        if committed > self.pointers.high_watermark {
            self.pointers.high_watermark = committed;
            out.push(Command::PublishHighWatermark(committed));
        }
        let log_start = follower.leader_log_start.min(self.pointers.high_watermark);
        if log_start > log.log_start() {
            out.push(Command::RaiseLogStart { to: log_start });
        }
        let offset = self.pointers.log_end;
        if self.pointers.durable_end < offset {
            return;
        }
        follower.round = Round::Fetching { offset };
        out.push(Command::FetchFrom {
            leader: follower.leader,
            leader_epoch: self.assignment.leader_epoch,
            offset,
            last_fetched_epoch: last_epoch(log, offset),
        });
    }
}
