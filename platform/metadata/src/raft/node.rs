//! One Raft node: opens its files, proposes commands, answers peers. Without knowledge of what commands mean.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_base::BrokerId;
use openraft::error::{Fatal, InitializeError, RaftError};
use openraft::{Config, EmptyNode, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::errors::NodeError;
use super::log_store::LogSize;
use super::log_writer::LogThread;
use super::network::{Connections, decode_snapshot};
use super::patience::{Patience, Stall};
use super::proposer::{self, Applied, Pending, ProposeError};
use super::runtime::within;
use super::state_machine::{Files, Published};
use super::storage::{Place, REWRITE_DEAD_BYTES_MIN, Storage};
use super::{DirectoryLock, NodeId, TypeConfig, broker_id, node_id};
use crate::command::Command;
use crate::network::{PeerNetwork, RaftRpc};
use crate::options::{MetadataOptions, RaftTuning};
use crate::peer_form::{PeerFormError, Reply, decode, encode};
use crate::threading::Threading;

/// Bytes of log entries from which a snapshot is made although they are few.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// Piece of a snapshot that travels in one message.
const SNAPSHOT_PIECE_BYTES: u64 = 1 << 20;
/// For one piece of a snapshot to arrive, and for the whole to be written by who receives it.
const SNAPSHOT_TIMEOUT_MS: u64 = 30_000;
/// How long a write that cannot be done is waited for by who has a command in it.
const STALL_BORNE: Duration = Duration::from_secs(2);
/// Commands that wait for the one in flight; more wait in `submit`.
const PROPOSALS_WAITING: usize = 1024;

pub(crate) struct Node {
    raft: Raft<TypeConfig>,
    proposals: mpsc::Sender<Pending>,
    pub(crate) published: Published,
    tasks: Vec<AbortHandle>,
    threading: Threading,
    log_thread: Mutex<LogThread>,
    files: Files,
    /// Of votes and the log.
    patience: Patience,
    snapshot_patience: Patience,
    /// Of the directory, while anything may still be written there.
    lock: Mutex<Option<DirectoryLock>>,
    runtime: tokio::runtime::Handle,
    stopped: AtomicBool,
}

/// Dropped without [`Node::shutdown`], a node stops as well, only nobody waits for it.
impl Drop for Node {
    fn drop(&mut self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            self.stop_waiting();
            let (raft, files, lock) = (self.raft.clone(), self.files.clone(), self.lock.lock().take());
            let threading = self.threading;
            self.runtime.spawn(async move {
                let _ = raft.shutdown().await;
                let _ = threading.run(move || files.close()).await;
                drop(lock);
            });
        }
    }
}

impl Node {
    pub(crate) async fn open(
        options: &MetadataOptions,
        network: Arc<dyn PeerNetwork>,
    ) -> Result<Self, NodeError> {
        let id = options.registration.id;
        let id = node_id(id).ok_or_else(|| NodeError::Other(format!("broker id {id} is negative")))?;
        let MetadataOptions { tuning, threading, .. } = *options;
        let place = Place {
            disk: Arc::clone(&options.disk),
            dir: options.dir.clone(),
            node_id: id,
            reserve: Arc::clone(&options.reserve),
            threading,
            rewrite_dead_bytes_min: REWRITE_DEAD_BYTES_MIN,
        };
        let config = config(tuning)?;
        let storage = Storage::open(&place)?;
        let Storage { log, size, log_thread, state_machine, published, patience, snapshot_patience, lock } =
            storage;
        let files = state_machine.files();
        let raft = Raft::new(id, config, Connections(network), log, state_machine);
        let raft = within(options.random.clone(), raft).await;
        let raft = raft.map_err(|error| NodeError::Other(error.to_string()))?;

        let (proposals, waiting) = mpsc::channel(PROPOSALS_WAITING);
        let proposing = tokio::spawn(proposer::run(raft.clone(), waiting));
        let bounding = tokio::spawn(bound_log(raft.clone(), size, published.clone(), tuning.keep_entries));
        Ok(Self {
            raft,
            proposals,
            published,
            tasks: vec![proposing.abort_handle(), bounding.abort_handle()],
            threading,
            log_thread: Mutex::new(log_thread),
            files,
            patience,
            snapshot_patience,
            lock: Mutex::new(Some(lock)),
            runtime: tokio::runtime::Handle::current(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Whether this node has ever been part of a cluster.
    pub(crate) async fn is_initialized(&self) -> Result<bool, NodeError> {
        self.raft.is_initialized().await.map_err(|error| NodeError::Other(error.to_string()))
    }

    /// Founds a cluster of these voters, this node among them. The same on several of them is one cluster.
    pub(crate) async fn initialize(&self, voters: &BTreeSet<BrokerId>) -> Result<(), NodeError> {
        let voters: Option<BTreeSet<NodeId>> = voters.iter().copied().map(node_id).collect();
        let voters = voters.ok_or_else(|| NodeError::Other("a voter's id is negative".into()))?;
        match self.raft.initialize(voters).await {
            // Another voter was quicker.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(NodeError::Other(error.to_string())),
        }
    }

    /// Voters and all members, learners included, as this node knows them.
    pub(crate) async fn membership(&self) -> Result<(BTreeSet<BrokerId>, BTreeSet<BrokerId>), NodeError> {
        let read = self.raft.with_raft_state(|state| {
            let membership = state.membership_state.effective().membership();
            let voters = membership.voter_ids().map(broker_id).collect();
            (voters, membership.nodes().map(|(id, _)| broker_id(*id)).collect())
        });
        read.await.map_err(|error| NodeError::Other(error.to_string()))
    }

    pub(crate) fn leader(&self) -> Option<BrokerId> {
        self.raft.server_metrics().borrow().current_leader.map(broker_id)
    }

    /// Index of the last entry that only the snapshot has; 0 while the log has all.
    pub(crate) fn purged_index(&self) -> u64 {
        self.raft.metrics().borrow().purged.map_or(0, |id| id.index)
    }

    /// Why the node has stopped, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.raft.metrics().borrow().running_state.as_ref().err().map(Fatal::to_string)
    }

    /// Returns when there may be another leader than `than`.
    pub(crate) async fn leader_other_than(&self, than: Option<BrokerId>) {
        let mut metrics = self.raft.server_metrics();
        let _ = metrics.wait_for(|now| now.current_leader.map(broker_id) != than).await;
    }

    /// A sole voter that is not leader yet need not wait for a timeout.
    pub(crate) async fn lead_alone(&self) -> Result<(), NodeError> {
        let fatal = |error: Fatal<NodeId>| NodeError::Other(error.to_string());
        if self.leader().is_none() {
            self.raft.trigger().elect().await.map_err(fatal)?;
        }
        self.leader_other_than(None).await;
        Ok(())
    }

    /// Has this node, if it is leader, carry out a command.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let stopped = || ProposeError::Stopped {
            reason: self.failure().unwrap_or_else(|| "it was shut down".to_owned()),
        };
        if let Some(reason) = &*self.patience.stall().borrow() {
            return Err(ProposeError::Stalled { reason: reason.to_string() });
        }
        let (answer, answered) = oneshot::channel();
        self.proposals.send(Pending { command, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Sends the log to a node that is no voter. To be called on the leader.
    pub(crate) async fn add_learner(&self, id: BrokerId) -> Result<(), ProposeError> {
        let Some(node) = node_id(id) else {
            return Err(ProposeError::Stopped { reason: format!("broker id {id} is negative") });
        };
        if self.raft.server_metrics().borrow().membership_config.membership().get_node(&node).is_some() {
            return Ok(());
        }
        let added = self.raft.add_learner(node, EmptyNode {}, false).await;
        added.map(drop).map_err(proposer::refusal)
    }

    /// To be called on the leader; every new voter has to be a member already.
    pub(crate) async fn change_voters(&self, voters: &BTreeSet<BrokerId>) -> Result<(), ProposeError> {
        let voters: BTreeSet<NodeId> = voters.iter().copied().filter_map(node_id).collect();
        self.raft.change_membership(voters, true).await.map(drop).map_err(proposer::refusal)
    }

    /// Answers openraft's own messages.
    pub(crate) async fn handle(&self, kind: RaftRpc, body: &[u8]) -> Bytes {
        match kind {
            RaftRpc::Vote => self.reply(decode(body), async |request| self.raft.vote(request).await).await,
            RaftRpc::Append => {
                self.reply(decode(body), async |request| self.raft.append_entries(request).await).await
            }
            RaftRpc::Snapshot => {
                let install = async |request| self.raft.install_snapshot(request).await;
                self.reply(decode_snapshot(body), install).await
            }
            RaftRpc::Submit | RaftRpc::Join => Bytes::new(),
        }
    }

    async fn reply<Q, T, E>(
        &self,
        request: Result<Q, PeerFormError>,
        handle: impl AsyncFnOnce(Q) -> Result<T, E>,
    ) -> Bytes
    where
        T: Serialize + DeserializeOwned,
        E: Serialize + DeserializeOwned,
    {
        let reply = match request {
            Ok(request) => match handle(request).await {
                Ok(done) => Reply::Done(done),
                Err(failed) => Reply::Failed(failed),
            },
            Err(error) => {
                tracing::error!(%error, "a peer's metadata message is not understood; is this broker older?");
                Reply::Refused(error.to_string())
            }
        };
        encode(&reply).unwrap_or_default()
    }

    fn stop_waiting(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.patience.stop();
        self.snapshot_patience.stop();
    }

    /// Why nothing can be written for now, if so.
    pub(crate) fn stall(&self) -> Stall {
        self.patience.stall().borrow().clone().or_else(|| self.snapshot_patience.stall().borrow().clone())
    }

    /// Returns when commands have not been written for a while, with the reason.
    pub(crate) async fn stalled(&self) -> Arc<str> {
        let mut stall = self.patience.stall();
        loop {
            // The sender lives as long as this node.
            let Ok(Some(reason)) = stall.wait_for(Option::is_some).await.map(|reason| reason.clone()) else {
                return std::future::pending().await;
            };
            if timeout(STALL_BORNE, stall.wait_for(Option::is_none)).await.is_err() {
                return reason;
            }
        }
    }

    /// Stops and waits until the files are closed.
    pub(crate) async fn shutdown(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.stop_waiting();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the metadata's Raft node ended badly");
        }
        let thread = self.log_thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let files = self.files.clone();
        let _ = self.threading.run(move || files.close()).await;
        self.lock.lock().take();
    }
}

fn config(tuning: RaftTuning) -> Result<Arc<Config>, NodeError> {
    let config = Config {
        cluster_name: "millrace".into(),
        heartbeat_interval: tuning.heartbeat_ms,
        election_timeout_min: tuning.election_min_ms,
        election_timeout_max: tuning.election_max_ms,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_entries),
        max_in_snapshot_log_to_keep: tuning.keep_entries,
        replication_lag_threshold: tuning.snapshot_entries.saturating_mul(2),
        snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| NodeError::Other(error.to_string()))
}

/// The snapshot policy counts entries; this counts bytes, of which a few entries can have many.
async fn bound_log(raft: Raft<TypeConfig>, size: LogSize, published: Published, keep_entries: u64) {
    let mut applied = published.applied.subscribe();
    let mut last_index = 0;
    while applied.changed().await.is_ok() {
        let index = *applied.borrow_and_update();
        // What is kept behind a snapshot for slow followers does not go away by another.
        if size.bytes() > LOG_BYTES_MAX && index > last_index + keep_entries {
            last_index = index;
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}
