//! Below the producer: prebuilt batches and frames straight to one broker, pipelined. For benchmarks, tests
//! and tools; nothing here batches, retries or follows a leader that moves.

use std::future::Future;

use bytes::Bytes;

use crate::client::Client;
use crate::error::{RequestError, SendError};
use crate::producer::{Acks, Stored};

/// Sends prebuilt record batches to the leader of one partition on a lane of its own.
#[derive(Clone)]
pub struct BatchLane {
    _inner: (),
}

impl BatchLane {
    /// Opens a lane (a QUIC stream, or a TCP connection) to the leader of `topic`-`partition`.
    pub async fn open(
        client: &Client,
        topic: &str,
        partition: i32,
        acks: Acks,
    ) -> Result<Self, RequestError> {
        let _ = (client, topic, partition, acks);
        unimplemented!()
    }

    /// Sends one record batch (Kafka's format, magic 2) as a request of its own, at once; requests of one lane are
    /// stored in order. The caller bounds how many are in flight.
    pub fn produce_batch(
        &self,
        batch: Bytes,
    ) -> impl Future<Output = Result<Stored, SendError>> + Send + 'static {
        let _ = (self, batch);
        async { unimplemented!() }
    }
}

/// One ordered pipeline of Kafka frames to one broker.
#[derive(Clone)]
pub struct FrameLane {
    _inner: (),
}

impl FrameLane {
    /// Opens a lane to the broker `node_id`.
    pub async fn open(client: &Client, node_id: i32) -> Result<Self, RequestError> {
        let _ = (client, node_id);
        unimplemented!()
    }

    /// Sends one request, given in pieces that together are the frame with its length prefix; they are not
    /// copied. Resolves to the response frame without its length prefix.
    pub fn send(
        &self,
        frame: Vec<Bytes>,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + 'static {
        let _ = (self, frame);
        async { unimplemented!() }
    }
}
