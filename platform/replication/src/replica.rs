//! One replica: its assignment, its pointers, its role, and what it answers without changing.

use millrace_base::{BrokerId, Offset};

use crate::assignment::Assignment;
use crate::command::Command;
use crate::follower::Follower;
use crate::history::History;
use crate::leader::Leader;
use crate::standing::Standing;

/// Times, in milliseconds, that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A follower in sync that has not caught up for longer is taken out (`replica.lag.time.max.ms`).
    pub lag_max_ms: i64,
    /// Between a fetch or a proposal that failed and the next one (`replica.fetch.backoff.ms`).
    pub retry_ms: i64,
}

/// How far the replica is: high watermark ≤ durable end ≤ log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointers {
    pub high_watermark: Offset,
    /// Below it this replica has everything as safely as the topic's flush policy asks: by default, on disk.
    pub durable_end: Offset,
    pub log_end: Offset,
}

pub(crate) enum Role {
    /// Nobody leads, or the metadata have said nothing yet.
    Waiting,
    Leader(Leader),
    Follower(Follower),
}

/// A role's name, for those who only look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    Waiting,
    Leader,
    Follower,
}

/// The decisions of one replica of one partition. The crate's text has the rules.
pub struct Replica {
    pub(crate) local: BrokerId,
    pub(crate) timing: Timing,
    pub(crate) assignment: Assignment,
    pub(crate) pointers: Pointers,
    pub(crate) role: Role,
}

impl Replica {
    /// A replica that waits for its first assignment. `checkpointed` is the high watermark that was kept beside the log:
    /// it counts as far as the log goes.
    pub fn new(local: BrokerId, timing: Timing, log: &impl History, checkpointed: Offset) -> Self {
        let durable_end = log.durable_end();
        let high_watermark = checkpointed.max(log.log_start()).min(durable_end);
        let pointers = Pointers { high_watermark, durable_end, log_end: log.log_end() };
        Self { local, timing, assignment: Assignment::unknown(), pointers, role: Role::Waiting }
    }

    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    pub fn pointers(&self) -> Pointers {
        self.pointers
    }

    pub fn role(&self) -> RoleKind {
        match self.role {
            Role::Waiting => RoleKind::Waiting,
            Role::Leader(_) => RoleKind::Leader,
            Role::Follower(_) => RoleKind::Follower,
        }
    }

    /// What requests are judged by.
    pub fn standing(&self) -> Standing {
        Standing {
            leads: matches!(self.role, Role::Leader(_)),
            leader_epoch: self.assignment.leader_epoch,
            in_sync: self.assignment.isr.len(),
            min_in_sync: self.assignment.effective_min_isr(),
        }
    }

    /// Moves the high watermark of a leader to what all that may be in sync have durably.
    pub(crate) fn advance(&mut self, out: &mut Vec<Command>) {
        let Role::Leader(leader) = &self.role else { return };
        if self.assignment.is_under_min_isr() {
            return;
        }
        let isr = &self.assignment.isr;
        let counting = leader.followers.iter().filter(|follower| leader.may_be_in_sync(isr, follower.id));
        let reached =
            counting.fold(self.pointers.durable_end, |end, follower| end.min(follower.trusted_end()));
        if reached >= leader.epoch_start && reached > self.pointers.high_watermark {
            self.pointers.high_watermark = reached;
            out.push(Command::PublishHighWatermark(reached));
        }
    }

    /// Whether the order of the pointers and the rules of the role hold; `Err` says which does not. Tests and the
    /// simulator call it after every step.
    pub fn validate(&self) -> Result<(), String> {
        let Pointers { high_watermark, durable_end, log_end } = self.pointers;
        if !(0 <= high_watermark && high_watermark <= durable_end && durable_end <= log_end) {
            return Err(format!("0 ≤ high watermark ≤ durable end ≤ log end: {:?}", self.pointers));
        }
        let Role::Leader(leader) = &self.role else { return Ok(()) };
        for follower in &leader.followers {
            let counts = leader.may_be_in_sync(&self.assignment.isr, follower.id);
            // One that has not fetched in this epoch has acknowledged to an earlier leader, or to nobody.
            if counts && !follower.lost && follower.end >= 0 && follower.end < high_watermark {
                return Err(format!(
                    "high watermark {high_watermark} is beyond {}, which broker {} has",
                    follower.end, follower.id
                ));
            }
        }
        Ok(())
    }
}
