//! The log has been truncated or reset, or could not be.

use millrace_base::Offset;

use crate::command::Command;
use crate::follower::Round;
use crate::history::History;
use crate::replica::{Replica, Role};

impl Replica {
    /// What [`Command::Truncate`] or [`Command::Reset`] came to: the log ends at `end` now, all of it durable, and `log` is
    /// the log after that. `None`: it failed, and the leader will be asked anew later.
    pub fn on_cut(&mut self, end: Option<Offset>, log: &impl History, now_ms: i64, out: &mut Vec<Command>) {
        // A cut is what it is in any role; only the one that this role has asked for brings the next fetch.
        let cutting = match &self.role {
            Role::Follower(follower) => match follower.round {
                Round::Cutting { resets } => Some(resets),
                _ => None,
            },
            Role::Leader(_) | Role::Waiting => None,
        };
        let Some(end) = end else {
            if cutting.is_some() {
                self.pause(now_ms, out);
            }
            return;
        };
        (self.pointers.log_end, self.pointers.durable_end) = (end, end);
        // What a leader has deleted was committed, so that everything below where it starts is. Otherwise only an
        // unclean election makes the high watermark fall here.
        let before = self.pointers.high_watermark;
        let high_watermark = if cutting == Some(true) { end } else { before.min(end) };
        if high_watermark != before {
            self.pointers.high_watermark = high_watermark;
            out.push(Command::PublishHighWatermark(high_watermark));
        }
        let Role::Follower(follower) = &mut self.role else { return };
        if cutting.is_some() {
            follower.round = Round::Syncing;
            follower.leader_high_watermark = high_watermark;
            self.fetch_if_synced(log, out);
        }
    }
}
