//! What a broker's metadata is started with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_base::{BrokerId, Random};
use millrace_disk::{Disk, RealDisk, Reserve};

use crate::command::BrokerRegistration;
use crate::threading::Threading;

/// Brokers that vote on the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterSet(BTreeSet<BrokerId>);

impl VoterSet {
    /// A cluster of one.
    pub fn single(id: BrokerId) -> Self {
        Self(BTreeSet::from([id]))
    }

    pub fn contains(&self, id: BrokerId) -> bool {
        self.0.contains(&id)
    }

    pub const fn ids(&self) -> &BTreeSet<BrokerId> {
        &self.0
    }
}

impl FromIterator<BrokerId> for VoterSet {
    fn from_iter<I: IntoIterator<Item = BrokerId>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// Raft's own intervals and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTuning {
    /// How often a leader shows itself; also the time for a follower to answer one message.
    pub heartbeat_ms: u64,
    /// A leader's silence is borne for twice a random time between these two, at the most.
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// Entries since the last snapshot from which there is a new one.
    pub snapshot_entries: u64,
    /// Entries that stay in the log although the snapshot has them, for followers that are a little behind.
    pub keep_entries: u64,
}

/// A dead leader is replaced after two to three seconds; an idle node wakes three times a second.
impl Default for RaftTuning {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            election_min_ms: 600,
            election_max_ms: 1000,
            snapshot_entries: 4096,
            keep_entries: 512,
        }
    }
}

#[derive(Clone)]
pub struct MetadataOptions {
    /// Where `dir` is.
    pub disk: Arc<dyn Disk>,
    /// A directory of its own, created if missing.
    pub dir: PathBuf,
    /// The name that the cluster must have, or is given if it is new; `None` takes what it has or makes one up.
    pub cluster_id: Option<String>,
    /// What this broker registers as at every start. Its id is its name in the quorum, too.
    pub registration: BrokerRegistration,
    /// The voters that a new cluster begins with, the same list on each of them. A broker that is not among
    /// them asks them to be sent the log, as a learner. Of no effect once the broker belongs to a cluster.
    pub voters: VoterSet,
    /// What may be given up so that the metadata can be written on a full disk.
    pub reserve: Arc<Reserve>,
    pub tuning: RaftTuning,
    pub threading: Threading,
    /// What elections are held by, so that no two candidates always meet; and what new clusters are named by.
    pub random: Random,
}

impl MetadataOptions {
    /// A cluster of one on the system's disk, with a name of its own making.
    pub fn single(dir: PathBuf, registration: BrokerRegistration) -> Self {
        let voters = VoterSet::single(registration.id);
        Self {
            disk: Arc::new(RealDisk),
            dir,
            cluster_id: None,
            registration,
            voters,
            reserve: Reserve::none(),
            tuning: RaftTuning::default(),
            threading: Threading::default(),
            random: Random::system(),
        }
    }
}
