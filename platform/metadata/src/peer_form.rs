//! The outer form of all messages between brokers' metadata.
//!
//! A message begins with one byte, [`VERSION`]; a JSON document follows (or what the sender says).
//! Version rule: a broker refuses messages of a version that it does not know; any change of a form, openraft's
//! own included, raises the version.

use bytes::Bytes;
use millrace_base::BrokerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::outcome::Answer;

pub(crate) const VERSION: u8 = 1;

/// A message that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerFormError {
    #[error("it has message version {found}, this broker knows {VERSION}")]
    Version { found: u8 },
    #[error("it is cut off")]
    CutOff,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Proposal(#[from] crate::command::ProposalError),
}

/// What a peer answers to one of openraft's messages.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply<T, E> {
    Done(T),
    Failed(E),
    /// The request was not understood.
    Refused(String),
}

/// What a peer answers to a command that it was handed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SubmitReply {
    Applied {
        index: u64,
        answer: Answer,
    },
    /// The command was not carried out.
    NotLeader {
        leader: Option<BrokerId>,
    },
    Refused(String),
}

/// A broker that wants to be sent the log.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) broker: BrokerId,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JoinReply {
    Joined,
    NotLeader { leader: Option<BrokerId> },
    Refused(String),
}

pub(crate) fn encode(message: &impl Serialize) -> Result<Bytes, PeerFormError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, message)?;
    Ok(bytes.into())
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PeerFormError> {
    Ok(serde_json::from_slice(payload(bytes)?)?)
}

/// What follows the version.
pub(crate) fn payload(bytes: &[u8]) -> Result<&[u8], PeerFormError> {
    match bytes.split_first() {
        Some((&VERSION, payload)) => Ok(payload),
        Some((&found, _)) => Err(PeerFormError::Version { found }),
        None => Err(PeerFormError::CutOff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_version_is_refused() {
        let mut bytes = encode(&17_u32).unwrap().to_vec();
        assert_eq!(decode::<u32>(&bytes).unwrap(), 17);
        bytes[0] = 2;
        assert!(matches!(decode::<u32>(&bytes), Err(PeerFormError::Version { found: 2 })));
        assert!(matches!(decode::<u32>(&[]), Err(PeerFormError::CutOff)));
    }
}
