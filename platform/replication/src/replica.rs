//! One replica: its assignment, its pointers, its role, and what it answers without changing.

use millrace_base::{BrokerId, LeaderEpoch, Offset};

use crate::assignment::Assignment;
use crate::command::{Command, Refused};
use crate::follower::Follower;
use crate::history::{Divergence, History, divergence};
use crate::leader::Leader;

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

    /// Whether a request that takes `epoch` for the current one is for this replica (KIP-320). Who does not know the
    /// epoch is not fenced.
    pub fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), Refused> {
        if !matches!(self.role, Role::Leader(_)) {
            return Err(Refused::NotLeader);
        }
        let current = self.assignment.leader_epoch;
        match epoch {
            LeaderEpoch::UNKNOWN => Ok(()),
            given if given < current => Err(Refused::FencedEpoch { given, current }),
            given if given > current => Err(Refused::UnknownEpoch { given, current }),
            _ => Ok(()),
        }
    }

    /// The epoch under which a producer's records may be appended; `all`: it wants all in-sync replicas to have them.
    pub fn check_append(&self, all: bool) -> Result<LeaderEpoch, Refused> {
        self.check_leader(LeaderEpoch::UNKNOWN)?;
        if all && self.assignment.is_under_min_isr() {
            let (in_sync, least) = (self.assignment.isr.len(), self.assignment.effective_min_isr());
            return Err(Refused::NotEnoughReplicas { in_sync, least });
        }
        Ok(self.assignment.leader_epoch)
    }

    /// Where a fetcher's log, which goes up to `offset` with a last record of `last_epoch`, left this one.
    pub fn divergence(
        &self,
        log: &impl History,
        last_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<Divergence>, Refused> {
        divergence(log, last_epoch, offset)
    }

    /// What OffsetForLeaderEpoch answers: the point that [`Self::divergence`] compares with. `None`: there is none.
    pub fn end_of_epoch(&self, log: &impl History, epoch: LeaderEpoch) -> Option<Divergence> {
        log.end_of_epoch(epoch).map(|(epoch, end)| Divergence { epoch, end })
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
