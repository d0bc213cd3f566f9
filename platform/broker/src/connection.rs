//! Connections as the transports hand them over. Nothing is logged here: a reason to close goes back to the
//! transport, which leaves one line per connection.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_transport::{CloseReason, Connection, Peer, Pipeline, Reply, Service};

use crate::broker::Broker;
use crate::dispatch;
use crate::handlers::plugins::Turns;
use crate::state::State;

impl Service for Broker {
    fn connect(&self, _: &Peer) -> Arc<dyn Connection> {
        Arc::new(ClientConnection { state: self.state.clone() })
    }
}

struct ClientConnection {
    state: Arc<State>,
}

impl Connection for ClientConnection {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(RequestPipeline { state: self.state.clone(), turns: Turns::default() })
    }
}

struct RequestPipeline {
    state: Arc<State>,
    turns: Turns,
}

impl Pipeline for RequestPipeline {
    fn start(&mut self, frame: Bytes) -> BoxFuture<'_, Result<Reply, CloseReason>> {
        Box::pin(dispatch::start(&self.state, &mut self.turns, frame))
    }
}
