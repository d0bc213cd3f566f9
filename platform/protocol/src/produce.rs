//! Produce requests whose records are never copied, for the client.

use kafka_protocol::protocol::StrBytes;
use millrace_base::{Payload, TopicId};

/// A Produce request in the terms of all its versions.
#[derive(Clone, Debug, Default)]
pub struct ProduceBody {
    pub transactional_id: Option<StrBytes>,
    /// -1: all in-sync replicas, 1: the leader, 0: none (and no response).
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug)]
pub struct ProduceTopic {
    /// Sent up to version 12.
    pub name: StrBytes,
    /// Sent from version 13 on.
    pub topic_id: TopicId,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, Default)]
pub struct ProducePartition {
    pub index: i32,
    /// One record batch.
    pub records: Payload,
}

/// The request of `version` (3 to 13) with its length prefix and header.
pub fn encode_produce_request(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: ProduceBody,
) -> Payload {
    let _ = (correlation_id, client_id, version, body);
    unimplemented!()
}
