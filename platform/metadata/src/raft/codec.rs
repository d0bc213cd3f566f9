//! openraft's entries as records of the log file, in forms of our own: a newer openraft may change its own
//! serialized forms, the files stay.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, EmptyNode, EntryPayload};
use serde::{Deserialize, Serialize};

use super::log_file::{EntryId, PayloadKind, Record};
use super::{Entry, LogId, Membership, NodeId};
use crate::command::{Proposal, ProposalError};

/// An entry that is whole but not understood.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("entry {index} of the metadata log: {source}")]
    Proposal { index: u64, source: ProposalError },
    #[error("entry {index} of the metadata log: its membership cannot be parsed: {source}")]
    Membership { index: u64, source: serde_json::Error },
}

/// Voters (two sets while they change) and all members, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipForm {
    voters: Vec<BTreeSet<NodeId>>,
    members: BTreeSet<NodeId>,
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, _)| *id).collect(),
        }
    }
}

impl From<MembershipForm> for Membership {
    fn from(form: MembershipForm) -> Self {
        let nodes: BTreeMap<_, _> = form.members.into_iter().map(|id| (id, EmptyNode {})).collect();
        Self::new(form.voters, nodes)
    }
}

pub(super) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id(id: EntryId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term, id.leader), id.index)
}

pub(super) fn encode_entry(entry: &Entry) -> Result<Record, serde_json::Error> {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (PayloadKind::Blank, Vec::new()),
        EntryPayload::Normal(proposal) => (PayloadKind::Proposal, serde_json::to_vec(proposal)?),
        EntryPayload::Membership(membership) => {
            (PayloadKind::Membership, serde_json::to_vec(&MembershipForm::from(membership))?)
        }
    };
    Ok(Record::Entry { id: entry_id(&entry.log_id), kind, payload })
}

pub(super) fn decode_entry(id: EntryId, kind: PayloadKind, payload: &[u8]) -> Result<Entry, EntryError> {
    let index = id.index;
    let payload = match kind {
        PayloadKind::Blank => EntryPayload::Blank,
        PayloadKind::Proposal => {
            let failed = |source| EntryError::Proposal { index, source };
            EntryPayload::Normal(Proposal::decode(payload).map_err(failed)?)
        }
        PayloadKind::Membership => {
            let form: MembershipForm =
                serde_json::from_slice(payload).map_err(|source| EntryError::Membership { index, source })?;
            EntryPayload::Membership(form.into())
        }
    };
    Ok(Entry { log_id: log_id(id), payload })
}
