//! CreatePartitions (0 to 3): more partitions for topics that exist.

use hashbrown::HashMap;
use millrace_base::BrokerId;
use millrace_base::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_metadata::placement::{Request, place_in};
use millrace_metadata::{Command, PartitionAssignment};
use millrace_protocol::ErrorCode;
use millrace_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use millrace_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use millrace_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::lookup;
use crate::call::Call;
use crate::change::{Refusal, change};

pub(crate) async fn handle(call: &Call, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut named: HashMap<_, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreatePartitionsResponse::default();
    for topic in request.topics {
        let name = topic.name.clone();
        let grown = match named.remove(&name) {
            Some(1) => grow(call, topic, request.validate_only).await,
            // Kafka answers a repeated name once.
            Some(_) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic more than once"))
            }
            None => continue,
        };
        let mut result = CreatePartitionsTopicResult::default().with_name(name);
        if let Err(refusal) = grown {
            result.error_code = call.fail(refusal.code);
            result.error_message = refusal.wire_message();
        }
        response.results.push(result);
    }
    response
}

async fn grow(call: &Call, asked: CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let image = call.state.metadata.image();
    let topic = lookup::by_name(&image, &asked.name)
        .map_err(|code| Refusal::new(code, format!("there is no topic '{}'", &**asked.name)))?;
    if lookup::is_internal(&topic.name) {
        // Whoever looks for a group finds it by its name's hash modulo the count.
        let message = format!(
            "topic '{}' is internal: what is kept in it is found by the number of its partitions, which stays as it is",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    let current = topic.partition_count();
    if !(current + 1..=PARTITIONS_PER_TOPIC_MAX).contains(&asked.count) {
        let message = format!(
            "the topic has {current} partition{}, {} were asked for: allowed are {} to {PARTITIONS_PER_TOPIC_MAX}",
            if current == 1 { "" } else { "s" },
            asked.count,
            current + 1
        );
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let count = asked.count - current;
    let new = match asked.assignments {
        Some(assignments) => {
            if assignments.len() as i64 != i64::from(count) {
                let message = format!(
                    "new partitions need an assignment each: {count} were added, with {} assignments",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let replicas =
                |ids: Vec<_>| ids.into_iter().map(|id: lookup::WireBrokerId| BrokerId(id.0)).collect();
            assignments
                .into_iter()
                .map(|assignment| PartitionAssignment { replicas: replicas(assignment.broker_ids) })
                .collect()
        }
        None => {
            let replication_factor = topic.partitions.first().map_or(1, |first| first.replicas.len() as i16);
            let seed = call.state.random.bits();
            place_in(&image, Request { first_partition: current, count, replication_factor, seed })?
        }
    };
    change(&call.state, Command::AddPartitions { topic_id: topic.id, current, new }, validate_only).await
}
