//! The handle that the rest of a broker holds: start, read the image, submit commands.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::BrokerId;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::command::Command;
use crate::errors::{ReadyError, SUBMIT_TIMEOUT, StartError, SubmitError};
use crate::image::Image;
use crate::member::Member;
use crate::network::{PeerNetwork, RaftRpc};
use crate::options::{MetadataOptions, VoterSet};
use crate::outcome::Outcome;
use crate::raft::node::Node;

/// See the module's text. Clones share one node, which stops with [`Metadata::shutdown`] or with the last of
/// them.
#[derive(Clone)]
pub struct Metadata {
    member: Arc<Member>,
    /// Ends with the last handle.
    _attending: Arc<AbortOnDrop>,
}

struct AbortOnDrop(Option<AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Metadata {
    /// Recovers from `options.dir` and takes part in the quorum. A sole voter leads, and is registered in its
    /// image, when this returns. Otherwise that goes on in the background, because the others need this
    /// broker's answers ([`Self::handle_peer`]) for it: see [`Self::ready`].
    pub async fn start(options: MetadataOptions, network: Arc<dyn PeerNetwork>) -> Result<Self, StartError> {
        let me = options.registration.id;
        let node = Node::open(&options, Arc::clone(&network)).await?;
        if options.voters.contains(me) && !node.is_initialized().await? {
            node.initialize(options.voters.ids()).await?;
        }
        let (voters, _) = node.membership().await?;
        let member = Arc::new(Member::new(node, network, options));
        let attending = if voters == *VoterSet::single(me).ids() {
            member.lead_alone().await?;
            None
        } else {
            let member = Arc::clone(&member);
            Some(tokio::spawn(async move { member.attend().await }).abort_handle())
        };
        Ok(Self { member, _attending: Arc::new(AbortOnDrop(attending)) })
    }

    /// Waits until this broker is registered in its own image, for which a quorum has to be up.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        self.member.ready().await
    }

    /// Why the metadata of this broker has stopped, if it has: a disk that failed, mostly.
    pub fn failure(&self) -> Option<String> {
        self.member.node().failure()
    }

    /// What the metadata wait for to pass before anything can be changed, if so.
    pub fn stall(&self) -> Option<Arc<str>> {
        self.member.node().stall()
    }

    /// The latest image; takes no lock.
    pub fn image(&self) -> Arc<Image> {
        self.member.node().published.image.load_full()
    }

    /// Tells when there is another image, by its applied index.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.member.node().published.applied.subscribe()
    }

    /// Has the quorum carry out a command, wherever its leader is. When it returns an outcome, this broker's
    /// image reflects it. Takes [`SUBMIT_TIMEOUT`] at most.
    pub async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.member.submit(command).await
    }

    /// Index of the last entry that this broker's log has left to its snapshot; 0 while there is none.
    pub fn purged_index(&self) -> u64 {
        self.member.node().purged_index()
    }

    /// The broker that leads the quorum, as far as this one knows.
    pub fn controller(&self) -> Option<BrokerId> {
        self.member.node().leader()
    }

    /// Answers a peer's [`PeerNetwork::call`].
    pub async fn handle_peer(&self, kind: RaftRpc, body: Bytes) -> Bytes {
        self.member.handle_peer(kind, &body).await
    }

    /// Makes these brokers the voters; those that were remain as learners. For the leader only, and only with
    /// brokers that take part already.
    pub async fn change_voters(&self, voters: &VoterSet) -> Result<(), SubmitError> {
        let changed = self.member.node().change_voters(voters.ids());
        tokio::time::timeout(SUBMIT_TIMEOUT, changed)
            .await
            .map_err(|_| SubmitError::Timeout)?
            .map_err(Into::into)
    }

    /// Stops taking part, for all clones of the handle, and returns when the files are closed.
    pub async fn shutdown(self) {
        self.member.node().shutdown().await;
    }
}
