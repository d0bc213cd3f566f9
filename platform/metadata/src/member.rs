//! This broker as a member of the quorum: joins it, registers, and gets commands to the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_base::BrokerId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cluster_id;
use crate::command::{Command, Proposal};
use crate::errors::{ReadyError, SUBMIT_TIMEOUT, StartError, SubmitError};
use crate::network::{PeerError, PeerNetwork, RaftRpc};
use crate::options::MetadataOptions;
use crate::outcome::{Answer, Outcome};
use crate::peer_form::{self, JoinReply, JoinRequest, PeerFormError, SubmitReply};
use crate::raft::node::Node;
use crate::raft::proposer::{Applied, ProposeError};

/// Between two attempts to reach a leader, unless another one turns up earlier.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Member {
    node: Node,
    network: Arc<dyn PeerNetwork>,
    options: MetadataOptions,
    ready: watch::Sender<Option<Result<(), ReadyError>>>,
}

/// Why a broker could not register, now or ever.
enum RegisterError {
    Retry(SubmitError),
    Final(ReadyError),
}

impl From<SubmitError> for RegisterError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Shutdown { reason } => Self::Final(ReadyError::Stopped { reason }),
            other => Self::Retry(other),
        }
    }
}

/// What is left of an attempt to submit.
enum Attempt {
    Applied(Applied),
    /// Not carried out: to be tried again with the leader, once there is one other than this.
    Again {
        leader: Option<BrokerId>,
    },
}

impl Member {
    pub(crate) fn new(node: Node, network: Arc<dyn PeerNetwork>, options: MetadataOptions) -> Self {
        Self { node, network, options, ready: watch::Sender::new(None) }
    }

    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    fn id(&self) -> BrokerId {
        self.options.registration.id
    }

    pub(crate) async fn ready(&self) -> Result<(), ReadyError> {
        let mut ready = self.ready.subscribe();
        match ready.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => Err(ReadyError::Stopped { reason: "it was shut down".into() }),
        }
    }

    /// The way into the cluster of a sole voter.
    pub(crate) async fn lead_alone(&self) -> Result<(), StartError> {
        self.node.lead_alone().await?;
        loop {
            return match self.register().await {
                Ok(()) => Ok(()),
                Err(RegisterError::Final(error)) => Err(StartError::NotReady(error)),
                Err(RegisterError::Retry(SubmitError::Stalled { .. })) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(RegisterError::Retry(error)) => {
                    Err(ReadyError::Stopped { reason: error.to_string() }.into())
                }
            };
        }
    }

    /// The way into the cluster of everyone else, for as long as it takes.
    pub(crate) async fn attend(&self) {
        loop {
            match self.join_and_register().await {
                Ok(()) => return,
                Err(RegisterError::Final(error)) => {
                    tracing::error!(%error, "this broker cannot become part of its cluster");
                    self.ready.send_replace(Some(Err(error)));
                    return;
                }
                Err(RegisterError::Retry(error)) => {
                    tracing::info!(%error, "this broker is not yet part of its cluster, trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn join_and_register(&self) -> Result<(), RegisterError> {
        let membership = self.node.membership().await;
        let (_, members) = membership.map_err(|error| SubmitError::Shutdown { reason: error.to_string() })?;
        if !members.contains(&self.id()) {
            self.ask_to_join().await?;
        }
        self.register().await
    }

    /// Names the cluster if it has no name, checks the name, and makes this broker known.
    async fn register(&self) -> Result<(), RegisterError> {
        let mut actual = self.node.published.image.load().cluster_id().to_owned();
        if actual.is_empty() {
            let cluster_id =
                self.options.cluster_id.clone().unwrap_or_else(|| cluster_id::random(&self.options.random));
            if let Outcome::Cluster { cluster_id } = self.submit(Command::InitCluster { cluster_id }).await? {
                actual = cluster_id;
            }
        }
        if let Some(expected) = self.options.cluster_id.clone().filter(|expected| *expected != actual) {
            return Err(RegisterError::Final(ReadyError::WrongCluster { expected, actual }));
        }
        let registration = self.options.registration.clone();
        self.submit(Command::RegisterBroker { registration }).await?;
        self.ready.send_replace(Some(Ok(())));
        Ok(())
    }

    /// Asks one voter after the other to have the leader send its log here.
    async fn ask_to_join(&self) -> Result<(), SubmitError> {
        let shutdown = |error: PeerFormError| SubmitError::Shutdown { reason: error.to_string() };
        let request = peer_form::encode(&JoinRequest { broker: self.id() }).map_err(shutdown)?;
        let mut leader = None;
        let mut asked: Vec<_> = self.options.voters.ids().iter().copied().collect();
        while let Some(peer) = asked.pop() {
            let Ok(answer) = self.network.call(peer, RaftRpc::Join, request.clone()).await else { continue };
            match peer_form::decode(&answer) {
                Ok(JoinReply::Joined) => return Ok(()),
                Ok(JoinReply::NotLeader { leader: Some(known) }) if leader != Some(known) => {
                    leader = Some(known);
                    asked.push(known);
                }
                Ok(JoinReply::NotLeader { .. }) => {}
                Ok(JoinReply::Refused(reason)) => {
                    tracing::warn!(%peer, %reason, "a voter refuses to let this broker join");
                }
                Err(error) => tracing::warn!(%peer, %error, "a voter's answer is not understood"),
            }
        }
        Err(SubmitError::NotLeader { leader })
    }

    pub(crate) async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        let deadline = Instant::now() + SUBMIT_TIMEOUT;
        let mut known = self.node.leader();
        loop {
            let attempt = timeout_at(deadline, self.attempt(known, &command)).await;
            match attempt.map_err(|_| SubmitError::Timeout)?? {
                Attempt::Applied((index, answer)) => {
                    let mut applied = self.node.published.applied.subscribe();
                    let caught_up = timeout_at(deadline, applied.wait_for(|now| *now >= index)).await;
                    caught_up.map_err(|_| SubmitError::Timeout)?.map_err(|_| self.stopped())?;
                    return match answer {
                        Answer::Done(outcome) => Ok(outcome),
                        Answer::Rejected(rejection) => Err(rejection.into()),
                    };
                }
                Attempt::Again { leader } => {
                    if Instant::now() >= deadline {
                        return Err(SubmitError::NotLeader { leader });
                    }
                    // Somebody else may know more than this broker; what it learns itself is newer.
                    if leader.is_some() && leader != known {
                        known = leader;
                        continue;
                    }
                    let pause = RETRY_PAUSE.min(deadline - Instant::now());
                    let _ = timeout(pause, self.node.leader_other_than(known)).await;
                    known = self.node.leader();
                }
            }
        }
    }

    fn stopped(&self) -> SubmitError {
        let reason = self.node.failure().unwrap_or_else(|| "it was shut down".to_owned());
        SubmitError::Shutdown { reason }
    }

    async fn attempt(&self, leader: Option<BrokerId>, command: &Command) -> Result<Attempt, SubmitError> {
        match leader {
            Some(leader) if leader != self.id() => self.forward(leader, command).await,
            _ => tokio::select! {
                proposed = self.node.propose(command.clone()) => match proposed {
                    Ok(applied) => Ok(Attempt::Applied(applied)),
                    Err(ProposeError::NotLeader { leader }) => Ok(Attempt::Again { leader }),
                    Err(error) => Err(error.into()),
                },
                reason = self.node.stalled() => Err(SubmitError::Stalled { reason: reason.to_string() }),
            },
        }
    }

    async fn forward(&self, leader: BrokerId, command: &Command) -> Result<Attempt, SubmitError> {
        // A broker that has stopped must not go on as if it were one of the cluster.
        if self.node.failure().is_some() {
            return Err(self.stopped());
        }
        let shutdown = |error: PeerFormError| SubmitError::Shutdown { reason: error.to_string() };
        let body = peer_form::encode(&Proposal::new(vec![command.clone()])).map_err(shutdown)?;
        let reply = match self.network.call(leader, RaftRpc::Submit, body).await {
            Ok(reply) => reply,
            Err(PeerError::Unreachable { .. }) => return Ok(Attempt::Again { leader: None }),
            Err(PeerError::NoAnswer { .. }) => return Err(SubmitError::Timeout),
        };
        match peer_form::decode(&reply) {
            Ok(SubmitReply::Applied { index, answer }) => Ok(Attempt::Applied((index, answer))),
            Ok(SubmitReply::NotLeader { leader }) => Ok(Attempt::Again { leader }),
            Ok(SubmitReply::Refused(reason)) => {
                tracing::error!(%leader, %reason, "the leader of the metadata refuses a command");
                Ok(Attempt::Again { leader: None })
            }
            Err(error) => {
                tracing::error!(%leader, %error, "the answer of the metadata's leader is not understood");
                Err(SubmitError::Timeout)
            }
        }
    }

    pub(crate) async fn handle_peer(&self, kind: RaftRpc, body: &[u8]) -> Bytes {
        let answer = match kind {
            RaftRpc::Vote | RaftRpc::Append | RaftRpc::Snapshot => return self.node.handle(kind, body).await,
            RaftRpc::Submit => peer_form::encode(&self.submit_for_peer(body).await),
            RaftRpc::Join => peer_form::encode(&self.let_join(body).await),
        };
        // Our own forms can always be written; a peer would see an empty answer as one that is cut off.
        answer.unwrap_or_default()
    }

    /// Never forwarded again: two brokers that take each other for the leader would go on for ever.
    async fn submit_for_peer(&self, body: &[u8]) -> SubmitReply {
        let proposal = peer_form::payload(body).and_then(|json| Ok(Proposal::decode(json)?));
        let command = match proposal.map(Proposal::into_commands) {
            Ok(commands) => match <[Command; 1]>::try_from(commands) {
                Ok([command]) => command,
                Err(_) => return SubmitReply::Refused("one command at a time is handed on".into()),
            },
            Err(error) => return SubmitReply::Refused(error.to_string()),
        };
        match self.node.propose(command).await {
            Ok((index, answer)) => SubmitReply::Applied { index, answer },
            Err(ProposeError::NotLeader { leader }) => SubmitReply::NotLeader { leader },
            Err(ProposeError::Stalled { .. } | ProposeError::Stopped { .. }) => {
                SubmitReply::NotLeader { leader: None }
            }
        }
    }

    async fn let_join(&self, body: &[u8]) -> JoinReply {
        let broker = match peer_form::decode::<JoinRequest>(body) {
            Ok(request) => request.broker,
            Err(error) => return JoinReply::Refused(error.to_string()),
        };
        match self.node.add_learner(broker).await {
            Ok(()) => JoinReply::Joined,
            Err(ProposeError::NotLeader { leader }) => JoinReply::NotLeader { leader },
            Err(ProposeError::Stalled { reason } | ProposeError::Stopped { reason }) => {
                JoinReply::Refused(reason)
            }
        }
    }
}
