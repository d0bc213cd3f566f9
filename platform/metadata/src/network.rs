//! The port through which brokers' metadata speak to each other; the transport implements it.

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::BrokerId;

/// What a message between brokers' metadata is. The bytes that go with it are no business of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RaftRpc {
    /// A candidate asks for a vote.
    Vote = 1,
    /// The leader replicates entries, or shows that it is alive.
    Append = 2,
    /// A piece of a snapshot, for a broker that is too far behind for the log.
    Snapshot = 3,
    /// A command for the leader, from a broker that is not.
    Submit = 4,
    /// A broker that is no voter asks to be sent the log.
    Join = 5,
}

impl RaftRpc {
    pub const ALL: [Self; 5] = [Self::Vote, Self::Append, Self::Snapshot, Self::Submit, Self::Join];

    /// Its number on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.code() == code)
    }
}

/// A call that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The request was certainly not delivered.
    #[error("broker {peer} cannot be reached: {reason}")]
    Unreachable { peer: BrokerId, reason: String },
    /// The request may have been carried out.
    #[error("broker {peer} did not answer: {reason}")]
    NoAnswer { peer: BrokerId, reason: String },
}

/// Sends one request to a broker and brings its answer, which is what that broker's
/// [`Metadata::handle_peer`](crate::Metadata::handle_peer) returned. A caller that loses interest drops the
/// future.
pub trait PeerNetwork: Send + Sync + 'static {
    fn call(&self, peer: BrokerId, kind: RaftRpc, body: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>>;
}

/// The network of a broker that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl PeerNetwork for NoPeers {
    fn call(&self, peer: BrokerId, _: RaftRpc, _: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let reason = "this broker has no peers".to_owned();
        Box::pin(std::future::ready(Err(PeerError::Unreachable { peer, reason })))
    }
}
