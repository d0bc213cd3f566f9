//! What can go wrong with a broker's metadata, and how long a change may take.

use std::time::Duration;

use millrace_base::BrokerId;

use crate::outcome::Rejection;
use crate::raft::errors::NodeError;
use crate::raft::proposer::ProposeError;

/// How long [`Metadata::submit`](crate::Metadata::submit) looks for a leader and waits for its answer.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// A broker whose metadata cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the metadata: {0}")]
    Node(#[from] NodeError),
    #[error(transparent)]
    NotReady(#[from] ReadyError),
}

/// A broker that will not become part of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadyError {
    #[error(
        "this cluster is called '{actual}', but the broker is set up for '{expected}': correct its cluster id, \
         or give it the data directory that belongs to it"
    )]
    WrongCluster { expected: String, actual: String },
    #[error("the metadata of this broker has stopped: {reason}")]
    Stopped { reason: String },
}

/// A command that was not carried out, or not certainly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The command was not carried out.
    #[error("no leader of the metadata quorum could be reached (last known: {leader:?})")]
    NotLeader { leader: Option<BrokerId> },
    /// The command may have been, or may yet be carried out.
    #[error("the metadata quorum did not answer in time")]
    Timeout,
    /// The metadata cannot be written for now, and go on by themselves. The command may yet be carried out.
    #[error("the metadata wait for this to pass: {reason}")]
    Stalled { reason: String },
    #[error("the metadata of this broker has stopped: {reason}")]
    Shutdown { reason: String },
}

impl From<ProposeError> for SubmitError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Stalled { reason } => Self::Stalled { reason },
            ProposeError::Stopped { reason } => Self::Shutdown { reason },
        }
    }
}
