//! Connections as the transports hand them over. Nothing is logged here: a reason to close goes back to the
//! transport, which leaves one line per connection.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_transport::{CloseReason, Connection, Peer, Pipeline, Reply, Service};

use crate::broker::Broker;
use crate::call::Client;
use crate::dispatch;
use crate::handlers::plugins::Turns;
use crate::state::State;

impl Service for Broker {
    fn connect(&self, peer: &Peer) -> Arc<dyn Connection> {
        let client = Arc::new(Client { id: String::new(), address: peer.address.ip() });
        Arc::new(ClientConnection { state: self.state.clone(), client })
    }
}

struct ClientConnection {
    state: Arc<State>,
    client: Arc<Client>,
}

impl Connection for ClientConnection {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        let (state, client) = (self.state.clone(), self.client.clone());
        Box::new(RequestPipeline { state, client, turns: Turns::default() })
    }
}

struct RequestPipeline {
    state: Arc<State>,
    /// As the last request has named it.
    client: Arc<Client>,
    turns: Turns,
}

impl Pipeline for RequestPipeline {
    fn start(&mut self, frame: Bytes) -> BoxFuture<'_, Result<Reply, CloseReason>> {
        Box::pin(dispatch::start(&self.state, &mut self.client, &mut self.turns, frame))
    }
}
