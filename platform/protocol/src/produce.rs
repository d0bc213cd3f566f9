//! Produce requests whose records are never copied, for the client.

use std::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use millrace_base::{Payload, TopicId};

use crate::frame::EncodeError;
use crate::wire::FrameWriter;

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

/// Versions that [`encode_produce_request`] writes.
const VERSIONS: RangeInclusive<i16> = 3..=13;

/// The request of `version` (3 to 13) with its length prefix and header.
pub fn encode_produce_request(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: ProduceBody,
) -> Result<Payload, EncodeError> {
    if !VERSIONS.contains(&version) {
        let reason = format!("versions {} to {} exist", VERSIONS.start(), VERSIONS.end());
        return Err(EncodeError::new(ApiKey::Produce as i16, version, reason));
    }
    let mut frame = FrameWriter::new(ApiKey::Produce, version, version >= 9, capacity(&body));
    frame.i16(ApiKey::Produce as i16);
    frame.i16(version);
    frame.i32(correlation_id);
    frame.header_string(client_id)?;
    frame.no_tagged_fields();

    frame.string(body.transactional_id.as_deref())?;
    frame.i16(body.acks);
    frame.i32(body.timeout_ms);
    frame.array_len(Some(body.topics.len()))?;
    for topic in body.topics {
        if version >= 13 {
            frame.uuid(topic.topic_id.0.as_bytes());
        } else {
            frame.string(Some(&topic.name))?;
        }
        frame.array_len(Some(topic.partitions.len()))?;
        for partition in topic.partitions {
            frame.i32(partition.index);
            frame.payload(partition.records)?;
            frame.no_tagged_fields();
        }
        frame.no_tagged_fields();
    }
    frame.no_tagged_fields();
    frame.finish()
}

/// What everything but the records will need, roughly.
fn capacity(body: &ProduceBody) -> usize {
    let topics = body.topics.iter().map(|topic| 32 + topic.name.len() + 16 * topic.partitions.len());
    128 + topics.sum::<usize>()
}
