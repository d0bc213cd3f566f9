//! From what a fetch has read to its response, in full or as the changes of its session.

use millrace_base::{Payload, TopicId};
use millrace_metadata::Image;
use millrace_protocol::fetch::{
    FetchReply, FetchReplyPartition, FetchReplyTopic, NodeEndpoint, encode_fetch_response,
};
use millrace_protocol::{ErrorCode, StrBytes};

use super::Fetch;
use super::read::{Found, PartitionRead};
use crate::call::Call;
use crate::fetch_session::{FetchContext, NO_SESSION, PartitionKey, Told, TopicKey};
use crate::handlers::lookup;
use crate::state::State;

const NO_REPLICA: i32 = -1;

/// The answer to a request whose session part is refused.
pub(super) fn refused(call: &Call, error: ErrorCode) -> Payload {
    let reply = FetchReply { error: call.fail(error), ..FetchReply::default() };
    call.or_empty(encode_fetch_response(call.correlation_id, call.version, reply))
}

/// The answer to a fetch that has read what it will.
pub(super) fn answer(fetch: Fetch) -> Payload {
    let Fetch { call, context, reading, .. } = fetch;
    let read_committed = reading.read_committed();
    let image = call.state.metadata.image();
    let mut reply = FetchReply::default();
    let mut opening = Vec::new();
    for read in reading.reads {
        count(&call, &read);
        let PartitionRead { target, outcome, .. } = read;
        match &context {
            FetchContext::Sessionless => {}
            FetchContext::Opening { .. } => opening.push((target.clone(), told(&outcome))),
            FetchContext::Incremental { session, .. } => {
                if !session.lock().tell(&target.key, told(&outcome)) {
                    continue;
                }
            }
        }
        let leader = tell_leader(&call.state, &outcome, &target.key, &image, &mut reply.node_endpoints);
        let partition = partition(target.key.1, outcome, leader, read_committed);
        push(&mut reply.topics, target.key.0, partition);
    }
    reply.session_id = match context {
        FetchContext::Sessionless => NO_SESSION,
        FetchContext::Incremental { id, .. } => id,
        FetchContext::Opening { uses_topic_ids } => {
            let told: Vec<_> = opening.iter().map(|(target, told)| (target.key.clone(), *told)).collect();
            let targets = opening.into_iter().map(|(target, _)| target).collect();
            call.state.sessions.open(uses_topic_ids, targets, told, call.state.clock.now_ms())
        }
    };
    call.or_empty(encode_fetch_response(call.correlation_id, call.version, reply))
}

fn count(call: &Call, read: &PartitionRead) {
    match (&read.outcome, &read.partition) {
        (Err(error), _) => {
            call.fail(*error);
        }
        (Ok(found), Some(partition)) => partition.traffic().went_out(found.records.len() as u64),
        (Ok(_), None) => {}
    }
}

fn told(outcome: &Result<Found, ErrorCode>) -> Told {
    match outcome {
        Err(error) => Told {
            error: error.code(),
            high_watermark: -1,
            log_start_offset: -1,
            has_news: true,
            has_records: false,
        },
        Ok(found) => {
            let has_records = !found.records.is_empty();
            Told {
                error: 0,
                high_watermark: found.high_watermark,
                log_start_offset: found.log_start_offset,
                has_news: has_records || found.diverging_epoch.is_some(),
                has_records,
            }
        }
    }
}

/// The current leader for a client that asked the wrong broker or with the wrong epoch (KIP-951).
fn tell_leader(
    state: &State,
    outcome: &Result<Found, ErrorCode>,
    (topic, index): &PartitionKey,
    image: &Image,
    endpoints: &mut Vec<NodeEndpoint>,
) -> Option<(i32, i32)> {
    if !matches!(outcome, Err(ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)) {
        return None;
    }
    let topic = match topic {
        TopicKey::Name(name) => image.topic_by_name(name)?,
        TopicKey::Id(id) => image.topic(*id)?,
    };
    let partition = topic.partitions.get(usize::try_from(*index).ok()?)?;
    let leader = image.broker(lookup::leader(state, topic, *index)?)?;
    let node_id = leader.registration.id.0;
    if endpoints.iter().all(|endpoint| endpoint.node_id != node_id) {
        endpoints.push(NodeEndpoint {
            node_id,
            host: StrBytes::from_string(leader.registration.host.clone()),
            port: leader.registration.port.into(),
            rack: leader.registration.rack.clone().map(StrBytes::from_string),
        });
    }
    Some((node_id, partition.leader_epoch.0))
}

fn partition(
    index: i32,
    outcome: Result<Found, ErrorCode>,
    current_leader: Option<(i32, i32)>,
    read_committed: bool,
) -> FetchReplyPartition {
    let error = outcome.as_ref().err().map_or(0, ErrorCode::code);
    // As in Kafka the list is null where it was not asked for and where reading failed, but not where there was nothing
    // to read from.
    let aborted = match &outcome {
        Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => Some(Vec::new()),
        Err(_) => None,
        Ok(found) => read_committed.then(|| found.aborted.clone()),
    };
    let found = outcome.unwrap_or(Found {
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        ..Found::default()
    });
    FetchReplyPartition {
        index,
        error,
        high_watermark: found.high_watermark,
        last_stable_offset: found.last_stable_offset,
        log_start_offset: found.log_start_offset,
        preferred_read_replica: NO_REPLICA,
        diverging_epoch: found.diverging_epoch.map(|diverging| (diverging.epoch.0, diverging.end)),
        current_leader,
        aborted,
        records: found.records,
    }
}

/// Adds a partition to the last topic if it is of that one, else to a new one.
fn push(topics: &mut Vec<FetchReplyTopic>, key: TopicKey, partition: FetchReplyPartition) {
    let (name, topic_id) = match key {
        TopicKey::Name(name) => (name, TopicId::ZERO),
        TopicKey::Id(id) => (StrBytes::default(), id),
    };
    match topics.last_mut() {
        Some(topic) if topic.name == name && topic.topic_id == topic_id => topic.partitions.push(partition),
        _ => topics.push(FetchReplyTopic { name, topic_id, partitions: vec![partition] }),
    }
}
