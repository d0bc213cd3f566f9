//! DescribeGroups (0 to 6), ListGroups (0 to 5) and DeleteGroups (0 to 2): groups seen from outside.
//!
//! A group that is named several times is described once: a description is much longer than a name.

use std::collections::HashSet;

use millrace_coordinator::{GroupDescription, GroupError, ListedGroup, OFFSETS_TOPIC};
use millrace_protocol::StrBytes;
use millrace_protocol::messages::delete_groups_response::DeletableGroupResult;
use millrace_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use millrace_protocol::messages::list_groups_response::ListedGroup as WireListedGroup;
use millrace_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};

use super::{code, text};
use crate::call::Call;
use crate::handlers::operations;

/// From this version on a group that is not there is an error (KIP-1043); before it is dead.
const NOT_FOUND_IS_AN_ERROR: i16 = 6;

/// Kinds of groups, by Kafka's names.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

pub(crate) async fn describe(call: &Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    let mut seen = HashSet::new();
    for id in request.groups.into_iter().filter(|id| seen.insert(id.clone())) {
        let described = call.state.groups.describe(&id).await;
        let is_error = match &described {
            Ok(_) => false,
            Err(GroupError::GroupIdNotFound) => call.version >= NOT_FOUND_IS_AN_ERROR,
            Err(_) => true,
        };
        let asked = request.include_authorized_operations && !is_error;
        let operations = operations::told_if(asked, operations::ON_GROUP);
        let group = describe_one(call, &id, described);
        response.groups.push(group.with_group_id(copy(&id)).with_authorized_operations(operations));
    }
    response
}

fn describe_one(call: &Call, id: &str, described: Result<GroupDescription, GroupError>) -> DescribedGroup {
    let dead = || DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    let described = match described {
        Ok(described) => described,
        Err(GroupError::GroupIdNotFound) if call.version < NOT_FOUND_IS_AN_ERROR => return dead(),
        Err(error) => {
            let message = match &error {
                GroupError::GroupIdNotFound => format!("Group {id} not found."),
                error => error.to_string(),
            };
            return dead()
                .with_error_code(code::<()>(call, &Err(error)))
                .with_error_message(Some(text(message)));
        }
    };
    let members = described.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata.into())
            .with_member_assignment(member.assignment.into())
    });
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_members(members.collect())
}

pub(crate) async fn list(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    // Nobody is in a group before there is their topic, and looking makes none.
    let has_topic = call.state.metadata.image().topic_by_name(OFFSETS_TOPIC).is_some();
    let listed = if has_topic { call.state.groups.list().await } else { Ok(Vec::new()) };
    let error_code = code(call, &listed);
    let named = |names: &[StrBytes], name: &str| {
        names.is_empty() || names.iter().any(|asked| asked.eq_ignore_ascii_case(name))
    };
    let is_wanted = |group: &ListedGroup| {
        named(&request.states_filter, group.state) && named(&request.types_filter, kind(group))
    };
    let groups = listed.unwrap_or_default().into_iter().filter(is_wanted).map(|group| {
        let kind = kind(&group);
        WireListedGroup::default()
            .with_group_id(GroupId(text(group.group)))
            .with_protocol_type(text(group.protocol_type))
            .with_group_state(StrBytes::from_static_str(group.state))
            .with_group_type(StrBytes::from_static_str(kind))
    });
    ListGroupsResponse::default().with_error_code(error_code).with_groups(groups.collect())
}

const fn kind(group: &ListedGroup) -> &'static str {
    if group.is_consumer { CONSUMER } else { CLASSIC }
}

pub(crate) async fn delete(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for id in request.groups_names {
        let deleted = call.state.groups.delete(&id).await;
        let result = DeletableGroupResult::default().with_error_code(code(call, &deleted));
        response.results.push(result.with_group_id(copy(&id)));
    }
    response
}

/// Not the request's buffer.
fn copy(id: &GroupId) -> GroupId {
    GroupId(text(id.to_string()))
}
