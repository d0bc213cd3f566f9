//! A follower fetches from this leader, and by that says what it has.

use millrace_base::{BrokerId, LeaderEpoch, Offset};

use crate::assignment::Identity;
use crate::command::{Command, Refused};
use crate::history::{Divergence, History, divergence};
use crate::leader::Progress;
use crate::replica::{Replica, Role};

/// A follower's fetch of one partition. Those of one follower are handed in in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFetch {
    pub replica: BrokerId,
    pub identity: Identity,
    /// The epoch that it follows; a replica always knows it.
    pub leader_epoch: LeaderEpoch,
    /// Below it the follower has everything durably.
    pub offset: Offset,
    /// Epoch of its record before `offset`.
    pub last_fetched_epoch: LeaderEpoch,
}

/// What the follower is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Records from its offset on, committed or not.
    Records,
    /// The two logs differ: it has to cut its own.
    Diverging(Divergence),
}

impl Progress {
    /// It is `identity` from now on; with another directory it has nothing of what it had.
    pub(crate) fn identify(&mut self, identity: Identity) {
        if identity.directory != self.identity.directory {
            self.end = -1;
            self.lost = true;
        }
        self.identity = identity;
    }
}

impl Replica {
    /// Counts what the follower has, and says what it is given.
    pub fn on_replica_fetch(
        &mut self,
        fetch: &ReplicaFetch,
        log: &impl History,
        now_ms: i64,
        out: &mut Vec<Command>,
    ) -> Result<Served, Refused> {
        self.standing().check_leader(fetch.leader_epoch)?;
        if fetch.leader_epoch == LeaderEpoch::UNKNOWN {
            return Err(Refused::FencedEpoch {
                given: fetch.leader_epoch,
                current: self.assignment.leader_epoch,
            });
        }
        let Role::Leader(leader) = &mut self.role else { return Err(Refused::NotLeader) };
        let in_sync = leader.may_be_in_sync(&self.assignment.isr, fetch.replica);
        let high_watermark = self.pointers.high_watermark;
        let follower = leader.follower(fetch.replica).ok_or(Refused::UnknownReplica(fetch.replica))?;
        let (given, current) = (fetch.identity.broker_epoch, follower.identity.broker_epoch);
        if given < current {
            return Err(Refused::StaleBroker { given, current });
        }
        follower.identify(fetch.identity);
        let diverging = divergence(log, fetch.last_fetched_epoch, fetch.offset);
        if diverging == Ok(None) && fetch.offset < follower.end.max(if in_sync { high_watermark } else { 0 })
        {
            // In sync it had acknowledged more, to this leader or to an earlier one.
            follower.lost = true;
        }
        follower.lost &= in_sync;
        let served = match diverging {
            Err(refused) => Err(refused),
            Ok(Some(divergence)) => Ok(Served::Diverging(divergence)),
            Ok(None) => {
                let (offset, start, end) = (fetch.offset, log.log_start(), log.log_end());
                if (start..=end).contains(&offset) {
                    follower.fetched(offset, end, now_ms);
                    Ok(Served::Records)
                } else {
                    Err(Refused::OutOfRange { offset, start, end })
                }
            }
        };
        self.pointers.log_end = self.pointers.log_end.max(log.log_end());
        self.advance(out);
        self.reconsider_isr(Some(fetch.replica), now_ms, out);
        self.wake_later(now_ms, out);
        served
    }
}
