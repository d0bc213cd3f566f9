//! Raft: openraft with our storage and our network port; the rest of the crate sees [`node::Node`], and what it
//! answers.
//!
//! `log_file` owns the log's bytes, `log_writer` writes them, `log_store` gives them to openraft, `state_machine` applies
//! entries and keeps snapshots, `storage` opens them together, `network` carries openraft's messages over [`crate::PeerNetwork`], `node` ties them
//! together. All openraft types end here.

mod codec;
mod durable;
pub(crate) mod errors;
mod log_file;
mod log_state;
mod log_store;
mod log_writer;
mod network;
pub(crate) mod node;
mod patience;
pub(crate) mod proposer;
mod runtime;
mod snapshot_file;
mod state_machine;
pub(crate) mod storage;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash_tests;

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use millrace_base::BrokerId;

/// openraft's node id; a broker's id is never negative.
pub(crate) type NodeId = u64;

openraft::declare_raft_types!(
    /// The types that openraft is used with.
    pub(crate) TypeConfig:
        D = crate::command::Proposal,
        R = crate::outcome::Answers,
        NodeId = NodeId,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = runtime::NodeRuntime,
);

/// Of a node's directory, held as long as anything may be written there.
type DirectoryLock = Arc<dyn Any + Send + Sync>;

type Entry = openraft::Entry<TypeConfig>;
type LogId = openraft::LogId<NodeId>;
type Vote = openraft::Vote<NodeId>;
type Membership = openraft::Membership<NodeId, openraft::EmptyNode>;
type StoredMembership = openraft::StoredMembership<NodeId, openraft::EmptyNode>;
type SnapshotMeta = openraft::SnapshotMeta<NodeId, openraft::EmptyNode>;
type StorageError = openraft::StorageError<NodeId>;

/// `None` for a negative id, which no broker has.
pub(crate) fn node_id(broker: BrokerId) -> Option<NodeId> {
    u64::try_from(broker.0).ok()
}

fn broker_id(node: NodeId) -> BrokerId {
    BrokerId(i32::try_from(node).expect("node ids are made of broker ids"))
}
