//! openraft's messages as the opaque bytes of [`PeerNetwork`], in the form of [`crate::peer_form`].
//!
//! A piece of a snapshot has no JSON around its bytes: after the version, its description's length (u32,
//! little-endian), the description as JSON, and the piece itself.

use std::sync::Arc;

use bytes::Bytes;
use millrace_base::BrokerId;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{NodeId, SnapshotMeta, TypeConfig, Vote, broker_id};
use crate::network::{PeerError, PeerNetwork, RaftRpc};
use crate::peer_form::{PeerFormError, Reply, VERSION, decode, encode, payload};

/// Describes one piece of a snapshot.
#[derive(Serialize, Deserialize)]
struct SnapshotPiece {
    vote: Vote,
    meta: SnapshotMeta,
    offset: u64,
    done: bool,
}

fn encode_snapshot(request: InstallSnapshotRequest<TypeConfig>) -> Result<Bytes, PeerFormError> {
    let InstallSnapshotRequest { vote, meta, offset, data, done } = request;
    let piece = serde_json::to_vec(&SnapshotPiece { vote, meta, offset, done })?;
    let len = u32::try_from(piece.len()).map_err(|_| PeerFormError::CutOff)?;
    Ok([&[VERSION], &len.to_le_bytes()[..], &piece, &data].concat().into())
}

pub(super) fn decode_snapshot(bytes: &[u8]) -> Result<InstallSnapshotRequest<TypeConfig>, PeerFormError> {
    let (len, rest) = payload(bytes)?.split_first_chunk::<4>().ok_or(PeerFormError::CutOff)?;
    let split = rest.split_at_checked(u32::from_le_bytes(*len) as usize);
    let (piece, data) = split.ok_or(PeerFormError::CutOff)?;
    let SnapshotPiece { vote, meta, offset, done } = serde_json::from_slice(piece)?;
    Ok(InstallSnapshotRequest { vote, meta, offset, data: data.to_vec(), done })
}

/// Makes a [`Connection`] for each peer.
pub(super) struct Connections(pub(super) Arc<dyn PeerNetwork>);

impl RaftNetworkFactory<TypeConfig> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> Connection {
        Connection { peer: broker_id(target), target, network: Arc::clone(&self.0) }
    }
}

pub(super) struct Connection {
    peer: BrokerId,
    target: NodeId,
    network: Arc<dyn PeerNetwork>,
}

type CallError<E> = RPCError<NodeId, EmptyNode, E>;

impl Connection {
    async fn call<T, E>(&self, kind: RaftRpc, body: Result<Bytes, PeerFormError>) -> Result<T, CallError<E>>
    where
        T: DeserializeOwned,
        E: DeserializeOwned + std::error::Error,
    {
        let failed = |error: &PeerFormError| RPCError::Network(NetworkError::new(error));
        let body = body.map_err(|error| failed(&error))?;
        let answer = self.network.call(self.peer, kind, body).await.map_err(|error| match error {
            // openraft backs off from a peer that is unreachable, and tries again at once otherwise.
            PeerError::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            PeerError::NoAnswer { .. } => RPCError::Network(NetworkError::new(&error)),
        })?;
        match decode(&answer).map_err(|error| failed(&error))? {
            Reply::Done(answer) => Ok(answer),
            Reply::Failed(error) => Err(RPCError::RemoteError(RemoteError::new(self.target, error))),
            Reply::Refused(reason) => {
                tracing::error!(peer = %self.peer, %reason, "a peer refuses the metadata's messages");
                Err(RPCError::Unreachable(Unreachable::new(&AnyError::error(reason))))
            }
        }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError<RaftError<NodeId>>> {
        self.call(RaftRpc::Append, encode(&request)).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, CallError<RaftError<NodeId, InstallSnapshotError>>> {
        self.call(RaftRpc::Snapshot, encode_snapshot(request)).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError<RaftError<NodeId>>> {
        self.call(RaftRpc::Vote, encode(&request)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_snapshot_survives_its_bytes() {
        let request = InstallSnapshotRequest::<TypeConfig> {
            vote: Vote::new_committed(3, 1),
            meta: SnapshotMeta { snapshot_id: "s".into(), ..SnapshotMeta::default() },
            offset: 7,
            data: vec![0, 255, 13],
            done: true,
        };
        let bytes = encode_snapshot(request.clone()).unwrap();
        assert_eq!(decode_snapshot(&bytes).unwrap(), request);
        for cut in 0..bytes.len() - 3 {
            assert!(decode_snapshot(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
