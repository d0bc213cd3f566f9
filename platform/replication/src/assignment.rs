//! What the metadata say about a partition, as far as its replicas act upon it.

use millrace_base::{BrokerId, LeaderEpoch};

/// Who a replica is beyond its number: a broker that lost its disk keeps the number, not the identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Names the data directory for as long as it keeps what was written. Compared, nothing else.
    pub directory: u128,
    /// Grows with every registration of the broker; an older one is a process that is gone (KIP-903).
    pub broker_epoch: i64,
}

/// One replica of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: BrokerId,
    pub identity: Identity,
}

/// The partition as the metadata have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change of the partition; a proposal names the one that it was made from (KIP-497).
    pub partition_epoch: i32,
    pub replicas: Vec<Member>,
    /// The replicas in sync, as the controller has committed them: out of `replicas`, never empty.
    pub isr: Vec<BrokerId>,
    /// The topic's `min.insync.replicas`.
    pub min_insync_replicas: usize,
}

impl Assignment {
    /// What stands before the metadata have said anything.
    pub(crate) const fn unknown() -> Self {
        Self {
            leader: None,
            leader_epoch: LeaderEpoch::UNKNOWN,
            partition_epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            min_insync_replicas: 1,
        }
    }

    /// Replicas that must be in sync for a write that wants all of them. A topic with fewer replicas than
    /// `min.insync.replicas` could never be written to, so, as in Kafka, the lower number counts.
    pub fn effective_min_isr(&self) -> usize {
        self.replicas.len().min(self.min_insync_replicas)
    }

    /// Whether fewer replicas are in sync than a write with `acks=all` asks for.
    pub fn is_under_min_isr(&self) -> bool {
        self.isr.len() < self.effective_min_isr()
    }

    pub(crate) fn member(&self, id: BrokerId) -> Option<&Member> {
        self.replicas.iter().find(|member| member.id == id)
    }
}
