//! Fetch responses whose records are pieces of memory and ranges of files, never copied.

use kafka_protocol::protocol::StrBytes;
use millrace_base::{Payload, TopicId};

/// The answer to a Fetch, in the terms of all its versions; a version leaves out what it does not know.
#[derive(Clone, Debug, Default)]
pub struct FetchReply {
    pub throttle_ms: i32,
    /// Of the request as a whole; sent from version 7 on.
    pub error: i16,
    pub session_id: i32,
    pub topics: Vec<FetchReplyTopic>,
    /// Where the leaders named in `current_leader` are; sent from version 16 on, left out when empty.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug)]
pub struct FetchReplyTopic {
    /// Sent up to version 12.
    pub name: StrBytes,
    /// Sent from version 13 on.
    pub topic_id: TopicId,
    pub partitions: Vec<FetchReplyPartition>,
}

#[derive(Clone, Debug)]
pub struct FetchReplyPartition {
    pub index: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// -1: none.
    pub preferred_read_replica: i32,
    /// Largest epoch and its end offset, where the fetcher's log left the leader's (KIP-595).
    pub diverging_epoch: Option<(i32, i64)>,
    /// Leader and epoch (KIP-951).
    pub current_leader: Option<(i32, i32)>,
    /// Producer id and first offset of each aborted transaction; `None` for a reader of uncommitted records.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// Whole record batches.
    pub records: Payload,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// The response of `version` (4 to 18) with its length prefix and header.
pub fn encode_fetch_response(correlation_id: i32, version: i16, reply: FetchReply) -> Payload {
    let _ = (correlation_id, version, reply);
    unimplemented!()
}
