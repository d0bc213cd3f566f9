//! Proposes commands to Raft, those that arrive while an entry is being replicated together in the next one.
//!
//! openraft syncs the log once for every entry. A client that creates a thousand topics at once would pay a
//! thousand syncs; so it pays a few.

use millrace_base::BrokerId;
use openraft::Raft;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot};

use super::{NodeId, TypeConfig, broker_id};
use crate::command::{Command, Proposal};
use crate::outcome::Answer;

/// A command that was not carried out, or not certainly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProposeError {
    /// Certainly not carried out.
    NotLeader { leader: Option<BrokerId> },
    /// Certainly not carried out: nothing can be written for now.
    Stalled { reason: String },
    /// The node has stopped.
    Stopped { reason: String },
}

/// An applied command: at which index, with which answer.
pub(crate) type Applied = (u64, Answer);

/// Commands in one entry.
const COMMANDS_MAX: usize = 256;
/// Partitions that the commands of one entry create, unless the first creates more: bounds an entry's bytes.
const PARTITIONS_MAX: usize = 10_000;

/// A command and who waits for it.
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

pub(super) async fn run(raft: Raft<TypeConfig>, mut waiting: mpsc::Receiver<Pending>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(pending) => pending,
            None => match waiting.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        let mut partitions = partitions_of(&first.command);
        let mut commands = vec![first.command];
        let mut waiters = vec![first.answer];
        while commands.len() < COMMANDS_MAX
            && let Ok(pending) = waiting.try_recv()
        {
            partitions += partitions_of(&pending.command);
            if partitions > PARTITIONS_MAX {
                next = Some(pending);
                break;
            }
            commands.push(pending.command);
            waiters.push(pending.answer);
        }
        propose(&raft, commands, waiters).await;
    }
}

fn partitions_of(command: &Command) -> usize {
    match command {
        Command::CreateTopic { partitions, .. } => partitions.len(),
        Command::AddPartitions { new, .. } => new.len(),
        _ => 1,
    }
}

async fn propose(
    raft: &Raft<TypeConfig>,
    commands: Vec<Command>,
    waiters: Vec<oneshot::Sender<Result<Applied, ProposeError>>>,
) {
    match raft.client_write(Proposal::new(commands)).await {
        Ok(written) => {
            let index = written.log_id.index;
            for (waiter, answer) in waiters.into_iter().zip(written.data.0) {
                // Who does not wait any more need not know.
                let _ = waiter.send(Ok((index, answer)));
            }
        }
        Err(error) => {
            let error = refusal(error);
            for waiter in waiters {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }
}

type WriteError = RaftError<NodeId, ClientWriteError<NodeId, openraft::EmptyNode>>;

pub(super) fn refusal(error: WriteError) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id.map(broker_id) }
        }
        other => ProposeError::Stopped { reason: other.to_string() },
    }
}
