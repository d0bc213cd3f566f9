//! Fetch responses whose records are pieces of memory and ranges of files, never copied.

use std::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use millrace_base::{Payload, TopicId};

use crate::frame::EncodeError;
use crate::wire::FrameWriter;

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

impl Default for FetchReplyPartition {
    /// A partition without records; the offsets are those of an error response.
    fn default() -> Self {
        Self {
            index: 0,
            error: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            preferred_read_replica: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted: None,
            records: Payload::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// Versions that [`encode_fetch_response`] writes.
const VERSIONS: RangeInclusive<i16> = 4..=18;

/// Room for a response's fixed fields, and for those of a topic and of a partition.
const REPLY_BYTES: usize = 64;
const TOPIC_BYTES: usize = 32;
const PARTITION_BYTES: usize = 80;

/// The response of `version` (4 to 18) with its length prefix and header.
pub fn encode_fetch_response(
    correlation_id: i32,
    version: i16,
    reply: FetchReply,
) -> Result<Payload, EncodeError> {
    if !VERSIONS.contains(&version) {
        let reason = format!("versions {} to {} exist", VERSIONS.start(), VERSIONS.end());
        return Err(EncodeError::new(ApiKey::Fetch as i16, version, reason));
    }
    let mut frame = FrameWriter::new(ApiKey::Fetch, version, version >= 12, capacity(&reply));
    frame.i32(correlation_id);
    frame.no_tagged_fields();
    frame.i32(reply.throttle_ms);
    if version >= 7 {
        frame.i16(reply.error);
        frame.i32(reply.session_id);
    }
    frame.array_len(Some(reply.topics.len()))?;
    for topic in reply.topics {
        encode_topic(&mut frame, version, topic)?;
    }
    if version >= 16 && !reply.node_endpoints.is_empty() {
        frame.varint(1);
        frame.tagged_field(0, |frame| encode_endpoints(frame, &reply.node_endpoints))?;
    } else {
        frame.no_tagged_fields();
    }
    frame.finish()
}

fn encode_topic(frame: &mut FrameWriter, version: i16, topic: FetchReplyTopic) -> Result<(), EncodeError> {
    if version >= 13 {
        frame.uuid(topic.topic_id.0.as_bytes());
    } else {
        frame.string(Some(&topic.name))?;
    }
    frame.array_len(Some(topic.partitions.len()))?;
    for partition in topic.partitions {
        encode_partition(frame, version, partition)?;
    }
    frame.no_tagged_fields();
    Ok(())
}

fn encode_partition(
    frame: &mut FrameWriter,
    version: i16,
    partition: FetchReplyPartition,
) -> Result<(), EncodeError> {
    frame.i32(partition.index);
    frame.i16(partition.error);
    frame.i64(partition.high_watermark);
    frame.i64(partition.last_stable_offset);
    if version >= 5 {
        frame.i64(partition.log_start_offset);
    }
    frame.array_len(partition.aborted.as_ref().map(Vec::len))?;
    for (producer_id, first_offset) in partition.aborted.into_iter().flatten() {
        frame.i64(producer_id);
        frame.i64(first_offset);
        frame.no_tagged_fields();
    }
    if version >= 11 {
        frame.i32(partition.preferred_read_replica);
    }
    frame.payload(partition.records)?;
    if version >= 12 {
        let tagged = [partition.diverging_epoch.is_some(), partition.current_leader.is_some()];
        frame.varint(tagged.into_iter().map(u32::from).sum());
        if let Some((epoch, end_offset)) = partition.diverging_epoch {
            frame.tagged_field(0, |frame| {
                frame.i32(epoch);
                frame.i64(end_offset);
                frame.no_tagged_fields();
                Ok(())
            })?;
        }
        if let Some((leader, epoch)) = partition.current_leader {
            frame.tagged_field(1, |frame| {
                frame.i32(leader);
                frame.i32(epoch);
                frame.no_tagged_fields();
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn encode_endpoints(frame: &mut FrameWriter, endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
    frame.array_len(Some(endpoints.len()))?;
    for endpoint in endpoints {
        frame.i32(endpoint.node_id);
        frame.string(Some(&endpoint.host))?;
        frame.i32(endpoint.port);
        frame.string(endpoint.rack.as_deref())?;
        frame.no_tagged_fields();
    }
    Ok(())
}

/// What the fields before, between and after the records will need, roughly.
fn capacity(reply: &FetchReply) -> usize {
    let topics = reply
        .topics
        .iter()
        .map(|topic| TOPIC_BYTES + topic.name.len() + PARTITION_BYTES * topic.partitions.len());
    REPLY_BYTES + topics.sum::<usize>()
}
