//! Time has passed.

use crate::command::Command;
use crate::follower::Round;
use crate::history::History;
use crate::replica::{Replica, Role};

impl Replica {
    /// What was due by `now_ms`; before that, nothing.
    pub fn on_time(&mut self, log: &impl History, now_ms: i64, out: &mut Vec<Command>) {
        match &mut self.role {
            Role::Waiting => {}
            Role::Leader(leader) => {
                if leader.wake_at_ms.is_none_or(|at_ms| now_ms < at_ms) {
                    return;
                }
                leader.wake_at_ms = None;
                if leader.ask_again {
                    self.propose(out);
                } else {
                    self.reconsider_isr(None, now_ms, out);
                }
                self.wake_later(now_ms, out);
            }
            Role::Follower(follower) => {
                if matches!(follower.round, Round::Pausing { until_ms } if until_ms <= now_ms) {
                    follower.round = Round::Syncing;
                    self.fetch_if_synced(log, out);
                }
            }
        }
    }
}
