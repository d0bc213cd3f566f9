//! How a replica stands to requests: a copy of what decides, so that they are judged without a lock.

use millrace_base::LeaderEpoch;

use crate::command::Refused;

/// What a replica answers requests by, until its next assignment or ISR answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub(crate) leads: bool,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) in_sync: usize,
    pub(crate) min_in_sync: usize,
}

impl Standing {
    /// The newest epoch that is known, whoever leads in it.
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Whether a request that takes `epoch` for the current one is for this replica (KIP-320). Who does not know the
    /// epoch is not fenced.
    pub fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), Refused> {
        if !self.leads {
            return Err(Refused::NotLeader);
        }
        let current = self.leader_epoch;
        match epoch {
            LeaderEpoch::UNKNOWN => Ok(()),
            given if given < current => Err(Refused::FencedEpoch { given, current }),
            given if given > current => Err(Refused::UnknownEpoch { given, current }),
            _ => Ok(()),
        }
    }

    /// Whether an append that wants all in-sync replicas may be taken.
    pub const fn check_in_sync(&self) -> Result<(), Refused> {
        let Self { in_sync, min_in_sync: least, .. } = *self;
        if in_sync < least { Err(Refused::NotEnoughReplicas { in_sync, least }) } else { Ok(()) }
    }
}
