//! DescribeTopicPartitions (0): topics in pages, by name (KIP-966).

use millrace_metadata::{Image, Partition, Topic};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millrace_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::lookup::{self, NO_BROKER, WireBrokerId, is_internal, wire_brokers, wire_name};
use super::operations::ON_TOPIC;
use crate::call::Call;

/// Partitions in one answer, whatever the client asks for (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub(crate) async fn handle(
    call: &Call,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = lookup::served_image(&call.state).await;
    let mut names: Vec<String> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    names.sort_unstable();
    names.dedup();
    let (first_name, first_index) =
        request.cursor.as_ref().map_or(("", 0), |cursor| (&*cursor.topic_name, cursor.partition_index));
    let mut response = DescribeTopicPartitionsResponse::default();
    if first_index < 0 {
        let refuse = |name: String| refused(call, &name, ErrorCode::InvalidRequest);
        response.topics = names.into_iter().map(refuse).collect();
        return response;
    }
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    for name in names.iter().filter(|name| name.as_str() >= first_name) {
        let start = if name == first_name { usize::try_from(first_index).unwrap_or(0) } else { 0 };
        if room == 0 {
            response.next_cursor = Some(cursor(name, start));
            break;
        }
        match lookup::by_name(&image, name) {
            // It takes as much of the answer as a partition.
            Err(error) => {
                let valid = millrace_metadata::topic_name::validate(name).is_ok();
                let error = if valid { error } else { ErrorCode::InvalidTopicException };
                response.topics.push(refused(call, name, error));
                room -= 1;
            }
            Ok(topic) => {
                let end = topic.partitions.len().min(start.saturating_add(room));
                response.topics.push(describe(call, &image, topic, start, end));
                room -= end.saturating_sub(start);
                if end < topic.partitions.len() {
                    response.next_cursor = Some(cursor(name, end));
                    break;
                }
            }
        }
    }
    response
}

fn cursor(name: &str, index: usize) -> Cursor {
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    Cursor::default().with_topic_name(wire_name(name)).with_partition_index(index)
}

fn refused(call: &Call, name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(call.fail(error))
        .with_name(Some(wire_name(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(ON_TOPIC)
}

fn describe(
    call: &Call,
    image: &Image,
    topic: &Topic,
    start: usize,
    end: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions.iter().enumerate().take(end).skip(start);
    let wire = |(index, partition): (usize, &std::sync::Arc<Partition>)| {
        let offline: Vec<_> =
            partition.replicas.iter().filter(|id| image.broker(**id).is_none()).copied().collect();
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let leader = lookup::leader(&call.state, topic, index);
        let mut wire = DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader.map_or(NO_BROKER, |id| WireBrokerId(id.0)))
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(wire_brokers(&partition.replicas))
            .with_isr_nodes(wire_brokers(&partition.isr))
            // Leaders are elected out of the in-sync replicas; nobody else is eligible.
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(wire_brokers(&offline));
        if leader.is_none() {
            wire.error_code = call.fail(ErrorCode::LeaderNotAvailable);
        }
        wire
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_name(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(is_internal(&topic.name))
        .with_topic_authorized_operations(ON_TOPIC)
        .with_partitions(partitions.map(wire).collect())
}
