//! ConsumerGroupHeartbeat (0 and 1) and ConsumerGroupDescribe (0 and 1): groups to which the coordinator assigns
//! (KIP-848).

use millrace_base::TopicId;
use millrace_coordinator::{
    Assignment, ConsumerBeat, ConsumerDescription, ConsumerHeartbeat, ConsumerMember, GroupError,
};
use millrace_metadata::Image;
use millrace_protocol::StrBytes;
use millrace_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member, TopicPartitions as DescribedPartitions,
};
use millrace_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use millrace_protocol::messages::consumer_group_heartbeat_response::{
    Assignment as WireAssignment, TopicPartitions,
};
use millrace_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId,
};

use super::{code, text};
use crate::call::Call;
use crate::handlers::lookup::wire_name;
use crate::handlers::operations;

/// From this version on a member draws its own id.
const MEMBER_HAS_ID: i16 = 1;
/// A member that is told its epoch and assignment with every heartbeat, and none of the classic protocol.
const CONSUMER_MEMBER: i8 = 1;

pub(crate) async fn heartbeat(
    call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let beat = beat(call, &request);
    // Before its state is looked for, which a group without a name has nowhere.
    let answered = if beat.group.trim().is_empty() {
        Err(GroupError::InvalidRequest("GroupId can't be empty.".to_owned()))
    } else {
        call.state.groups.consumer_heartbeat(beat).await
    };
    match answered {
        Ok(answer) => beat_response(answer),
        Err(error) => {
            let message = error.to_string();
            ConsumerGroupHeartbeatResponse::default()
                .with_error_code(code::<()>(call, &Err(error)))
                .with_error_message(Some(text(message)))
        }
    }
}

/// A copy: what is decided holds nothing of the request's buffer.
fn beat(call: &Call, request: &ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let owned = |optional: &Option<StrBytes>| optional.as_ref().map(ToString::to_string);
    let mut member = request.member_id.to_string();
    if call.version < MEMBER_HAS_ID && member.is_empty() && request.member_epoch == 0 {
        member = call.state.random.uuid().to_string();
    }
    ConsumerHeartbeat {
        group: request.group_id.to_string(),
        member,
        epoch: request.member_epoch,
        instance: owned(&request.instance_id),
        rack: owned(&request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| name.to_string()).collect()),
        pattern: owned(&request.subscribed_topic_regex),
        assignor: owned(&request.server_assignor),
        owned: request.topic_partitions.as_deref().map(owned_partitions),
        client_id: call.client.id.clone(),
        client_host: format!("/{}", call.client.address),
    }
}

fn owned_partitions(owned: &[OwnedPartitions]) -> Assignment {
    owned.iter().map(|topic| (TopicId(topic.topic_id), topic.partitions.clone())).collect()
}

fn beat_response(answer: ConsumerBeat) -> ConsumerGroupHeartbeatResponse {
    let assignment = answer.assignment.map(|assignment| {
        let topics = assignment.into_iter().map(|(topic, partitions)| {
            TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions)
        });
        WireAssignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(answer.member)))
        .with_member_epoch(answer.epoch)
        .with_heartbeat_interval_ms(answer.heartbeat_interval_ms)
        .with_assignment(assignment)
}

pub(crate) async fn describe(
    call: &Call,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    let image = call.state.metadata.image();
    for id in request.group_ids {
        let described = call.state.groups.describe_consumer(&id).await;
        let asked = request.include_authorized_operations && described.is_ok();
        let operations = operations::told_if(asked, operations::ON_GROUP);
        let group = match described {
            Ok(described) => described_group(&image, described),
            Err(error) => {
                let message = match &error {
                    GroupError::GroupIdNotFound => format!("Group {} not found.", *id),
                    error => error.to_string(),
                };
                DescribedGroup::default()
                    .with_error_code(code::<()>(call, &Err(error)))
                    .with_error_message(Some(text(message)))
            }
        };
        let id = GroupId(text(id.to_string()));
        response.groups.push(group.with_group_id(id).with_authorized_operations(operations));
    }
    response
}

fn described_group(image: &Image, described: ConsumerDescription) -> DescribedGroup {
    let members = described.members.into_iter().map(|member| described_member(image, member));
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_group_epoch(described.epoch)
        .with_assignment_epoch(described.target_epoch)
        .with_assignor_name(StrBytes::from_static_str(described.assignor))
        .with_members(members.collect())
}

fn described_member(image: &Image, member: ConsumerMember) -> Member {
    Member::default()
        .with_member_id(text(member.id))
        .with_instance_id(member.instance.map(text))
        .with_rack_id(member.rack.map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(member.topics.iter().map(|name| wire_name(name)).collect())
        .with_subscribed_topic_regex(Some(member.pattern).filter(|pattern| !pattern.is_empty()).map(text))
        .with_assignment(described_assignment(image, member.assigned))
        .with_target_assignment(described_assignment(image, member.target))
        .with_member_type(CONSUMER_MEMBER)
}

/// Topics that are no more have no name, and are not told.
fn described_assignment(image: &Image, assignment: Assignment) -> DescribedAssignment {
    let topics = assignment.into_iter().filter_map(|(id, partitions)| {
        let topic = image.topic(id)?;
        let described = DescribedPartitions::default().with_topic_id(id.0);
        Some(described.with_topic_name(wire_name(&topic.name)).with_partitions(partitions))
    });
    DescribedAssignment::default().with_topic_partitions(topics.collect())
}
