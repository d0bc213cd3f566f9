//! The handle that the rest of a broker holds: start, read the image, submit commands.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_base::BrokerId;
use tokio::sync::watch;

use crate::command::{BrokerRegistration, Command};
use crate::image::Image;
use crate::network::{PeerNetwork, RaftRpc};
use crate::outcome::{Outcome, Rejection};

/// The brokers that vote on the metadata of a new cluster. Later changes go through
/// [`Metadata::change_voters`].
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

    pub fn ids(&self) -> &BTreeSet<BrokerId> {
        &self.0
    }
}

impl FromIterator<BrokerId> for VoterSet {
    fn from_iter<I: IntoIterator<Item = BrokerId>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// How often a leader shows itself and how long its silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self { heartbeat_ms: 200, election_min_ms: 600, election_max_ms: 1200 }
    }
}

#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// Directory of its own, created if missing.
    pub dir: PathBuf,
    /// The name the cluster must have, or is given if it is new; `None` takes what it has or makes one up.
    pub cluster_id: Option<String>,
    /// What this broker registers as; its id is the Raft node's id, too.
    pub registration: BrokerRegistration,
    /// The first voters of the cluster: the same on each. A broker that is not among them joins as a learner.
    pub voters: VoterSet,
    pub timing: RaftTiming,
}

impl MetadataOptions {
    /// A cluster of one, with a name of its own making.
    pub fn single(dir: PathBuf, registration: BrokerRegistration) -> Self {
        let voters = VoterSet::single(registration.id);
        Self { dir, cluster_id: None, registration, voters, timing: RaftTiming::default() }
    }
}

/// A broker whose metadata cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Todo(String),
}

/// A command that was not carried out, or not certainly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("no leader of the metadata quorum could be reached (last known: {leader:?})")]
    NotLeader { leader: Option<BrokerId> },
    /// The command may yet be carried out.
    #[error("the metadata quorum did not answer in time")]
    Timeout,
    #[error("the metadata of this broker has stopped: {reason}")]
    Shutdown { reason: String },
}

/// See the module's text. Clones share one node.
#[derive(Clone)]
pub struct Metadata {
    image: Arc<arc_swap::ArcSwap<Image>>,
    applied: watch::Receiver<u64>,
}

impl Metadata {
    /// Recovers from `options.dir` and joins the quorum. A sole voter is leader, named and registered when this
    /// returns; otherwise that goes on in the background, because the other voters need this one's answers
    /// ([`Self::handle_peer`]): see [`Self::ready`].
    pub async fn start(_: MetadataOptions, _: Arc<dyn PeerNetwork>) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Waits until this broker is registered in its own image.
    pub async fn ready(&self) -> Result<(), StartError> {
        unimplemented!()
    }

    /// The latest image; no lock, no allocation beyond a reference count.
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Tells when there is another image, by its applied index.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Has the quorum carry out a command, wherever its leader is. When it returns the outcome, this broker's
    /// image reflects it.
    pub async fn submit(&self, _: Command) -> Result<Outcome, SubmitError> {
        unimplemented!()
    }

    /// The broker that leads the quorum, as far as this one knows.
    pub fn controller(&self) -> Option<BrokerId> {
        unimplemented!()
    }

    /// Answers a peer's [`PeerNetwork::call`].
    pub async fn handle_peer(&self, _: RaftRpc, _: Bytes) -> Bytes {
        unimplemented!()
    }

    /// Makes these brokers the voters; the others stay as learners. To be called on the leader.
    pub async fn change_voters(&self, _: VoterSet) -> Result<(), SubmitError> {
        unimplemented!()
    }

    /// Stops taking part and closes the files.
    pub async fn shutdown(self) {
        unimplemented!()
    }
}
