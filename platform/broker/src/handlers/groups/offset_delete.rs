//! OffsetDelete (0): forgets what a group has committed in partitions that it does not read any more.

use millrace_coordinator::GroupError;
use millrace_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use millrace_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::code;
use crate::call::Call;

pub(crate) async fn handle(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let image = call.state.metadata.image();
    let partitions: Vec<(String, i32)> = request
        .topics
        .iter()
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (topic.name.to_string(), partition.partition_index))
        })
        .collect();
    let outcomes = match call.state.groups.delete_offsets(&request.group_id, &partitions).await {
        Ok(outcomes) => outcomes,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(code::<()>(call, &Err(error))),
    };
    let mut outcomes = outcomes.into_iter();
    let mut response = OffsetDeleteResponse::default();
    for topic in request.topics {
        let count = image.topic_by_name(&topic.name).map_or(0, |topic| topic.partitions.len());
        let mut answer = OffsetDeleteResponseTopic::default().with_name(topic.name);
        for partition in topic.partitions {
            let index = partition.partition_index;
            let outcome = outcomes.next().unwrap_or(Ok(()));
            let exists = usize::try_from(index).is_ok_and(|index| index < count);
            let outcome = if exists { outcome } else { Err(GroupError::UnknownTopicOrPartition) };
            answer.partitions.push(
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code(call, &outcome)),
            );
        }
        response.topics.push(answer);
    }
    response
}
