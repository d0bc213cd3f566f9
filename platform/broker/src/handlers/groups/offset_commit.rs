//! OffsetCommit (2 to 9): how far a group is.
//!
//! An offset is committed for the topic that has the name now. The time to keep it that versions 2 to 4 ask for is not
//! granted: all offsets are kept as `groups.offsets_retention` says.

use millrace_coordinator::{CommitRequest, GroupError, NewOffset};
use millrace_metadata::Image;
use millrace_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use millrace_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use millrace_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{code, member_name};
use crate::call::Call;

/// From this version on a member is told that there is no such group (KIP-848); before, that its generation is none.
const NOT_FOUND_IS_TOLD: i16 = 9;

pub(crate) async fn handle(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let image = call.state.metadata.image();
    let commit = CommitRequest {
        group: request.group_id.to_string(),
        member: member_name(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id_or_member_epoch,
        offsets: request.topics.iter().flat_map(|topic| offsets(&image, topic)).collect(),
    };
    let outcomes = call.state.groups.commit(commit).await;
    let mut outcomes = match outcomes {
        Ok(outcomes) => Ok(outcomes.into_iter()),
        Err(GroupError::GroupIdNotFound) if call.version < NOT_FOUND_IS_TOLD => {
            Err(GroupError::IllegalGeneration)
        }
        Err(error) => Err(error),
    };
    let mut outcome = |topic: &OffsetCommitRequestTopic, index: i32| match &mut outcomes {
        Err(error) => Err(error.clone()),
        Ok(_) if !exists(&image, topic, index) => Err(GroupError::UnknownTopicOrPartition),
        Ok(outcomes) => outcomes.next().unwrap_or(Ok(())),
    };
    let mut response = OffsetCommitResponse::default();
    for topic in request.topics {
        let mut answer = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            answer.partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code(call, &outcome(&topic, index))),
            );
        }
        response.topics.push(answer);
    }
    response
}

fn exists(image: &Image, topic: &OffsetCommitRequestTopic, index: i32) -> bool {
    let found = image.topic_by_name(&topic.name);
    found.is_some_and(|found| usize::try_from(index).is_ok_and(|index| index < found.partitions.len()))
}

/// Those of partitions that exist.
fn offsets(image: &Image, topic: &OffsetCommitRequestTopic) -> Vec<NewOffset> {
    let Some(found) = image.topic_by_name(&topic.name) else { return Vec::new() };
    let partitions =
        topic.partitions.iter().filter(|partition| exists(image, topic, partition.partition_index));
    let offsets = partitions.map(|partition| NewOffset {
        topic: topic.name.to_string(),
        topic_id: found.id,
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    offsets.collect()
}
